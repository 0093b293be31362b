"""What the documents name is there: files, headings, targets of make, commands; and every page can be reached."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import click
import pytest

from pura_client.cli import cli as client
from pura_server.cli import cli as server

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FILE = re.compile(r"`([\w./-]+\.(?:py|md|js|toml|lock|proto))`")


@cache
def tracked() -> frozenset[str]:
    """Every file of the project, and every tail of its path from a slash on."""
    try:
        told = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no checkout")
    parts = [line.split("/") for line in told.stdout.splitlines()]
    return frozenset("/".join(path[i:]) for path in parts for i in range(len(path)))


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a heading is called in an address, as GitHub and mkdocs make it."""
    heads = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for link in _LINK.findall(prose(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if heading:
            assert heading in anchors(target), link


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/glossary.md"])
def test_files_that_are_named_are_there(name: str) -> None:
    """A walk through the code names files, often without their folder."""
    made_by_users = {"client.toml"}
    assert set(_FILE.findall(prose(ROOT / name))) - tracked() - made_by_users == set()


def test_every_target_of_make_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {t for page in PAGES for t in re.findall(r"(?:^|`)make ([a-z][a-z-]+)", page.read_text(), re.MULTILINE)}
    assert named - targets == set()
    assert targets - set(re.findall(r'@echo "make ([a-z-]+)', (ROOT / "Makefile").read_text())) <= {
        "help",
        "proto-check",
    }


@pytest.mark.parametrize(("program", "group"), [("pura", client), ("pura-server", server)])
def test_commands_that_a_page_names_are_there(program: str, group: click.Group) -> None:
    named = {
        word
        for page in PAGES
        if page.name != "CHANGELOG.md"
        for word in re.findall(rf"(?:^|`){program} ([a-z][a-z-]+)(?=[\s`])", page.read_text(), re.MULTILINE)
    }
    assert len(named) > 5
    assert named - set(group.commands) - {"bench", "desk"} == set()


def test_decisions_are_numbered_once_and_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))

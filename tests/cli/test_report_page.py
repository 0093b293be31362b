"""The report in a real browser: nothing is cut off on a wide screen, a phone and paper, and nothing is fetched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pura_bench import results
from pura_bench.report.render import TOPICS, render

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if hasattr(os, "getuid") and os.getuid() == 0 else []
        )
        yield made
        made.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    file: Path = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render(results.load_all().values()), "utf-8")
    return file.as_uri()


def cut_off(page: Page) -> int:
    """Pixels by which the page is wider than the screen."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return wide


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_and_nothing_fetched(browser: Browser, address: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844})
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(address)
    assert page.locator(".matrix").is_visible()
    for topic in TOPICS:
        page.goto(f"{address}#{topic}")
        assert page.locator(f"#{topic}").is_visible()
        assert not page.locator(".matrix").is_visible()
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        assert cut_off(page) <= 0
    assert {url.partition("#")[0].partition(":")[0] for url in fetched} <= {"file", "data"}
    page.close()


def test_all_of_it_is_printed(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 794, "height": 1123})
    page.goto(address)
    page.emulate_media(media="print")
    for topic in ("start", *TOPICS):
        assert page.locator(f"#{topic}").is_visible()
    assert cut_off(page) <= 0
    page.close()

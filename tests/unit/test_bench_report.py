"""The report and README's figures: rendered from result files, any kind of them, and README says what the files say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_bench_speed import row

from pura_bench import results
from pura_bench.peers.registry import QUOTED
from pura_bench.report import figures, tables
from pura_bench.report.cli import report
from pura_bench.report.matrix import Verdict, matrix
from pura_bench.report.render import render, section
from pura_bench.speed import fit

ROOT = Path(__file__).parents[2]
MACHINE = {
    "cpu": "a CPU",
    "cores": 2,
    "command": "pura bench x",
    "time": "2026-01-02T03:04:05",
    "other_load_cores": 0.4,
}
FACTS = {
    "query": "yes",
    "gallery": "yes, shared",
    "minimum": "yes",
    "threshold": "yes",
    "score_known_to": "nobody",
    "trust": "two servers",
}


def speed_content() -> dict[str, Any]:
    stages = [{"stage": "scores", "cpu_s_s1": 0.1, "cpu_s_s2": 0.2, "bytes": 5, "rounds": 1}]
    rows = [row("published", 10, 1.0, rounds=3, exact=True), row("published", 100, 10.0, rounds=4, exact=True)]
    rows += [
        row("prepared", 100, 0.05, rounds=9, exact=True),
        row("prepared", 1000, 0.5, rounds=9, exact=True, stages=stages),
    ]
    rows += [row("prepared", 1000, 0.6, workers=0, network=n, rounds=9, exact=True) for n in ("loopback", "lan", "wan")]
    rows += [row("plaintext", 1000, 1e-4, key_bits=0, rounds=0, exact=True)]
    rows += fit.extrapolate(rows, (1000,))
    return {
        "kind": "speed", "machine": MACHINE, "rows": rows, "failed": [{"cell": "one", "reason": "no room"}],
        "per_entry": fit.per_entry(rows), "ratios": fit.ratios(rows),
    }  # fmt: skip


def peers_content() -> dict[str, Any]:
    base = {
        "entries": 1000,
        "dimension": 128,
        "bytes_client": 9,
        "bytes_peer": 99,
        "exact": True,
        "trust": "two",
        **FACTS,
    }
    rows = [
        {"name": "prepared", "title": "Ours", "wall_s": 0.5, "cpu_s": 0.6, **base},
        {"name": "seal", "title": "Other <b>", "wall_s": 0.03, "cpu_s": 0.03, **base, "minimum": "no: in the clear"},
        {"name": "gone", "title": "Gone", "skipped": "it does not install", **base},
    ]
    return {"kind": "peers", "machine": MACHINE, "rows": rows, "quoted": list(QUOTED)}


# --- README -----------------------------------------------------------------------------------------


def test_readme_says_what_the_result_files_say() -> None:
    """Run `pura bench report --readme README.md` after a new result."""
    text = (ROOT / "README.md").read_text("utf-8")
    assert figures.put(text, figures.block(results.load_all().values())) == text


def test_the_report_is_rendered_from_the_same_files() -> None:
    html = (results.FOLDER / "report.html").read_text("utf-8")
    for content in results.load_all().values():
        assert (content["machine"].get("time") or content["when"]) in html
    # Its plots differ from one machine to another in a few bytes, its words do not.
    assert _words(render(results.load_all().values())) == _words(html)


def _words(html: str) -> str:
    drawn = r"<svg.*?</svg>|<style.*?</style>|<script.*?</script>|<[^>]*>"
    return re.sub(r"\s+", " ", re.sub(drawn, " ", html, flags=re.S))


def test_block() -> None:
    text = figures.block([speed_content(), peers_content()])
    assert "| published | 100 | 10 s | 10 s |" in text
    assert "published \\*" not in text  # measured ones are quoted first
    assert "| prepared | 1,000 | 500 ms |" in text  # one worker is faster here than all cores
    assert "| Ours |" in text
    assert "Gone" not in text
    assert "other programs used 0.4 cores meanwhile" in text
    shown = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(shown) == 3
    for lines in shown:
        assert len(lines) <= 2 + figures.ROWS
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_figures_of_the_matrix_come_from_the_files() -> None:
    """Every cell says something; without the files no cell has a figure."""
    whole, nothing = matrix(results.load_all().values()), matrix([])
    shape = [len(whole.attackers)] * len(whole.deployments)
    for each in (whole, nothing):
        assert [len(row) for row in each.cells] == shape
        assert all(cell.attack and cell.see for row in each.cells for cell in row)
        for i in range(len(each.deployments)):
            assert [name for names, _ in each.joined(i) for name in names] == each.attackers
    assert not [cell for row in nothing.cells for cell in row if cell.rate]
    assert [cell for row in nothing.cells for cell in row if cell.verdict is Verdict.NOT_RUN]
    assert not [cell for row in whole.cells for cell in row if cell.verdict is Verdict.NOT_RUN]


def test_the_matrix_reads_the_arms_of_several_runs_together() -> None:
    """No run's arms hide another's."""
    both = [content for content in results.load_all().values() if content["kind"] == "security"]
    empty = {**both[0], "arms": []}
    assert matrix([*both, empty]).cells == matrix([empty, *both]).cells == matrix(both).cells
    assert matrix([empty]).cells != matrix(both).cells


def test_what_the_matrix_refers_to_is_there() -> None:
    for see in matrix([]).sources:
        for name in re.findall(r"[\w/.-]+\.(?:md|py|json)", see):
            assert any((folder / name).is_file() for folder in (ROOT, results.FOLDER)), name


def security_content() -> dict[str, Any]:
    rate = {"k": 3, "n": 4, "low": 0.2, "high": 0.9}
    similarity, rates = {"median": 0.5, "low": 0.4, "high": 0.6}, {"0.01": rate, "0.001": rate}
    verdict = {"network": "SFace", "similarity": similarity, "sar1": rates, "sar2": rates, "accuracy": 0.5}
    worse = {**verdict, "sar1": {"0.01": rate, "0.001": {**rate, "k": 1}}}
    arm = {
        "deployment": "plaintext scores",
        "attack": "best",
        "budget": 2000,
        "n": 4,
        "via": "the server",
        "verdicts": [verdict],
    }
    return {
        "kind": "security", "machine": {"cpu": "a CPU"}, "command": "pura bench security", "when": "today",
        "known": 9, "arms": [{**arm, "attack": "other", "verdicts": [worse]}, {**arm, "budget": 9000}, arm],
        "transcripts": [{"transcript": "prepared s1", "questions": 7, "matches": rate}],
    }  # fmt: skip


def test_security_in_the_report() -> None:
    shown = section(security_content())
    assert shown.command == "pura bench security"
    minute, every, transcripts = shown.tables
    assert minute.rows == [["plaintext scores", "best", "2,000", "75 % (20 to 90)", "75 % (20 to 90)", "-"]]
    assert every.rows[0][6:8] == ["75 % (20 to 90)", "25 % (20 to 90)"]
    assert len(every.rows) == 3
    assert transcripts.rows[0][:2] == ["prepared s1", "7"]
    assert "75 % (20 to 90)" in transcripts.rows[0]


def test_one_run_has_a_page_of_its_own() -> None:
    page = render([security_content()], alone=True)
    assert "What is protected from whom" not in page
    assert "9 photos of the attacker" in page


def test_accuracy_lines() -> None:
    def rate(value: float, n: int = 1000) -> dict[str, Any]:
        return {"value": value, "low": value / 2, "high": value * 2, "n": n}

    def at(scale: int | None, right: float, **more: Any) -> dict[str, Any]:
        pairs = {"at_threshold": {"accuracy": {"value": right, "low": right, "high": right}}}
        every = {"at_threshold": {"fnmr": rate(0.02), "fmr": rate(1e-4, 10**6)}}
        return {"scale": scale, "pairs": pairs, "all_pairs": every, **more}

    content = {
        "kind": "accuracy", "data_set": {"name": "LFW", "pairs": 1000}, "held_out": True, "embedder": {"name": "sface"},
        "policy": {"scale": 512, "threshold": 0.4219, "wanted_fmr": 1e-4, "measured": {"data_set": "other people"}},
        "rows": [at(None, 0.99), at(256, 0.5, changed=9), at(512, 0.994, changed=1)],
        "encrypted": {"engine": "prepared", "bits": 2048, "pairs": 20, "equal_to_plain_integers": 20},
    }  # fmt: skip
    text = figures.block([content])
    assert "LFW, sface, at the threshold 0.4219, fitted on other people for an FMR of 1e-04: 99.00 %" in text
    assert "of 1,000 pairs right; 1 of 1,000 decisions are others as templates, S = 512." in text
    assert "FNMR 2.00 % (1.00 to 4.00) of 1,000, FMR 1.0e-04 (5.0e-05 to 2.0e-04) of 1,000,000" in text
    assert "20 of 20 decisions equal plain integers" in text


def test_a_topic_s_tables_are_shown() -> None:
    rows = [{"who": "red", "FNMR": {"k": 1, "n": 100, "value": 0.01, "low": 0.0, "high": 0.03}}, {"who": "blue"}]
    content = {"kind": "topic", "topic": "groups", "data_set": "LFW", "tables": [{"title": "errors", "rows": rows}]}
    shown = section(content)
    assert shown.title == "Accuracy, groups: LFW"
    assert shown.tables[0].columns == ["who", "FNMR"]
    assert shown.tables[0].rows == [["red", "1.00 % (0 to 3.00 %) of 100"], ["blue", "-"]]


def test_put_needs_the_markers() -> None:
    assert figures.put(f"a\n{figures.BEGIN} old {figures.END}\nb", "new") == "a\nnew\nb"
    with pytest.raises(ValueError, match="once each"):
        figures.put("nothing", "new")


@pytest.mark.parametrize(
    ("value", "text"), [(123.4, "123 s"), (1.5, "1.5 s"), (0.0123, "12.3 ms"), (8.4e-5, "84 µs"), (2e-9, "2 ns")]
)
def test_seconds(value: float, text: str) -> None:
    assert tables.seconds(value) == text


def test_sizes() -> None:
    assert [tables.size(v) for v in (12, 2192, 3.4e6, 5e9)] == ["12 B", "2.19 kB", "3.4 MB", "5 GB"]


# --- HTML -------------------------------------------------------------------------------------------


def test_html_holds_everything_and_loads_nothing() -> None:
    html = render([speed_content(), peers_content()])
    assert html.count("data:image/png;base64,") == 5  # one of speed is on the first screen too
    assert "Other &lt;b&gt;" in html
    assert "no room" in html
    assert "it does not install" in html
    assert "(extrapolated)" in html
    assert not re.search(r'(src|href)="(?!data:|#)', html)


def test_an_unknown_kind_becomes_tables() -> None:
    content = {
        "kind": "load", "machine": MACHINE, "summary": ["fine"], "sample": 20,
        "sets": {"lfw": {"eer": 0.01, "folds": [{"fold": 1, "right": 0.99}, {"fold": 2, "right": 1.0}]}},
    }  # fmt: skip
    shown = section(content)
    assert shown.notes == ["fine"]
    titles = {t.title: t for t in shown.tables}
    assert titles["sets: lfw"].rows == [["eer", "0.01"]]
    assert titles["sets: lfw: folds"].columns == ["fold", "right"]
    given = section({"kind": "load", "tables": [{"title": "T", "columns": ["a"], "rows": [[1], [None]]}]})
    assert [t.rows for t in given.tables] == [[["1"], ["-"]]]


def test_report_command(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"{figures.BEGIN}{figures.END}")
    args = ["--results", str(tmp_path), "--readme", str(readme)]
    assert "there is no result" in CliRunner().invoke(report, args).output
    results.write(tmp_path / "peers.json", peers_content())
    done = CliRunner().invoke(report, args)
    assert done.exit_code == 0, done.output
    assert "peers" in (tmp_path / "report.html").read_text() + done.output
    assert "its figures are current" in CliRunner().invoke(report, args).output


def test_files_in_order(tmp_path: Path) -> None:
    for name, kind in (("views", "views"), ("accuracy-b", "accuracy"), ("accuracy-a", "accuracy"), ("speed", "speed")):
        results.write(tmp_path / f"{name}.json", {"kind": kind})
    results.write(tmp_path / "micro.json", {"figures": 1})
    results.write(tmp_path / "security.json", {"arms": []})
    found = results.load_all(tmp_path)
    assert list(found) == ["speed", "accuracy-a", "accuracy-b", "security", "views"]
    assert found["security"]["kind"] == "security"


def test_an_installation_without_results_asks_for_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pura_bench.results.FOLDER", tmp_path / "lib" / "docs" / "results")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(report, [])
    assert done.exit_code == 2
    assert "--results" in done.output
    assert "lib" not in done.output

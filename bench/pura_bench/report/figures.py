"""The figures that README quotes, from the result files; nothing else writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pura_bench.report import others
from pura_bench.report.matrix import Cell, matrix
from pura_bench.speed.fit import online

BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
ROWS = 5
"""Of a table; all of them are in the report."""
QUOTED = (
    "a client that may ask",
    "a client that may ask and enrol",
    "one server",
    "one server and clients",
    "both disks, without keys",
)
Row = dict[str, Any]


def block(contents: Iterable[Row]) -> str:
    """Markdown of all figures, between the markers. Of several runs of speed the first is quoted."""
    parts, contents = [BEGIN], list(contents)
    speed = False
    for content in contents:
        match content["kind"]:
            case "speed" if not speed:
                parts += _speed(content)
                speed = True
            case "peers":
                parts += _peers(content)
            case "accuracy":
                parts += _lines(content, others.accuracy_lines(content))
    parts += _attacks(contents)
    parts += ["", "All rows, plots, stages, memory, and what was skipped: [docs/results/](docs/results).", END]
    return "\n".join(parts)


def _attacks(contents: list[Row]) -> list[str]:
    """Of the report's matrix: what some attackers get of the worst deployment, and of ours."""
    whole = matrix(contents)
    rows = [["attacker", whole.deployments[0], whole.deployments[-1]]]
    found = zip(whole.attackers, whole.cells[0], whole.cells[-1], strict=True)
    rows += [[who, _cell(worst), _cell(ours)] for who, worst, ours in found if who in QUOTED]
    text = "What the best attack known gets, and of how many victims (docs/results/report.html has more of both):"
    return ["", text, "", *_table(rows)]


def _cell(cell: Cell) -> str:
    spent = f"; {cell.spent}" if cell.spent else ""
    return f"**{cell.verdict.value}**: {cell.attack}{spent}{', ' + cell.share if cell.share else ''}"


def _table(rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]


def _lines(content: Row, lines: list[str]) -> list[str]:
    command = content.get("machine", {}).get("command") or content.get("command")
    return ["", *(f"- {line}" for line in lines), "", f"Measured by `{command}`."]


def _machine(content: Row) -> str:
    machine = content["machine"]
    busy = machine.get("other_load_cores", 0.0)
    load = f"; other programs used {busy:.1f} cores meanwhile" if busy >= 0.1 else ""
    return f"`{machine['command']}`, {machine['cpu']}, {machine['cores']} cores, {machine['time'][:10]}{load}"


def _speed(content: Row) -> list[str]:
    rows = [
        r
        for r in content["rows"]
        if r["D"] == 128 and r["network"] == "loopback" and r["key_bits"] in (0, 2048) and not r.get("lockout")
    ]
    out = [
        "",
        f"One question, D = 128, S = {content.get('scale', 512)}, 2048-bit key, client and both servers on one "
        "machine, every answer equal to plain integers:",
        "",
        "| engine | entries | wall | CPU, both servers | made ahead | client bytes | bytes between servers |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    chosen = _chosen(rows)
    for row in chosen:
        star = " \\*" if row["extrapolated"] else ""
        out.append(
            f"| {row['engine']}{star} | {row['M']:,} | {seconds(row['wall_s'])} | {seconds(online(row))} | "
            f"{_offline(row)} | {row['bytes_client']:,} | {size(row['bytes_peer'])} |"
        )
    if any(row["extrapolated"] for row in chosen):
        out.append("\n\\* extrapolated from smaller galleries, not measured.")
    times = _times(rows)
    if times:
        out.append(f"\nCPU of the published protocols over that of engine prepared: {', '.join(times)}.")
    networks = [r for r in content["rows"] if r["engine"] == "prepared" and r["network"] != "loopback"]
    if networks:
        walls = ", ".join(
            f"{seconds(r['wall_s'])} on a {r['network'].upper()} for {r['M']:,} entries" for r in networks
        )
        out.append(f"\nWith real delay on every link, engine prepared takes {walls} (0.5 ms; 20 ms and 100 Mbit/s).")
    out.append(f"\nMeasured by {_machine(content)}.")
    return out


def _times(rows: list[Row]) -> list[str]:
    """Published over prepared at the sizes that both have, with equally many workers, measured before extrapolated."""
    out = []
    for m in sorted({r["M"] for r in rows if r["engine"] == "prepared" and r["M"] >= 100}):
        pairs = [
            (p, q)
            for p in rows
            for q in rows
            if (p["engine"], q["engine"], p["M"], q["M"]) == ("published", "prepared", m, m)
            and p["workers"] == q["workers"]
        ]
        if pairs:
            p, q = min(pairs, key=lambda pair: (pair[0]["extrapolated"], pair[0]["workers"]))
            star = " \\*" if p["extrapolated"] else ""
            out.append(f"{online(p) / online(q):,.0f} at {m:,} entries{star}")
    return out


def _chosen(rows: list[Row]) -> list[Row]:
    """For each size of engine prepared, the largest ones, the fastest row by the clock; of each of the others the
    largest that was measured."""
    best: dict[tuple[str, int], Row] = {}
    for row in rows:
        known = best.get((row["engine"], row["M"]))
        if known is None or _rank(row) < _rank(known):
            best[row["engine"], row["M"]] = row
    ours = sorted(m for engine, m in best if engine == "prepared")
    others_ = {engine: max(m for e, m in best if e == engine) for engine, _ in best if engine != "prepared"}
    out = [best["prepared", m] for m in ours[-(ROWS - len(others_)) :]]
    for engine, most in sorted(others_.items(), reverse=True):
        measured = [m for e, m in best if e == engine and not best[e, m]["extrapolated"]]
        out.append(best[engine, max(measured, default=most)])
    return out


def _rank(row: Row) -> tuple[bool, float]:
    return bool(row["extrapolated"]), float(row["wall_s"])


def _peers(content: Row) -> list[str]:
    size_ = max(r["entries"] for r in content["rows"])
    if any(r["entries"] == 1000 for r in content["rows"]):
        size_ = 1000
    rows = [r for r in content["rows"] if r["entries"] == size_]
    have = sorted((r for r in rows if "skipped" not in r), key=lambda r: float(r["wall_s"]))
    ours = [r for r in have if r["name"] == "prepared"]
    have = sorted([*ours, *[r for r in have if r not in ours][: ROWS - len(ours)]], key=have.index)
    out = [
        "",
        f"Beside the fastest other ways to match one face with {size_:,} under encryption, in one run:",
        "",
        "| who | wall | CPU, offline too | bytes between | gallery hidden | minimum hidden | scores known to | trust |",
        "|---|--:|--:|--:|---|---|---|---|",
    ]
    for row in have:
        star = " \\*" if "scaled_from" in row else ""
        out.append(
            f"| {row['title']}{star} | {seconds(row['wall_s'])} | {seconds(row['cpu_s'])} | "
            f"{size(row['bytes_peer'])} | {_short(row['gallery'])} | {_short(row['minimum'])} | "
            f"{row['score_known_to']} | {row['trust']} |"
        )
    for row in have:
        if "bytes_peer_first" in row and row["bytes_peer_first"] > 2 * row["bytes_peer"]:
            out.append(
                f"\n{row['title']} stocks up at its first question, which is not counted above: "
                f"{size(row['bytes_peer_first'])} and {seconds(row['setup_s'])} with compiling."
            )
        if "scaled_from" in row:
            out.append(f"\n\\* measured with {row['scaled_from']} entries and scaled up.")
    out.append(f"\nMeasured by {_machine(content)}.")
    return out


def _offline(row: Row) -> str:
    return seconds(row["cpu_s_offline"]) if row["cpu_s_offline"] else "-"


def _short(text: str) -> str:
    return text.partition(":")[0].partition(",")[0]


def seconds(value: float) -> str:
    """A time with a unit that suits it."""
    if value >= 99.5:
        return f"{value:,.0f} s"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.0f} ns"


def size(value: float) -> str:
    """Bytes with a unit that suits them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


def put(text: str, figures: str) -> str:
    """A document with its block replaced. Raises `ValueError` when the markers are not there once each."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the document needs {BEGIN} and {END}, once each")
    head, _, rest = text.partition(BEGIN)
    return head + figures + rest.partition(END)[2]


def update(readme: Path, contents: Iterable[Row]) -> bool:
    """Put the figures into README; whether it changed."""
    before = readme.read_text("utf-8")
    after = put(before, block(contents))
    if after != before:
        readme.write_text(after, "utf-8")
    return after != before

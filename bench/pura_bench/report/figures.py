"""The figures that README quotes, from the result files; nothing else writes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from pura_bench.report.matrix import Cell, matrix
from pura_bench.report.tables import Columns, Row, Table, listed, seconds, size, table
from pura_bench.speed.fit import online, usual

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
SPEED: Columns = {
    "engine": lambda row: row["engine"] + _star(row["extrapolated"]),
    "entries": "M",
    "wall": lambda row: seconds(row["wall_s"]),
    "CPU, both servers": lambda row: seconds(online(row)),
    "made ahead": lambda row: seconds(row["cpu_s_offline"]) if row["cpu_s_offline"] else None,
    "client bytes": "bytes_client",
    "bytes between servers": lambda row: size(row["bytes_peer"]),
}
PEERS: Columns = {
    "who": lambda row: row["title"] + _star("scaled_from" in row),
    "wall": lambda row: seconds(row["wall_s"]),
    "CPU, offline too": lambda row: seconds(row["cpu_s"]),
    "bytes between": lambda row: size(row["bytes_peer"]),
    "gallery hidden": lambda row: _short(row["gallery"]),
    "minimum hidden": lambda row: _short(row["minimum"]),
    "scores known to": "score_known_to",
    "trust": "trust",
}


def block(contents: Iterable[Row]) -> str:
    """Markdown of all figures, between the markers. Of several runs of speed the first is quoted."""
    contents = list(contents)
    speeds, peers, accuracies = (
        [content for content in contents if content["kind"] == kind] for kind in ("speed", "peers", "accuracy")
    )
    parts = [*map(_speed, speeds[:1]), *map(_peers, peers), *map(_accuracy, accuracies), _attacks(contents)]
    last = ["", "All rows, plots, stages, memory, and what was skipped: [docs/results/](docs/results).", END]
    return "\n".join([BEGIN, *itertools.chain(*parts), *last])


def _markdown(shown: Table, right: slice = slice(0)) -> list[str]:
    """The columns of `right` stand to the right."""
    lines = ["---"] * len(shown.columns)
    lines[right] = ["--:"] * len(lines[right])
    return [f"| {' | '.join(shown.columns)} |", f"|{'|'.join(lines)}|", *(f"| {' | '.join(r)} |" for r in shown.rows)]


def _star(marked: bool) -> str:
    return " \\*" if marked else ""


def _machine(content: Row) -> str:
    machine = content["machine"]
    busy = machine.get("other_load_cores", 0.0)
    load = f"; other programs used {busy:.1f} cores meanwhile" if busy >= 0.1 else ""
    return f"`{machine['command']}`, {machine['cpu']}, {machine['cores']} cores, {machine['time'][:10]}{load}"


# --- speed --------------------------------------------------------------------------------------------


def _speed(content: Row) -> list[str]:
    rows = usual(content["rows"])
    chosen = _chosen(rows)
    out = [
        "",
        f"One question, D = 128, S = {content.get('scale', 512)}, 2048-bit key, client and both servers on one "
        "machine, every answer equal to plain integers:",
        "",
        *_markdown(listed("", SPEED, chosen), right=slice(1, None)),
    ]
    if any(row["extrapolated"] for row in chosen):
        out.append("\n\\* extrapolated from smaller galleries, not measured.")
    if times := _times(rows):
        out.append(f"\nCPU of the published protocols over that of engine prepared: {', '.join(times)}.")
    networks = [r for r in content["rows"] if r["engine"] == "prepared" and r["network"] != "loopback"]
    if networks:
        walls = ", ".join(
            f"{seconds(r['wall_s'])} on a {r['network'].upper()} for {r['M']:,} entries" for r in networks
        )
        out.append(f"\nWith real delay on every link, engine prepared takes {walls} (0.5 ms; 20 ms and 100 Mbit/s).")
    return [*out, f"\nMeasured by {_machine(content)}."]


def _times(rows: list[Row]) -> list[str]:
    """Published over prepared at the sizes that both have, with equally many workers, measured before extrapolated."""
    out = []
    for m in sorted({r["M"] for r in rows if r["engine"] == "prepared" and r["M"] >= 100}):
        published, ours = ([r for r in rows if (r["engine"], r["M"]) == (e, m)] for e in ("published", "prepared"))
        pairs = [(p, q) for p, q in itertools.product(published, ours) if p["workers"] == q["workers"]]
        if pairs:
            p, q = min(pairs, key=lambda pair: (pair[0]["extrapolated"], pair[0]["workers"]))
            out.append(f"{online(p) / online(q):,.0f} at {m:,} entries{_star(p['extrapolated'])}")
    return out


def _chosen(rows: list[Row]) -> list[Row]:
    """For each size of engine prepared, the largest ones, the fastest row by the clock; of each of the others the
    largest that was measured."""
    best: dict[tuple[str, int], Row] = {}
    for row in sorted(rows, key=lambda row: (bool(row["extrapolated"]), float(row["wall_s"]))):
        best.setdefault((row["engine"], row["M"]), row)
    ours = sorted(m for engine, m in best if engine == "prepared")
    others = sorted({engine for engine, _ in best if engine != "prepared"}, reverse=True)
    out = [best["prepared", m] for m in ours[-(ROWS - len(others)) :]]
    for engine in others:
        own = [row for (e, _), row in best.items() if e == engine]
        out.append(max([row for row in own if not row["extrapolated"]] or own, key=lambda row: int(row["M"])))
    return out


# --- peers --------------------------------------------------------------------------------------------


def _peers(content: Row) -> list[str]:
    """Of galleries of 1,000 if there are, else of the largest."""
    sizes = {r["entries"] for r in content["rows"]}
    entries = 1000 if 1000 in sizes else max(sizes)
    have = [r for r in content["rows"] if r["entries"] == entries and "skipped" not in r]
    have.sort(key=lambda r: float(r["wall_s"]))
    ours = [r for r in have if r["name"] == "prepared"]
    others = [r for r in have if r not in ours][: ROWS - len(ours)]
    shown = sorted([*ours, *others], key=have.index)
    out = [
        "",
        f"Beside the fastest other ways to match one face with {entries:,} under encryption, in one run:",
        "",
        *_markdown(listed("", PEERS, shown), right=slice(1, 4)),
    ]
    for row in shown:
        if row.get("bytes_peer_first", 0) > 2 * row["bytes_peer"]:
            out.append(
                f"\n{row['title']} stocks up at its first question, which is not counted above: "
                f"{size(row['bytes_peer_first'])} and {seconds(row['setup_s'])} with compiling."
            )
        if "scaled_from" in row:
            out.append(f"\n\\* measured with {row['scaled_from']} entries and scaled up.")
    return [*out, f"\nMeasured by {_machine(content)}."]


def _short(text: str) -> str:
    return text.partition(":")[0].partition(",")[0]


# --- accuracy -----------------------------------------------------------------------------------------


def _accuracy(content: Row) -> list[str]:
    command = content.get("machine", {}).get("command") or content.get("command")
    return ["", *(f"- {line}" for line in _accuracy_lines(content)), "", f"Measured by `{command}`."]


def _accuracy_lines(content: Row) -> list[str]:
    """Errors at the fitted threshold, in floats and as templates, and what went through encryption."""
    data, policy = content["data_set"], content["policy"]
    by_scale = {row["scale"]: row for row in content["rows"]}
    floats, quantised = by_scale[None], by_scale[policy["scale"]]
    changed = f"{quantised['changed']} of {data['pairs']:,} decisions are others as templates, S = {policy['scale']}"
    fitted = policy["measured"]["data_set"] if content["held_out"] else "the same photos"
    at_the = f"at the threshold {policy['threshold']:.4f}, fitted on {fitted} for an FMR of {policy['wanted_fmr']:.0e}"
    right = _percent(floats["pairs"]["at_threshold"]["accuracy"])
    out = [
        f"{data['name']}, {content['embedder']['name']}, {at_the}: {right} of {data['pairs']:,} pairs right; {changed}."
    ]
    if "all_pairs" in floats:
        at = floats["all_pairs"]["at_threshold"]
        fmr = at["fmr"]
        out.append(
            f"All pairs of its photos: FNMR {_percent(at['fnmr'])} of {at['fnmr']['n']:,}, FMR {fmr['value']:.1e} "
            f"({fmr['low']:.1e} to {fmr['high']:.1e}) of {fmr['n']:,}; intervals draw people."
        )
    if found := content.get("encrypted"):
        equal = f"{found['equal_to_plain_integers']:,} of {found['pairs']:,} decisions equal plain integers"
        out.append(f"Through two servers, engine {found['engine']}, {found['bits']} bits: {equal}.")
    return out


def _percent(rate: Row) -> str:
    if rate["value"] == rate["high"] == 0:  # nobody errs, whoever is drawn: there is no interval
        return "0 %"
    return f"{100 * rate['value']:.2f} % ({100 * rate['low']:.2f} to {100 * rate['high']:.2f})"


# --- attacks, and the document ------------------------------------------------------------------------


def _attacks(contents: list[Row]) -> list[str]:
    """Of the report's matrix: what some attackers get of the worst deployment, and of ours."""
    whole = matrix(contents)
    found = zip(whole.attackers, whole.cells[0], whole.cells[-1], strict=True)
    rows = [[who, _cell(worst), _cell(ours)] for who, worst, ours in found if who in QUOTED]
    text = "What the best attack known gets, and of how many victims (docs/results/report.html has more of both):"
    return ["", text, "", *_markdown(table("", ["attacker", whole.deployments[0], whole.deployments[-1]], rows))]


def _cell(cell: Cell) -> str:
    spent = f"; {cell.spent}" if cell.spent else ""
    return f"**{cell.verdict.value}**: {cell.attack}{spent}{', ' + cell.share if cell.share else ''}"


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

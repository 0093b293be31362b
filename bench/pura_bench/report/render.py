"""One HTML file of all result files, with everything in it. A kind that it does not know is shown as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from importlib import resources
from typing import Any

import jinja2

from pura_bench.accuracy import report as accuracy
from pura_bench.report import others, plots, security
from pura_bench.report.figures import seconds, size
from pura_bench.report.matrix import matrix

Row = dict[str, Any]
TITLES = {
    "speed": "Speed",
    "peers": "Beside other ways to match under encryption",
    "accuracy": "Accuracy",
    "security": "What each deployment leaks",
    "asking": "What decisions alone give away",
    "defended": "What the defaults leave",
    "rights": "What more rights, a batch made ahead, and a lock as a weapon get",
    "collusion": "What attackers get that work together, or a server that deviates",
    "views": "Whether a server's view can be told from a simulated one",
    "exactness": "Encrypted answers against plain integers",
    "day": "Days of operations and faults, at simulated times, against a model",
    "robustness": "Half an hour of clients and faults, in real time",
    "hostile": "An honest client beside hostile ones",
    "fuzz": "Nearly right bytes for every reader and every call",
}
TOPICS = {
    "speed": ("Speed", ("speed", "peers", "large", "enrol", "load")),
    "accuracy": ("Accuracy", ("accuracy", "topic")),
    "attacks": ("Attacks", ("security", "asking", "defended", "rights", "collusion")),
    "right": ("Right and simulated", ("exactness", "views", "day")),
    "faults": ("Faults and hostile clients", ("robustness", "hostile", "fuzz")),
}
"""By its name in the page: its title, and the kinds of results in it. Everything else is under the last topic."""
OTHERS = ("more", "More")
_LONGEST = 400
"""Rows of a table; the rest stays in the JSON."""


@dataclasses.dataclass
class Table:
    """A table of text; `numbers` says which columns stand to the right."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numbers: list[bool]
    text: str = ""


@dataclasses.dataclass
class Section:
    """One kind of result."""

    kind: str
    title: str
    command: str
    machine: str
    notes: list[str]
    images: list[tuple[str, str, str]]
    tables: list[Table]


@dataclasses.dataclass
class Topic:
    """Sections that are looked at together."""

    id: str
    title: str
    sections: list[Section]


def render(contents: Iterable[Row], *, alone: bool = False) -> str:
    """The HTML of all results that there are; `alone`: of one run, without what several tell together."""
    contents = list(contents)
    source = resources.files("pura_bench.report").joinpath("report.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page, shown = environment.from_string(source), topics(contents)
    return page.render(matrix=None if alone else matrix(contents), topics=shown, first=_first(shown))


def topics(contents: list[Row]) -> list[Topic]:
    """All sections by topic; topics without any are left out."""
    named = {kind: id_ for id_, (_, kinds) in TOPICS.items() for kind in kinds}
    out = {id_: Topic(id_, title, []) for id_, (title, _) in TOPICS.items()}
    out[OTHERS[0]] = Topic(*OTHERS, [])
    for content in contents:
        out[named.get(content["kind"], OTHERS[0])].sections.append(section(content))
    return [topic for topic in out.values() if topic.sections]


def _first(shown: list[Topic]) -> list[tuple[str, str, str, str]]:
    """The plots of the first screen: what it answers, title, caption, image."""
    out = []
    for answers, kind in (("How fast", "speed"), ("How accurate", "accuracy")):
        images = [one.images[0] for topic in shown for one in topic.sections if one.kind == kind and one.images]
        out += [(answers, *image) for image in images[:1]]
    return out


def section(content: Row) -> Section:
    """What the report says about one result file.

    In a kind that it does not know `summary` (texts), `images` ([title, caption, data URI]) and `tables` ({title,
    columns, rows}) are shown as they are.
    """
    kind, machine = content["kind"], content.get("machine", {})
    images: list[tuple[str, str, str]] = [(t, c, uri) for t, c, uri in content.get("images", [])]
    if kind == "speed":
        images = plots.speed_plots(content) + images
        tables = _speed(content)
    elif kind == "peers":
        images = plots.peer_plots(content) + images
        tables = _peers(content)
    elif kind == "accuracy":
        parts = accuracy.parts(content)
        images += [(title, "", image) for title, _, image in parts if image]
        tables = [table(title, rows[0], list(rows[1:])) for title, rows, _ in parts]
    elif kind == "topic":
        tables = [table(title, rows[0], list(rows[1:])) for title, rows in others.topic_parts(content)]
    elif kind == "security":
        tables = [table(title, heads, rows, text) for title, text, heads, rows in security.parts(content)]
    elif kind == "asking":
        rows = others.asking_rows(content)
        tables = [table("Each limit", rows[0], list(rows[1:]))]
    elif kind == "collusion":
        tables = [table(title, rows[0], list(rows[1:])) for title, rows in others.collusion_parts(content)]
    else:
        tables = [*_given(content), *_anything("", content, top=True)]
    title = TITLES.get(kind, kind.capitalize())
    if kind == "accuracy":
        title += f": {content['data_set']['name']}"
    elif kind == "topic":
        title = f"Accuracy, {content['topic']}: {content['data_set']}"
    return Section(
        kind,
        title,
        str(machine.get("command") or content.get("command", "")),
        _machine({"time": content.get("when"), **machine}),
        security.notes(content)
        if kind == "security"
        else [x for x in content.get("summary", []) if isinstance(x, str)],
        images,
        tables,
    )


def _machine(machine: Row) -> str:
    if not machine:
        return ""
    parts = [str(machine[name]) for name in ("cpu", "system", "bigint", "time") if machine.get(name)]
    if "cores" in machine:
        parts.insert(1, f"{machine['cores']} cores")
    if "python" in machine:
        parts.append(f"Python {machine['python']}")
    if machine.get("seed") is not None:
        parts.append(f"seed {machine['seed']}")
    if "other_load_cores" in machine:
        parts.append(f"other programs used {machine['other_load_cores']} cores during the run")
    return ", ".join(parts)


def _given(content: Row) -> list[Table]:
    return [table(t["title"], t["columns"], t["rows"]) for t in content.get("tables", [])]


def table(title: str, columns: list[str], rows: list[list[Any]], text_: str = "") -> Table:
    """Cells as text."""
    cells = [[text(cell) for cell in row] for row in rows[:_LONGEST]]
    numbers = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] in (None, "-") for row in rows)
        for i in range(len(columns))
    ]
    return Table(title, columns, cells, numbers, text_)


def text(value: Any) -> str:
    """A cell."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.4g}"
        case int():
            return f"{value:,}"
    return str(value)


def _speed(content: Row) -> list[Table]:
    rows = [
        [
            r["engine"] + (" (extrapolated)" if r["extrapolated"] else ""),
            r["M"], r["D"], r["key_bits"] or None, "all" if r["workers"] == 0 else str(r["workers"]), r["network"],
            *(round(1e3 * r[n], 2) for n in ("cpu_s_s1", "cpu_s_s2", "cpu_s_offline", "wall_s")),
            r["bytes_client"], round(r["bytes_peer"]), r.get("rounds"),
            _mb(r.get("memory_bytes_s1")), _mb(r.get("memory_bytes_s2")), r.get("other_load_cores"), r["exact"],
        ]
        for r in content["rows"]
    ]  # fmt: skip
    columns = ["engine", "M", "D", "bits", "workers", "network", "S1 ms", "S2 ms", "offline ms", "wall ms"]
    columns += ["client bytes", "bytes between", "rounds", "S1 MB", "S2 MB", "busy cores", "exact"]
    out = [table("One question", columns, rows)]
    costs = [
        [
            e["engine"], e["D"], e["key_bits"], "all" if e["workers"] == 0 else str(e["workers"]), e["M"],
            e["cpu_ms"], e["cpu_ms_offline"], e.get("slope_ms"), e.get("exponent"),
        ]
        for e in content["per_entry"]
    ]  # fmt: skip
    columns = ["engine", "D", "bits", "workers", "M", "online ms", "offline ms", "slope ms", "exponent of M"]
    out.append(table("CPU of both servers for one entry and question, at the largest size", columns, costs))
    out.append(table("Ratios of CPU an entry", ["what", "ratio"], [[r["text"], r["ratio"]] for r in content["ratios"]]))
    out += [_stages(r) for r in content["rows"] if r.get("stages")]
    enrolments = [
        [r["engine"], r["M"], r["D"], r["key_bits"], e["entries"], e["per_s"], 1e3 * e["cpu_s_s1"] / e["entries"],
         1e3 * e["cpu_s_s2"] / e["entries"], round(r["storage_bytes_entry"]), round(r["matching_bytes_entry"])]
        for r in content["rows"] if "entries" in (e := r.get("enrolment", {}))
    ]  # fmt: skip
    columns = ["engine", "M", "D", "bits", "enrolled", "a second", "S1 ms each", "S2 ms each", "bytes stored each"]
    out.append(table("Enrolment and storage", [*columns, "matching copy, bytes each"], enrolments))
    out.append(table("Not measured", ["cell", "reason"], [[f["cell"], f["reason"]] for f in content["failed"]]))
    return [one for one in out if one.rows]


def _stages(row: Row) -> Table:
    title = f"Stages: {row['engine']}, M = {row['M']:,}, D = {row['D']}, {row['key_bits']} bits, one thread"
    rows: list[list[Any]] = []
    for prefix, stages in (("", row["stages"]), ("offline: ", row.get("offline_stages", []))):
        rows += [
            [prefix + s["stage"], 1e3 * s["cpu_s_s1"], 1e3 * s["cpu_s_s2"], s["bytes"], s["rounds"]] for s in stages
        ]
    return table(title, ["stage", "S1 ms", "S2 ms", "bytes", "rounds"], rows)


def _peers(content: Row) -> list[Table]:
    rows = []
    for r in [*content["rows"], *content.get("quoted", [])]:
        if "skipped" in r:
            continue
        rows.append(
            [
                r["title"] + (f" (scaled from {r['scaled_from']})" if "scaled_from" in r else ""),
                r["entries"],
                seconds(r["wall_s"]),
                seconds(r["cpu_s"]) if "cpu_s" in r else "-",
                size(r["bytes_client"]) if "bytes_client" in r else "-",
                size(r["bytes_peer"]),
                r.get("exact"),
                *(r[name] for name in ("query", "gallery", "minimum", "threshold", "score_known_to", "trust")),
            ]
        )
    columns = ["who", "M", "wall", "CPU, all parties", "client bytes", "bytes between", "exact", "query encrypted"]
    columns += ["gallery encrypted", "minimum encrypted", "threshold encrypted", "scores known to", "trust"]
    skipped = [[r["title"], r["entries"], r["skipped"]] for r in content["rows"] if "skipped" in r]
    out = [table("Side by side", columns, rows), table("Skipped", ["who", "M", "reason"], skipped)]
    return [one for one in out if one.rows]


def _anything(title: str, value: Any, *, top: bool = False) -> list[Table]:
    """Any JSON as tables: a list of objects as rows, an object's plain values as pairs, and what is inside it after."""
    if isinstance(value, list):
        objects = [v for v in value if isinstance(v, dict)]
        if not value or len(objects) != len(value):
            return []
        names = [
            n
            for n in dict.fromkeys(n for o in objects for n in o)
            if not any(isinstance(o.get(n), dict | list) for o in objects)
        ]
        return [table(title, names, [[o.get(n) for n in names] for o in objects])]
    if not isinstance(value, dict):
        return []
    hidden = ("machine", "summary", "images", "tables", "kind") if top else ()
    items = {name: v for name, v in value.items() if name not in hidden}
    plain = [[name, v] for name, v in items.items() if not isinstance(v, dict | list)]
    out = [table(title, ["what", "value"], plain)] if plain else []
    for name, v in items.items():
        out += _anything(f"{title}: {name}" if title else name.replace("_", " "), v)
    return out


def _mb(value: float | None) -> int | None:
    return None if value is None else round(value / 1e6)

"""One HTML file of all result files, with everything in it. A kind that it does not know is shown as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from importlib import resources

import jinja2

from pura_bench.accuracy import report as accuracy
from pura_bench.report import attacks, plots
from pura_bench.report.matrix import matrix
from pura_bench.report.plots import Picture
from pura_bench.report.speed import peer_tables, speed_tables
from pura_bench.report.tables import Row, Table, anything, table

TITLES = {
    "speed": "Speed",
    "peers": "Beside other ways to match under encryption",
    "accuracy": "Accuracy: {data_set[name]}",
    "topic": "Accuracy, {topic}: {data_set}",
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
"""By kind, with fields of the result."""
TOPICS = {
    "speed": ("Speed", ("speed", "peers", "large", "enrol", "load")),
    "accuracy": ("Accuracy", ("accuracy", "topic")),
    "attacks": ("Attacks", ("security", "asking", "defended", "rights", "collusion")),
    "right": ("Right and simulated", ("exactness", "views", "day")),
    "faults": ("Faults and hostile clients", ("robustness", "hostile", "fuzz")),
}
"""By its name in the page: its title, and the kinds of results in it. Everything else is under the last topic."""
OTHERS = ("more", "More")


def _shown(given: Iterable[accuracy.Table]) -> list[Table]:
    return [table(each.title, heads, rows) for each in given for heads, *rows in [each.as_text()]]


def _accuracy_tables(content: Row) -> list[Table]:
    return _shown(accuracy.tables(content))


def _accuracy_plots(content: Row) -> list[Picture]:
    return [(title, "", image) for title, _, image in accuracy.parts(content) if image]


def _topic_tables(content: Row) -> list[Table]:
    return _shown(accuracy.Table(each["title"], each["rows"]) for each in content["tables"])


def _any_tables(content: Row) -> list[Table]:
    """Of a kind without tables of its own: those that it gives, then all that is in it."""
    given = [table(each["title"], each["columns"], each["rows"]) for each in content.get("tables", [])]
    elsewhere = ("machine", "summary", "images", "tables", "kind")
    return given + anything("", {name: value for name, value in content.items() if name not in elsewhere})


TABLES: dict[str, Callable[[Row], list[Table]]] = {
    "speed": speed_tables,
    "peers": peer_tables,
    "accuracy": _accuracy_tables,
    "topic": _topic_tables,
    "security": attacks.security_tables,
    "asking": attacks.asking_tables,
    "collusion": attacks.collusion_tables,
}
PLOTS: dict[str, Callable[[Row], list[Picture]]] = {
    "speed": plots.speed_plots,
    "peers": plots.peer_plots,
    "accuracy": _accuracy_plots,
}


@dataclasses.dataclass
class Section:
    """One kind of result."""

    kind: str
    title: str
    command: str
    machine: str
    notes: list[str]
    images: list[Picture]
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
    drawn = PLOTS[kind](content) if kind in PLOTS else []
    tables = TABLES.get(kind, _any_tables)(content)
    summary = [one for one in content.get("summary", []) if isinstance(one, str)]
    return Section(
        kind,
        TITLES.get(kind, kind.capitalize()).format_map(content),
        str(machine.get("command") or content.get("command", "")),
        _machine({"time": content.get("when"), **machine}),
        attacks.notes(content) if kind == "security" else summary,
        [*drawn, *((title, caption, uri) for title, caption, uri in content.get("images", []))],
        [each for each in tables if each.rows],
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

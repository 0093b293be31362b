"""A table as data: its columns, and how a figure is written. The report, README and the terminal share them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import rich.table

Row = dict[str, Any]
Columns = Mapping[str, str | Callable[[Row], Any]]
"""Head -> the field of a row that stands there, or what makes the cell of a row."""
_LONGEST = 400
"""Rows of a table; the rest stays in the JSON."""


@dataclasses.dataclass
class Table:
    """A table of text; `numbers` says which columns stand to the right; `text`: what it shows."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    numbers: list[bool]
    text: str = ""

    def on_terminal(self) -> rich.table.Table:
        """For a console."""
        out = rich.table.Table(title=self.title)
        for head, number in zip(self.columns, self.numbers, strict=True):
            out.add_column(head, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            out.add_row(*row)
        return out


def table(title: str, heads: Iterable[str], rows: Sequence[Sequence[Any]], about: str = "") -> Table:
    """Cells as text."""
    heads = list(heads)
    numbers = [
        bool(rows) and all(isinstance(row[i], int | float) or row[i] in (None, "-") for row in rows)
        for i in range(len(heads))
    ]
    return Table(title, heads, [[text(cell) for cell in row] for row in rows[:_LONGEST]], numbers, about)


def named(*fields: str) -> Columns:
    """Columns that are called as their fields."""
    return {field: field for field in fields}


def listed(title: str, columns: Columns, rows: Iterable[Row], about: str = "") -> Table:
    """A row for each of these; a field that one lacks is "-"."""
    cells = [[row.get(how) if isinstance(how, str) else how(row) for how in columns.values()] for row in rows]
    return table(title, columns, cells, about)


# --- cells --------------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """A cell: a number, a word, a median or a rate with its interval, or such by how many questions were asked."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.4g}"
        case int():
            return f"{value:,}"
        case {"median": _}:
            return median(value)
        case {"n": _}:
            return percent(value)
        case dict():
            return "; ".join(f"after {asked}: {text(numbers)}" for asked, numbers in value.items())
        case list():
            return ", ".join(map(str, value))
    return str(value)


def percent(rate: Row | None) -> str:
    """A rate with its interval."""
    if rate is None or not rate["n"]:
        return "-"
    return f"{100 * rate['k'] / rate['n']:.0f} % ({100 * rate['low']:.0f} to {100 * rate['high']:.0f})"


def median(similarity: Row) -> str:
    """With its quartiles."""
    return f"{similarity['median']:.3f} ({similarity['low']:.3f} to {similarity['high']:.3f})"


def counted(rate: Row | None, digits: int = 1) -> str:
    """A rate as k of n, with its interval."""
    if rate is None:
        return "-"
    return f"{rate['k']} of {rate['n']} ({100 * rate['low']:.{digits}f} to {100 * rate['high']:.{digits}f} %)"


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


# --- any JSON -----------------------------------------------------------------------------------------


def anything(title: str, value: Any) -> list[Table]:
    """Any JSON as tables: a list of objects as rows, an object's plain values as pairs, and what is inside it after."""
    match value:
        case [dict(), *_] if all(isinstance(one, dict) for one in value):
            nested = {name for one in value for name, v in one.items() if isinstance(v, dict | list)}
            names = [name for name in dict.fromkeys(name for one in value for name in one) if name not in nested]
            return [listed(title, named(*names), value)]
        case dict():
            plain = [[name, v] for name, v in value.items() if not isinstance(v, dict | list)]
            inside = [anything(f"{title}: {name}" if title else name.replace("_", " "), v) for name, v in value.items()]
            return [table(title, ["what", "value"], plain), *(one for tables in inside for one in tables)]
    return []

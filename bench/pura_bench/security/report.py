"""The page of one run: the report's, with pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pura_bench.report.attacks import worth
from pura_bench.report.plots import draw, draw_side_by_side
from pura_bench.report.render import render
from pura_bench.security.arms import Where
from pura_bench.security.photos import Cast

FACES = 6
ORDER = list(Where)
Picture = tuple[str, str, str]


def page(data: dict[str, Any], work: Path, cast: Cast, *, faces: bool) -> str:
    """The HTML. Without `faces` it shows no photo of anybody."""
    rows = data["arms"]
    images = [*(_faces(rows, work, cast) if faces else []), *_curves(rows)]
    return render([{**data, "kind": "security", "images": images}], alone=True)


def place(row: dict[str, Any]) -> tuple[int, str, int]:
    """Where a row stands among others."""
    name = row["deployment"]
    return (ORDER.index(name) if name in ORDER else len(ORDER), row["attack"], row["budget"])


def _faces(rows: Sequence[dict[str, Any]], work: Path, cast: Cast) -> list[Picture]:
    """Victims, and what is made of them where they are enrolled: of each deployment by the attack that does best."""
    shown = [("enrolled", cast.enrolled.crops), ("another photo of them", cast.mates.crops)]
    for deployment in dict.fromkeys(r["deployment"] for r in rows if r["deployment"] != Where.NOTHING):
        row = max((r for r in rows if r["deployment"] == deployment), key=worth)
        name = "\n".join(textwrap.wrap(f"{deployment}: {row['attack']}, {row['budget']:,} questions", 46))
        shown.append((name, np.load(work / row["pictures"])))
    title = "Faces: who is enrolled, and what attacks make of them"
    caption = "A column for each victim, a row for each deployment, by the attack that does best there."
    return [(title, caption, draw_side_by_side(shown, min(FACES, len(cast.enrolled.crops))))]


def _curves(rows: Sequence[dict[str, Any]]) -> list[Picture]:
    curves = [r for r in rows if r.get("curve")]
    if not curves:
        return []

    def paint(axes: Any) -> None:
        for r in curves:
            x, *spread = zip(*((p["budget"], p["median"], p["low"], p["high"]) for p in r["curve"]), strict=True)
            (line,) = axes.plot(x, spread[0], label=f"{r['attack']}, {r['deployment']}, n = {r['n']}")
            axes.fill_between(x, spread[1], spread[2], alpha=0.15, color=line.get_color())
        axes.set(xscale="log", xlabel="questions about one victim", ylabel="cosine with the enrolled", ylim=(0, 1))
        axes.legend(fontsize=8, loc="lower right")

    return [("Similarity against questions", "Medians and quartiles.", draw((9, 4), paint))]

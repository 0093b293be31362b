"""False match rates against the threshold, as they were recorded for the built-in embedders.

A stranger is named by a gallery of n entries with a probability of 1 - (1 - FMR)^n: a threshold that is right for one
comparison is wrong for ten thousand. `pura bench accuracy curve` makes the files.
"""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pura import settings
from pura.params import Params

_FOLDER = Path(__file__).with_name("rates")


class Point(BaseModel):
    """At one threshold: the rate, its interval at 95 %, and whether it is extrapolated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float
    fmr: float
    low: float
    high: float
    extrapolated: bool


class Curve(BaseModel):
    """The recorded rates of one embedder, thresholds ascending."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedder: str
    data_set: str
    people: int
    point: tuple[Point, ...] = Field(min_length=2)

    def at(self, threshold: float) -> Point:
        """The point at a threshold, or the next lower one, whose rate is higher."""
        return max((p for p in self.point if p.threshold <= threshold), key=_threshold, default=self.point[0])

    def threshold_for(self, entries: int, fpir: float) -> Point:
        """The lowest threshold at which at most a share `fpir` of strangers is named by so many entries, by the upper
        end of the interval; the highest recorded one where none is."""
        return next((p for p in self.point if named(p.high, entries) <= fpir), self.point[-1])

    def outgrown(self, threshold: float, entries: int, fpir: float) -> bool:
        """Whether more strangers than that are named, by the recorded rate itself."""
        return named(self.at(threshold).fmr, entries) > fpir


def _threshold(point: Point) -> float:
    return point.threshold


def named(fmr: float, entries: int) -> float:
    """FPIR: 1 - (1 - FMR)^entries."""
    return -math.expm1(entries * math.log1p(-fmr))


def outgrown(params: Params, entries: int, fpir: float) -> bool | None:
    """Whether identify names more than this share of strangers, for so many entries; None where no rates are known."""
    curve = of(params.embedder)
    if curve is None:
        return None
    return curve.outgrown(1 - params.tau_identify / (2 * params.norm2), entries, fpir)


def of(embedder: str) -> Curve | None:
    """The curve of a built-in embedder; None for any other."""
    path = _FOLDER / f"{embedder}.toml"
    if embedder not in {file.stem for file in _FOLDER.glob("*.toml")}:
        return None
    return settings.validated(Curve, settings.read(path), path)

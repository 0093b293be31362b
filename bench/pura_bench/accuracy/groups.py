"""Who bears the errors: false matches and non-matches of groups of people, by a file of labels.

`--groups FILE` (again for more): lines `name,group`, where a name is a person's or a photo's file; or names only, all
of one group that is called like the file up to its first `_` or `.` (female_names.txt: female). A name in two groups
counts in neither, nor does a person whose photos are of two.

In ISO/IEC 19795-10's terms a *demographic differential* is a difference of an error rate between groups at one global
threshold; *false positive* and *false negative differential* are told as the largest rate over the smallest. Nothing
here is a claim of conformity: groups, photos and their number are not what a test by that standard needs.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from pura.policy import MeasuredGroup
from pura_bench.accuracy.datasets import BadDataSet
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.evaluate import similarities, threshold
from pura_bench.accuracy.people import Errors, Group, Interval, middle
from pura_bench.accuracy.report import Row, Table
from pura_bench.accuracy.topic import Photos, topic

Labels = dict[str, str | None]
"""A person's or a photo's name -> its group; None: of two."""


def read(files: Sequence[Path]) -> Labels:
    """The labels of some files. Raises `BadDataSet`."""
    out: Labels = {}
    for file in files:
        try:
            rows = [row for row in csv.reader(file.read_text("utf-8-sig").splitlines()) if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BadDataSet(f"{file.name} cannot be read", detail=str(error)) from error
        if not rows or any(len(row) != len(rows[0]) or not 0 < len(row) < 3 for row in rows):
            raise BadDataSet(f"{file.name} has neither lines `name,group` nor lines of names")
        own = file.stem.partition("_")[0]
        for name, group in ((row[0].strip(), row[1].strip() if len(row) > 1 else own) for row in rows):
            out[name] = group if out.get(name, group) == group else None
    return out


def of_people(embedded: Embedded, labels: Labels) -> dict[str, Group]:
    """Group -> who of the people, in the order of their numbers, is in it. Raises `BadDataSet` when nobody is."""
    who = embedded.who
    said: list[set[str]] = [set() for _ in range(who.max() + 1)]
    for photo, person in zip(embedded.data.photos, who, strict=True):
        if isinstance(photo, Path):
            for name in (photo.name, photo.parent.name):
                group = labels.get(name)
                said[person] |= set() if group is None else {group}
    return _masks([min(groups) if len(groups) == 1 else None for groups in said], labels, "anybody")


def of_photos(embedded: Embedded, labels: Labels) -> dict[str, Group]:
    """Group -> which of the photos, by the names of their files, are in it. Raises `BadDataSet` when none is."""
    said = [labels.get(photo.name) if isinstance(photo, Path) else None for photo in embedded.data.photos]
    return _masks(said, labels, "any photo")


def _masks(said: Sequence[str | None], labels: Labels, whom: str) -> dict[str, Group]:
    names = sorted({group for group in labels.values() if group is not None})
    out = {name: np.array([group == name for group in said], np.bool_) for name in names}
    if not any(mask.any() for mask in out.values()):
        raise BadDataSet(f"no label is of {whom} in the data set")
    return out


def measured(errors: Errors, groups: dict[str, Group]) -> tuple[MeasuredGroup, ...]:
    """What a policy file says of each group."""
    out = []
    for name, mask in groups.items():
        fmr, fnmr = errors.fmr(mask), errors.fnmr(mask)
        if fmr.n and fnmr.n:
            out.append(
                MeasuredGroup(
                    name=name,
                    people=int(mask.sum()),
                    fmr=fmr.value,
                    fmr_interval=fmr.interval,
                    fnmr=fnmr.value,
                    fnmr_interval=fnmr.interval,
                )
            )
    return tuple(out)


def rows(errors: Errors, groups: dict[str, Group], about: Row) -> list[Row]:
    """Errors within each group, between any two, and of all."""

    def row(who: str, people: int | None, fmr: Row | None, fnmr: Row | None) -> Row:
        return {**about, "who": who, "people": people, "FMR": fmr, "FNMR": fnmr}

    within = {name: (errors.fmr(mask), errors.fnmr(mask)) for name, mask in groups.items()}
    return [
        *(row(name, int(groups[name].sum()), *(rate.as_dict() for rate in both)) for name, both in within.items()),
        *(
            row(f"{one} with {two}", None, errors.fmr(groups[one], groups[two]).as_dict(), None)
            for one, two in itertools.combinations(groups, 2)
        ),
        row("all people", len(errors.photos), errors.fmr().as_dict(), errors.fnmr().as_dict()),
        row("largest / smallest", None, *(_ratio([rates[i] for rates in within.values()]) for i in (0, 1))),
    ]


def _ratio(rates: list[Interval]) -> Row | None:
    """The largest rate over the smallest; None where one has no error at all."""
    if len(rates) < 2 or any(not rate.k for rate in rates):
        return None
    top, bottom = max(rates, key=lambda rate: rate.value), min(rates, key=lambda rate: rate.value)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = middle(np.asarray(top.draws / bottom.draws))
    return {"value": top.value / bottom.value, "low": low, "high": high}


@topic(
    "groups",
    click.option("--groups", "files", multiple=True, required=True, type=click.Path(path_type=Path)),
    click.option("--fmr", default=1e-4, show_default=True, help="Wanted false match rate, for the global threshold."),
    click.option("--policy", type=click.Path(path_type=Path), help="Take the threshold from here."),
)
def groups(photos: Photos, seed: int, files: tuple[Path, ...], fmr: float, policy: Path | None) -> list[Table]:
    """Who bears the errors: FMR and FNMR of groups at one global threshold, with intervals that draw people.

    The threshold is fitted on the data set's training half if it has one; both halves are shown.
    """
    labels = read(files)
    halves = [photos.embed(each) for each in (photos.training, photos.reported) if each is not None]
    at = threshold(halves[0], fmr, policy)
    out: list[Row] = []
    for half in halves:
        by = of_people(half, labels)
        errors = Errors.of(half.vectors, half.who, similarities, at, seed)
        out += rows(errors, by, {"photos": half.data.name})
    dropped = sum(group is None for group in labels.values())
    return [Table(f"errors by group at the global threshold {at:.4f}; {dropped} names in two groups left out", out)]

"""The demo's report: one HTML file with everything in it."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import platform
import sqlite3
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
from numpy.typing import NDArray

_HEAD_BYTES = 48


@dataclasses.dataclass(frozen=True)
class Row:
    """One question: who it truly was, what was asked and decided, what it cost (ms of wall time, bytes on the wire)."""

    photo: NDArray[Any]
    truth: str
    question: str
    decided: str
    right: bool
    ms: float
    sent: int
    received: int


@dataclasses.dataclass(frozen=True)
class Seen:
    """A piece of what a party saw: what it is, how long, and its beginning in hexadecimal."""

    what: str
    size: int
    head: str

    @classmethod
    def of(cls, what: str, raw: bytes) -> Seen:
        """The piece `raw`."""
        return cls(what, len(raw), raw[:_HEAD_BYTES].hex())


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that the report tells."""

    engine: str
    bits: int
    enrolled: Sequence[tuple[str, NDArray[Any]]]
    photos_each: int
    rows: Sequence[Row]
    views: Sequence[tuple[str, Sequence[Seen]]]
    steps: Sequence[tuple[str, float]]
    note: str = ""

    @property
    def wrong(self) -> int:
        """How many decisions were wrong."""
        return sum(not row.right for row in self.rows)


def kept_by(data: Path) -> list[Seen]:
    """The beginning of one value of every binary column in a stopped server's data folder."""
    out = []
    for file in sorted(data.rglob("*")):
        if not file.is_file() or file.read_bytes()[:15] != b"SQLite format 3":
            continue
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
            tables = [
                name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            ]
            for table in tables:
                for _, column, kind, *_ in db.execute(f'PRAGMA table_info("{table}")').fetchall():
                    # zeros say nothing: this server keeps no such thing
                    long = f'length("{column}") >= 32 AND "{column}" <> zeroblob(length("{column}"))'
                    query = f'SELECT "{column}" FROM "{table}" WHERE {long} LIMIT 1'  # noqa: S608
                    found = db.execute(query).fetchone() if kind.upper() == "BLOB" else None
                    if found is not None and isinstance(found[0], bytes):
                        out.append(Seen.of(f"kept on disk: {table}.{column}", found[0]))
        db.close()
    return out


def render(run: Run) -> str:
    """The HTML of a run, images included."""
    source = resources.files("pura_client").joinpath("report.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    right, verdict = len(run.rows) - run.wrong, "wrong" if run.wrong else "right"
    return environment.from_string(source).render(
        when=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        engine=run.engine,
        bits=run.bits,
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        note=run.note,
        tiles=[
            {
                "name": "decisions right",
                "value": f"{right} of {len(run.rows)}",
                "kind": verdict,
            },
            {"name": "people enrolled", "value": len(run.enrolled), "kind": ""},
            {"name": "photos of each", "value": run.photos_each, "kind": ""},
            {"name": "ms a question, median", "value": f"{median(row.ms for row in run.rows):.0f}", "kind": ""},
            {"name": "bytes a question", "value": f"{median(r.sent + r.received for r in run.rows):,.0f}", "kind": ""},
        ],
        enrolled=[{"label": label, "image": as_uri(photo)} for label, photo in run.enrolled],
        rows=[{**vars(row), "image": as_uri(row.photo)} for row in run.rows],
        views=[{"who": who, "entries": seen} for who, seen in run.views],
        steps=[{"name": name, "seconds": seconds} for name, seconds in run.steps],
    )


def as_uri(photo: NDArray[Any]) -> str:
    """An image array as a PNG data URI."""
    import cv2  # not at the top: the command line starts without OpenCV

    done, png = cv2.imencode(".png", photo)
    if not done:
        raise ValueError("the image cannot be encoded")
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()

"""The roster as a file: JSON or CSV."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pura.errors import OutOfRange
from pura_client.session import Entry

COLUMNS = ("entry", "label", "enrolment_id", "expires")


def rows(entries: Sequence[Entry]) -> list[dict[str, str | None]]:
    """By label. A label that this client's key does not open is None."""
    ordered = sorted(entries, key=lambda one: (one.label or "", one.handle))
    return [
        {
            "entry": f"{one.handle:016x}",
            "label": one.label,
            "enrolment_id": one.enrolment_id.hex(),
            "expires": day_of(one),
        }
        for one in ordered
    ]


def day_of(entry: Entry) -> str | None:
    """When an entry is erased, as a date and time in UTC; None for never."""
    if entry.expires is None:
        return None
    return datetime.datetime.fromtimestamp(entry.expires, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_json(entries: Sequence[Entry]) -> bytes:
    """One object, with all entries."""
    return json.dumps({"entries": rows(entries)}, ensure_ascii=False, indent=1).encode() + b"\n"


def to_csv(entries: Sequence[Entry]) -> bytes:
    """A header and a line an entry, UTF-8. Labels are as they are: import them as text, for a spreadsheet may take one
    that begins with = for a formula."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows(entries))
    return text.getvalue().encode()


def writer_for(file: Path) -> Callable[[Sequence[Entry]], bytes]:
    """By the file's suffix. Raises `OutOfRange` for another one."""
    writers = {".json": to_json, ".csv": to_csv}
    if file.suffix.lower() not in writers:
        raise OutOfRange("name a file that ends with .json or .csv")
    return writers[file.suffix.lower()]

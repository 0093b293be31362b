"""The moment at which a gallery stands, and whether the two servers were found at different ones.

Each committed change has a random number that both servers know, so that equal moments are the same gallery. When they
connect and are not at the same one (a backup was restored on one side only), both write down both, in `apart`, until
they are together again; `pura-server check` reads it, and a restored backup does not have it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from pura.files import PRIVATE, replace_file
from pura.ids import TxnId

FILE = "apart"
_HEAD = 8
_LONGEST = 64


@dataclasses.dataclass(frozen=True)
class Moment:
    """After so many changes, and which one was the last; none: no bytes."""

    generation: int
    txn: TxnId

    def __str__(self) -> str:
        return f"{self.generation}-{self.txn.hex()[:_HEAD]}" if self.generation else "0"


@dataclasses.dataclass(frozen=True)
class Apart:
    """Where this server and the other one stood when they met last."""

    here: str
    there: str


def keep_apart(folder: Path, here: Moment, there: Moment) -> None:
    """Write it down, if the disk lets us: the servers know it anyway."""
    body = json.dumps({"here": str(here), "there": str(there)}).encode()
    with contextlib.suppress(OSError):
        replace_file(folder / FILE, body, PRIVATE)


def forget_apart(folder: Path) -> None:
    """They are together."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)


def read_apart(folder: Path) -> Apart | None:
    """What was written down; None for nothing, and for what nobody here wrote."""
    try:
        body = json.loads((folder / FILE).read_text("utf-8"))
        found = Apart(str(body["here"])[:_LONGEST], str(body["there"])[:_LONGEST])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if (found.here + found.there).replace("-", "").isalnum() else None

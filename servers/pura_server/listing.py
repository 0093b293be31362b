"""The roster on its way to a client: changes in pages that fit a message."""

from __future__ import annotations

from collections.abc import Iterator

from pura.roster import Changes
from pura.wire._pb import pura_pb2 as pb

ENTRIES = 1000
"""In one page."""
REMOVED = 100_000
"""Handles in one page."""


def one_page(changes: Changes) -> pb.RosterPage | None:
    """All of it in one page; None where that is too much."""
    if len(changes.entries) > ENTRIES or len(changes.removed) > ENTRIES:
        return None
    whole = pb.RosterPage()
    for page in pages(changes):
        whole.MergeFrom(page)
    return whole


def pages(changes: Changes) -> Iterator[pb.RosterPage]:
    """First what is said once, then what was erased, then what was added."""
    yield pb.RosterPage(
        generation=changes.generation, digest=changes.digest, signature=changes.signature, full=changes.full
    )
    for i in range(0, len(changes.removed), REMOVED):
        yield pb.RosterPage(removed=changes.removed[i : i + REMOVED])
    for i in range(0, len(changes.entries), ENTRIES):
        yield pb.RosterPage(
            entries=[
                pb.RosterEntry(handle=one.handle, label=one.label, enrolment_id=one.enrolment_id, expires=one.expires)
                for one in changes.entries[i : i + ENTRIES]
            ]
        )

"""What the services ask of an engine. Everything here is I/O to the local store at most; the wire is the caller's.

A gateway backend (S1) answers each operation with a party: rounds that the caller drives over one `Peer.Session`. A
peer backend (S2) gives the other party of any operation; its first message says which.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from pura.errors import PuraError
from pura.ids import ClientId, EnrolmentId, Handle, RequestId
from pura.rounds import Rounds

MAX_LABEL = 4096
"""Bytes of an entry's label."""


@dataclasses.dataclass(frozen=True)
class NewEntry:
    """One enrolment as a client sent it; `ciphertexts` are not validated yet."""

    enrolment_id: EnrolmentId
    client: ClientId
    label: bytes
    ciphertexts: bytes

    @property
    def digest(self) -> bytes:
        """What the enrolment id stands for: a second enrolment under the same id must have the same digest."""
        parts = (self.client.encode(), self.label, self.ciphertexts)
        return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


@dataclasses.dataclass(frozen=True)
class Query:
    """One question as a client sent it; nothing in it is validated yet."""

    request_id: RequestId
    ciphertexts: bytes
    seal_key: bytes
    mask: bytes


@dataclasses.dataclass(frozen=True, repr=False)
class Answer:
    """What goes back to the client: of fixed size, and nothing that S1 could read."""

    share: bytes = b""
    sealed: bytes = b""
    opened: bytes = b""


class GatewayBackend(Protocol):
    """S1's side of an engine. Parties of `enroll` and `forget` are driven one at a time, all others concurrently."""

    def reconcile(self) -> Rounds[None]:
        """The first session after every (re)connection: both stores settle what was in flight."""
        ...

    def enroll(self, items: Sequence[NewEntry]) -> Rounds[list[Handle | PuraError]]:
        """Enrol a batch; one outcome for each item, in order. Idempotent by enrolment id and bytes."""
        ...

    def identify(self, query: Query) -> Rounds[Answer]:
        """1:N over the whole gallery."""
        ...

    def verify(self, query: Query, handles: Sequence[Handle]) -> Rounds[Answer]:
        """1:1, or 1:few when a label has several entries. Raises `UnknownEntry`."""
        ...

    def forget(self, handles: Sequence[Handle]) -> Rounds[int]:
        """Erase entries; how many there were. Unknown handles are skipped: erasure is idempotent."""
        ...

    def refill(self) -> Rounds[None] | None:
        """The next piece of offline work to do with the peer, or None when every pool is full."""
        ...

    def roster_version(self) -> bytes:
        """Names the roster as it is now: the change that was committed last."""
        ...

    def roster(self) -> list[tuple[Handle, bytes]]:
        """Every entry's handle and opaque label."""
        ...

    def levels(self) -> Mapping[str, float]:
        """Gauges: entries, and offline material by kind."""
        ...

    def close(self) -> None:
        """Release workers and files."""
        ...


class PeerBackend(Protocol):
    """S2's side of an engine."""

    def session(self) -> Rounds[None]:
        """The party for one incoming session; its first message says which operation it is."""
        ...

    def levels(self) -> Mapping[str, float]:
        """Gauges, as for S1."""
        ...

    def connected(self) -> None:
        """A new S1 connection said hello: whatever was shared with an earlier one in memory is void."""
        ...

    def close(self) -> None:
        """Release workers and files."""
        ...

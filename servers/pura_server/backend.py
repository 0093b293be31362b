"""What the services ask of an engine. Everything here is I/O to the local store at most; the wire is the caller's.

A gateway backend (S1) answers each operation with a party: rounds that the caller drives over one `Peer.Session`. A
peer backend (S2) gives the other party of any operation; its first message says which.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pura.crypto.context import NewLabel
from pura.errors import PuraError
from pura.ids import ClientId, EnrolmentId, Handle, RequestId
from pura.roster import Changes
from pura.rounds import Rounds
from pura.store.snapshots import Taken
from pura_server.claims import NO_CLAIM, NO_ORDER, Claim, Order
from pura_server.outcomes import Voucher

MAX_LABEL = 4096
"""Bytes of an entry's label."""


class Kind(enum.StrEnum):
    """What clients, the operator or time want of a gallery, by the name that audit logs have for it."""

    IDENTIFY = "identify"
    VERIFY = "verify"
    ENROL = "enrol"
    ERASE = "erase"
    RELABEL = "relabel"
    MATCH = "match"
    """What S2 of engine published sees of either question."""
    UNLOCK = "unlock"
    SNAPSHOT = "snapshot"
    EXPIRE = "expire"


Begins = Callable[[Kind], None]


@dataclasses.dataclass(frozen=True)
class NewEntry:
    """One enrolment as a client sent it; `ciphertexts` and `claim` are not validated yet."""

    enrolment_id: EnrolmentId
    client: ClientId
    label: bytes
    ciphertexts: bytes
    claim: Claim = NO_CLAIM
    keep_days: int = 0

    @property
    def digest(self) -> bytes:
        """What the enrolment id stands for: a second enrolment under the same id must have the same digest. The claim
        is no part of it: whoever tries again proves anew."""
        parts: tuple[bytes, ...] = (self.client.encode(), self.label, self.ciphertexts)
        parts += (self.keep_days.to_bytes(4, "big"),) if self.keep_days else ()
        return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


@dataclasses.dataclass(frozen=True)
class Query:
    """One question as a client sent it; nothing in it is validated yet."""

    request_id: RequestId
    ciphertexts: bytes
    seal_key: bytes
    mask: bytes
    claim: Claim = NO_CLAIM


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

    def forget(self, handles: Sequence[Handle], order: Order = NO_ORDER) -> Rounds[int | PuraError]:
        """Erase entries; how many there were, or why S2 refuses. Unknown handles are skipped: erasure is idempotent.
        `order`: what the client signed, over exactly these handles."""
        ...

    def relabel(self, labels: Sequence[NewLabel], order: Order = NO_ORDER) -> Rounds[int | PuraError]:
        """Give entries other labels, all or none: how many of them there are, or why S2 refuses. Unknown handles are
        skipped. `order`: what the client signed, over exactly these labels. Raises `LabelConflict`, `OutOfRange`."""
        ...

    def vouch_enrolled(self, handles: Sequence[Handle]) -> Rounds[list[Voucher | None]]:
        """S2's word on which enrolment each of these entries is; None for one that is not there (any more)."""
        ...

    def vouch_erased(self, handles: Sequence[Handle]) -> Rounds[Voucher]:
        """S2's word that none of these is an entry. Raises `ProtocolError` when one is."""
        ...

    def snapshot(self) -> Rounds[Taken]:
        """Both servers copy the gallery of this moment, each into its own folder; S1's copy. Driven as `enroll` is.
        Raises `BadConfig` where a server keeps none, or the engine has its gallery on one server."""
        ...

    def unlock(self, handles: Sequence[Handle]) -> Rounds[None]:
        """What was counted about these entries is forgotten, and they are asked again. Raises `UnknownEntry`,
        `BadConfig` where nothing is counted."""
        ...

    def tidy(self, begins: Begins = lambda _: None) -> Rounds[object] | None:
        """The next change of the gallery that no client asked for, or None. `begins` is told before entries are erased;
        what it raises ends the change."""
        ...

    def refill(self) -> Rounds[None] | None:
        """The next piece of offline work to do with the peer, or None when every pool is full."""
        ...

    def roster(self, since: int = 0) -> Changes:
        """What has happened to the roster since a generation, or all of it, with S2's signature.

        Raises `NotReady` while S2 has not signed the last change."""
        ...

    def levels(self) -> Mapping[str, float]:
        """Gauges: entries, and offline material by kind."""
        ...

    def close(self) -> None:
        """Release workers and files."""
        ...


class PeerBackend(Protocol):
    """S2's side of an engine."""

    def session(self, begins: Begins = lambda _: None) -> Rounds[None]:
        """The party for one incoming session; its first message says which operation it is. `begins` is told of what
        clients asked for, and raises if it may not be."""
        ...

    def levels(self) -> Mapping[str, float]:
        """Gauges, as for S1."""
        ...

    def connected(self) -> None:
        """A new S1 connection said hello: whatever was shared with an earlier one in memory is void, and a new epoch
        begins."""
        ...

    def epoch(self) -> bytes:
        """The epoch that proofs should name; empty for an engine without proofs."""
        ...

    def close(self) -> None:
        """Release workers and files."""
        ...

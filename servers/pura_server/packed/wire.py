"""The session messages of engine `packed`: what opens an operation, and the two-phase commit of a change."""

from __future__ import annotations

from pura.messages import Message, message


@message
class SettleOpen(Message):
    """S1 -> S2: let us settle what was in flight. `fresh` is 1 for a new connection, which makes new base OTs too; else
    another opening follows, or `Echo` when there is nothing else to do."""

    fresh: int


@message
class Prepared(Message):
    """S2 -> S1: the changes that S2 holds prepared, 16 bytes each."""

    txns: bytes


@message
class Outcomes(Message):
    """S1 -> S2: for each of them, 1 if S1 has committed it, else 0."""

    committed: bytes


@message
class Holding(Message):
    """S2 -> S1: the digest of S2's gallery."""

    digest: bytes


@message
class Echo(Message):
    """Both ways: nothing; for measuring a round trip."""


@message
class AskOpen(Message):
    """S1 -> S2: a query over the gallery with this digest, over the entries named (8 bytes each) or over all when none
    is.

    pack: the offline part to use, 0 to make one now; label: 16 bytes, names what is made now; fan_in: the tournament's.
    """

    digest: bytes
    handles: bytes
    seal_key: bytes
    request: bytes
    pack: int
    label: bytes
    fan_in: int


@message
class Sealed(Message):
    """S2 -> S1: S2's share of the answer, sealed to the client."""

    sealed: bytes


@message
class AddOpen(Message):
    """S1 -> S2: so many templates are to be enrolled, as change `txn`, which is also the label of what is made for
    it."""

    txn: bytes
    templates: int


@message
class Places(Message):
    """S1 -> S2: where the accepted templates go: 24 bytes each, handle, block, slot."""

    digest: bytes
    places: bytes


@message
class EraseOpen(Message):
    """S1 -> S2: these entries are to be erased, 8 bytes each."""

    txn: bytes
    digest: bytes
    handles: bytes


@message
class CompactOpen(Message):
    """S1 -> S2: the entries of one block go to free slots of others; 24 bytes each, handle, block, slot."""

    txn: bytes
    digest: bytes
    block: int
    places: bytes


@message
class ReadyToCommit(Message):
    """S2 -> S1: the change is on S2's disk."""


@message
class Commit(Message):
    """S1 -> S2: S1 has committed; so must S2."""


@message
class Committed(Message):
    """S2 -> S1: done, and the digest of the gallery now."""

    digest: bytes


@message
class Switched(Message):
    """S1 -> S2: S1's questions are about the new gallery from now on; the old one's files may go."""


@message
class RefillOpen(Message):
    """S1 -> S2: make a pack (fresh = 1), or complete one: so much stock is missing, and it is for these versions of
    blocks, 16 bytes each, id and version."""

    pack: int
    fresh: int
    label: bytes
    triple_octets: int
    transfers: int
    versions: bytes

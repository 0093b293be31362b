"""The session messages of engine `prepared`: what opens an operation, and the two-phase commit of a change."""

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
    """S2 -> S1: the digest of S2's gallery, its generation, the digest of its roster; S2's signature of these two."""

    digest: bytes
    generation: int
    roster: bytes
    signature: bytes


@message
class Nonces(Message):
    """Both ways, at every connection: 16 random bytes for the masks of all slots that are free, and the version of the
    key that new masks come from."""

    nonce: bytes
    version: int


@message
class Echo(Message):
    """Both ways: nothing; for measuring a round trip."""


@message
class QuestionOpen(Message):
    """S1 -> S2: a question over the gallery with this digest and these masks of free slots, over the entries named (8
    bytes each) or over all when none is.

    template to request: the client's own; `client` is its commitment to a certificate, `group` names the key that it
    signed with. S2 checks proof and signature itself. pack: the offline part to use, 0 to make one now; label: names
    what is made now, 16 bytes; fan_ins: a byte for each level of the tournament; at: the
    time, in seconds since 1970, at which the entries that are asked about have not expired.
    """

    digest: bytes
    masks: int
    handles: bytes
    template: bytes
    proof: bytes
    epoch: bytes
    client: bytes
    group: bytes
    signature: bytes
    seal_key: bytes
    request: bytes
    pack: int
    label: bytes
    fan_ins: bytes
    at: int


@message
class Sealed(Message):
    """S2 -> S1: S2's share of the answer with its generation, signed, and sealed to the client."""

    sealed: bytes


@message
class EnrolOpen(Message):
    """S1 -> S2: so many templates are to be enrolled, as change `txn`, which is also the label of what is made for it;
    each follows as a `Submission`. epoch: the one that all proofs name; at: the
    time of the enrolment, in seconds since 1970."""

    txn: bytes
    templates: int
    epoch: bytes
    at: int


@message
class Places(Message):
    """S1 -> S2: where the accepted templates go: 24 bytes each, handle, block, slot."""

    digest: bytes
    places: bytes


@message
class RemaskOpen(Message):
    """S1 -> S2: some entries get other masks; in other slots when the block `drop` is to go, else (NO_DROP) where they
    are. `Places` follows: 24 bytes each, handle, block, slot."""

    txn: bytes
    digest: bytes
    drop: int


@message
class SnapshotOpen(Message):
    """S1 -> S2: copy the gallery as it is after this change, the last that both have committed."""

    generation: int
    txn: bytes


@message
class SnapshotTaken(Message):
    """S2 -> S1: it is on S2's disk, with so many entries."""

    entries: int


@message
class UnlockOpen(Message):
    """S1 -> S2: the operator sets the counters of these entries (8 bytes each) to 0; `CountOpen` follows."""

    handles: bytes


@message
class ReadyToCommit(Message):
    """S2 -> S1: the change is on S2's disk."""


@message
class Commit(Message):
    """S1 -> S2: S1 has committed; so must S2."""


@message
class Committed(Message):
    """S2 -> S1: done, and what S2 holds now, as in `Holding`."""

    digest: bytes
    generation: int
    roster: bytes
    signature: bytes


@message
class Apart(Message):
    """Both ways: the two do not hold the same gallery; so many changes this server has committed, and the last one."""

    generation: int
    txn: bytes


@message
class Switched(Message):
    """S1 -> S2: S1's questions are about the new gallery from now on; the old one's files may go."""


@message
class PacksOpen(Message):
    """S1 -> S2: make packs with these numbers (8 bytes each), each with so much stock (`Need.dump`), for these blocks
    (16 bytes each, id and version); fresh = 0: complete those that there are."""

    packs: bytes
    fresh: int
    label: bytes
    need: bytes
    blocks: bytes

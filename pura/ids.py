"""A type for every id, so that two of them cannot be mixed up."""

from __future__ import annotations

import enum
from typing import NewType

KeyId = NewType("KeyId", bytes)
"""16 bytes: the head of SHA-256 over the public key, its engine and its collection."""

CollectionId = NewType("CollectionId", bytes)
"""16 random bytes, drawn at the key ceremony: names the collection that the key was made for."""

Handle = NewType("Handle", int)
"""64 bits, random, never 0: names one enrolled entry. 0 stands for nobody."""

EnrolmentId = NewType("EnrolmentId", bytes)
"""16 random bytes that a client draws for one enrolment; the same id and bytes give the same answer."""

RequestId = NewType("RequestId", bytes)
"""16 random bytes that a client draws for one question; a second use is a replay."""

Epoch = NewType("Epoch", bytes)
"""16 random bytes that S2 draws at every connection and every hour: proofs name one, and end with it."""

Commitment = NewType("Commitment", bytes)
"""32 bytes: hides which client sent something from S2; S1 checks it (`pura.crypto.context`)."""

ContextDigest = NewType("ContextDigest", bytes)
"""32 bytes: all that a proof or a signature is bound to (`pura.crypto.context`)."""

GroupId = NewType("GroupId", bytes)
"""8 bytes that name one key of a group of clients (`pura.groups`)."""

BlockId = NewType("BlockId", int)
"""Numbers a block of the gallery."""

ClientId = NewType("ClientId", str)
"""A client's name in the server's own list of credentials."""

ChunkId = NewType("ChunkId", int)
"""Numbers a chunk of offline material; used once."""

PackId = NewType("PackId", int)
"""Numbers the offline part of one query (its masks and what was made from them); used once."""

TxnId = NewType("TxnId", bytes)
"""16 random bytes that name one change of the gallery on both servers."""

Fingerprint = NewType("Fingerprint", str)
"""SHA-256 of a client's or server's certificate, 64 hexadecimal digits."""

NOBODY = Handle(0)


class Party(enum.IntEnum):
    """The two servers. S1 is the gateway, S2 its peer."""

    S1 = 1
    S2 = 2

    @property
    def other(self) -> Party:
        """The server that this one talks to."""
        return Party.S2 if self is Party.S1 else Party.S1


class Engine(enum.StrEnum):
    """Which protocols a collection is matched with."""

    PUBLISHED = "published"
    PREPARED = "prepared"


GONE = {
    "packed": "engine packed is gone: make keys for engine prepared (pura keygen) and a new deployment (pura-server "
    "init), and enrol everybody again"
}
"""Engines of earlier versions, and what to do where a file names one."""


class GateKind(enum.StrEnum):
    """What stands before a camera: nothing, what can be told without asking anybody to do something, or a challenge
    and that (pura.face.liveness)."""

    NONE = "none"
    PASSIVE = "passive"
    CHALLENGE = "challenge"

"""A type for every id, so that two of them cannot be mixed up."""

from __future__ import annotations

import enum
from typing import NewType

KeyId = NewType("KeyId", bytes)
"""16 bytes: the head of SHA-256 over the public key."""

Handle = NewType("Handle", int)
"""64 bits, random, never 0: names one enrolled entry. 0 stands for nobody."""

EnrolmentId = NewType("EnrolmentId", bytes)
"""16 random bytes that a client draws for one enrolment; the same id and bytes give the same answer."""

RequestId = NewType("RequestId", bytes)
"""16 random bytes that a client draws for one question; a second use is a replay."""

BlockId = NewType("BlockId", int)
"""Numbers a block of the packed gallery."""

ClientId = NewType("ClientId", str)
"""A client's name in the server's own list of credentials."""

ChunkId = NewType("ChunkId", int)
"""Numbers a chunk of offline material; used once."""

PackId = NewType("PackId", int)
"""Numbers the offline part of one query (its masks and what was made from them); used once."""

TxnId = NewType("TxnId", bytes)
"""16 random bytes that name one change of the gallery on both servers."""

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
    PACKED = "packed"

"""What a client signs with a key of its group: that a member of the group wants this, so that S1 cannot want it alone.

    ask, enrol   context digest, e      e: the challenge of the template's proof
    erase        context digest         of `Scope.forget`
    enrol        context digest         of `Scope.relabel`: another label for an entry

A group has one key for each right. S2 knows the public halves, and so which group asks, but not which member; a group
of one names its client.
"""

from __future__ import annotations

import enum
import hashlib

from pura.crypto.sign import SigningKey, VerifyKey
from pura.ids import ContextDigest, GroupId

GROUP_BYTES = 8
NO_GROUP = GroupId(b"")
"""Where nobody signs: engine `published`, and both servers in one process."""
_TAG = b"pura member v2"


class Right(enum.StrEnum):
    """What a key of a group stands for."""

    ASK = "ask"
    ENROL = "enrol"
    ERASE = "erase"


def group_id(key: VerifyKey) -> GroupId:
    """The first 8 bytes of SHA-256(public key): which key a signature is to be checked with."""
    return GroupId(hashlib.sha256(key.raw).digest()[:GROUP_BYTES])


def sign(key: SigningKey, right: Right, context: ContextDigest, challenge: bytes = b"") -> bytes:
    """64 bytes. `challenge`: e, or nothing for what has no template."""
    return key.sign(_TAG, right.encode(), context, challenge)


def made(key: VerifyKey, signature: bytes, right: Right, context: ContextDigest, challenge: bytes = b"") -> bool:
    """Whether a holder of the private half signed exactly that."""
    return key.made(signature, _TAG, right.encode(), context, challenge)

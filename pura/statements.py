"""What S2 vouches for with its signature, each kind under a tag of its own.

    answer    key id, H(question), S2's share, generation      this share answers this question about this gallery
    roster    key id, generation, digest                       the roster had this digest at this generation
    enrolled  key id, generation, enrolment id, handle         the enrolment is this entry
    erased    key id, generation, handles in order             none of these is an entry (any more)

A generation counts the changes that both servers committed. S2 signs a roster only after it has committed it: two
signed rosters of one generation exist only if S2 was put back to a backup in between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from pura.crypto.sign import SIGNATURE_BYTES, SigningKey, VerifyKey
from pura.errors import DeviatingServer
from pura.ids import Engine, EnrolmentId, Handle, KeyId

GENERATION_BYTES = 8
ANSWER_EXTRA = GENERATION_BYTES + SIGNATURE_BYTES
"""How much longer the text of an answer is than its share."""
_ANSWER, _ROSTER = b"pura answer v2", b"pura signed roster v2"
_ENROLLED, _ERASED = b"pura enrolled v2", b"pura erased v2"
_HANDLE_BYTES = 8


def signs(engine: Engine) -> bool:
    """Whether S2 signs with this engine."""
    return engine is not Engine.PUBLISHED


@dataclasses.dataclass(frozen=True)
class Signer:
    """S2's side."""

    key: SigningKey
    key_id: KeyId

    def answer(self, question: bytes, share: bytes, generation: int) -> bytes:
        """`question`: 32 bytes, H(question); `share`: S2's share of the handles."""
        return self.key.sign(_ANSWER, self.key_id, question, share, _number(generation))

    def answer_text(self, question: bytes, share: bytes, generation: int) -> bytes:
        """What is sealed to the question's one-time key: share || generation || signature."""
        return share + _number(generation) + self.answer(question, share, generation)

    def roster(self, generation: int, digest: bytes) -> bytes:
        """`digest`: that of `pura.roster`, 32 bytes."""
        return self.key.sign(_ROSTER, self.key_id, _number(generation), digest)

    def enrolled(self, generation: int, enrolment_id: EnrolmentId, handle: Handle) -> bytes:
        """At this generation the enrolment is this entry."""
        return self.key.sign(_ENROLLED, self.key_id, _number(generation), enrolment_id, _number(handle))

    def erased(self, generation: int, handles: Iterable[Handle]) -> bytes:
        """At this generation none of the handles is an entry."""
        return self.key.sign(_ERASED, self.key_id, _number(generation), _handles(handles))


@dataclasses.dataclass(frozen=True)
class Verifier:
    """The other end: whether S2 signed what the methods of `Signer` of the same name sign."""

    key: VerifyKey
    key_id: KeyId

    def answer(self, signature: bytes, question: bytes, share: bytes, generation: int) -> bool:
        """See `Signer.answer`."""
        return self.key.made(signature, _ANSWER, self.key_id, question, share, _number(generation))

    def answer_text(self, text: bytes, question: bytes) -> tuple[bytes, int]:
        """S2's share and its generation. Raises `DeviatingServer` unless S2 signed them for this question."""
        share, rest = text[:-ANSWER_EXTRA], text[-ANSWER_EXTRA:]
        generation = int.from_bytes(rest[:GENERATION_BYTES], "big")
        if not self.answer(rest[GENERATION_BYTES:], question, share, generation):
            raise DeviatingServer("the answer does not bear the signature of S2")
        return share, generation

    def roster(self, signature: bytes, generation: int, digest: bytes) -> bool:
        """See `Signer.roster`."""
        return self.key.made(signature, _ROSTER, self.key_id, _number(generation), digest)

    def enrolled(self, signature: bytes, generation: int, enrolment_id: EnrolmentId, handle: Handle) -> bool:
        """See `Signer.enrolled`."""
        return self.key.made(signature, _ENROLLED, self.key_id, _number(generation), enrolment_id, _number(handle))

    def erased(self, signature: bytes, generation: int, handles: Iterable[Handle]) -> bool:
        """See `Signer.erased`."""
        return self.key.made(signature, _ERASED, self.key_id, _number(generation), _handles(handles))


def _number(value: int) -> bytes:
    return value.to_bytes(GENERATION_BYTES, "big")


def _handles(handles: Iterable[Handle]) -> bytes:
    return b"".join(handle.to_bytes(_HANDLE_BYTES, "big") for handle in sorted(set(handles)))

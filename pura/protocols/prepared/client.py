"""The client's part of engine `prepared`: one message out, one message back."""

from __future__ import annotations

import dataclasses

from pura.crypto.rng import Rng
from pura.crypto.seal import OVERHEAD, SealKey
from pura.errors import DeviatingServer, MalformedMessage
from pura.ids import NOBODY, Handle, RequestId
from pura.statements import ANSWER_EXTRA, Verifier

HANDLE_BYTES = 8


@dataclasses.dataclass(frozen=True, repr=False)
class Answered:
    """What came back of a question: the entries that matched, nearest first, in the gallery of this generation."""

    handles: list[Handle]
    generation: int


class SealedSession:
    """One question's one-time key; it opens that question's answer and no other."""

    def __init__(self, key: SealKey) -> None:
        self._key = key

    @classmethod
    def new(cls, rng: Rng) -> SealedSession:
        """A fresh one-time key."""
        return cls(SealKey(rng))

    @property
    def public_key(self) -> bytes:
        """32 bytes that go with the question."""
        return self._key.public

    def open_answer(
        self, share: bytes, sealed: bytes, request_id: RequestId, question: bytes, verifier: Verifier
    ) -> Answered:
        """The entries that matched, nearest first: share of S1 xor share of S2, which S2 signed for this question
        (`question`: H(question)). Raises `MalformedMessage` for another size, and `DeviatingServer` when S2 did not
        seal it to this question or did not sign it."""
        if len(share) % HANDLE_BYTES or len(sealed) != len(share) + ANSWER_EXTRA + OVERHEAD:
            raise MalformedMessage("the answer does not have the expected size")
        try:
            text = self._key.open(sealed, request_id)
        except MalformedMessage as error:  # of another question, or changed on the way; and only S1 is on the way
            raise DeviatingServer(str(error)) from error
        other, generation = verifier.answer_text(text, question)
        plain = bytes(a ^ b for a, b in zip(share, other, strict=True))
        handles = [Handle(int.from_bytes(plain[i : i + 8], "big")) for i in range(0, len(plain), HANDLE_BYTES)]
        return Answered([h for h in handles if h != NOBODY], generation)

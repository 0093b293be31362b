"""The client's part of engine `packed`: one message out, one message back."""

from __future__ import annotations

from pura.crypto.encoding import RowLayout, Template
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.seal import OVERHEAD, SealKey
from pura.errors import MalformedMessage
from pura.ids import NOBODY, Handle, RequestId
from pura.params import Params

HANDLE_BYTES = 8


def encrypt_template(pk: PublicKey, params: Params, template: Template, rng: Rng) -> bytes:
    """A row-packed, encrypted template: 4 ciphertexts at |N| = 2048, D = 128 (2 KB). Raises `OutOfRange`."""
    return pk.dump_many(pk.encrypt(plain, rng) for plain in RowLayout.of(params).pack(template))


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

    def open_answer(self, share: bytes, sealed: bytes, request_id: RequestId) -> list[Handle]:
        """The entries that matched, nearest first: share of S1 xor share of S2. Raises `MalformedMessage`."""
        if len(share) % HANDLE_BYTES or len(sealed) != len(share) + OVERHEAD:
            raise MalformedMessage("the answer does not have the expected size")
        other = self._key.open(sealed, request_id)
        plain = bytes(a ^ b for a, b in zip(share, other, strict=True))
        handles = [Handle(int.from_bytes(plain[i : i + 8], "big")) for i in range(0, len(plain), HANDLE_BYTES)]
        return [h for h in handles if h != NOBODY]

"""The client's part of engine `published`: one message out, one message back."""

from __future__ import annotations

from pura.crypto.encoding import Template
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.errors import MalformedMessage, OutOfRange
from pura.ids import NOBODY, Handle
from pura.params import Params
from pura.protocols.published.identify import answer_bytes, mask_bits
from pura.protocols.published.side import VALUE_BITS


def encrypt_template(pk: PublicKey, params: Params, template: Template, rng: Rng) -> bytes:
    """[x_j], one ciphertext a coordinate: 64 KB at |N| = 2048, D = 128. Raises `OutOfRange`."""
    if template.shape != (params.dimension,) or any(abs(int(v)) > params.scale + 1 for v in template):
        raise OutOfRange("the template is not one of this collection's")
    return pk.dump_many(pk.encrypt(int(v), rng) for v in template)


def make_mask(pk: PublicKey, params: Params, rng: Rng) -> tuple[int, bytes]:
    """(rho, [rho]) for one question: rho uniform in [0, 2^(64 + sigma)), the secret that opens its answer."""
    rho = rng.bits(mask_bits(params))
    return rho, pk.dump(pk.encrypt(rho, rng))


def open_answer(pk: PublicKey, params: Params, mask: int, opened: bytes) -> list[Handle]:
    """The entry that matched, or none. Raises `MalformedMessage` when the answer was not made for this mask."""
    if len(opened) != answer_bytes(params):
        raise MalformedMessage("the answer does not have the expected size")
    handle = int.from_bytes(opened, "big") - mask
    if not 0 <= handle < 1 << VALUE_BITS:
        raise MalformedMessage("the answer does not belong to this question")
    return [] if handle == NOBODY else [Handle(handle)]

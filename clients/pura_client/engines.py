"""What a client sends and opens, by engine: one shape for both."""

from __future__ import annotations

from typing import Protocol

from pura.crypto.encoding import Template
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.ids import Engine, Handle, RequestId
from pura.params import Params
from pura.protocols.packed import client as packed
from pura.protocols.published import client as published
from pura.wire._pb import pura_pb2 as pb

REQUEST_ID_BYTES = 16


class Question(Protocol):
    """One question: what goes out, and how its one answer is opened."""

    @property
    def query(self) -> pb.Query:
        """The message for S1."""
        ...

    def open(self, reply: pb.AnswerReply) -> list[Handle]:
        """The entries that matched, nearest first. Raises `MalformedMessage`."""
        ...


def encrypt_template(pk: PublicKey, params: Params, template: Template, rng: Rng) -> bytes:
    """A template as its engine wants it: row-packed, or one ciphertext a coordinate."""
    encrypt = packed.encrypt_template if params.engine is Engine.PACKED else published.encrypt_template
    return encrypt(pk, params, template, rng)


def ask(pk: PublicKey, params: Params, template: Template, rng: Rng) -> Question:
    """A new question with a request id of its own and a one-time secret that opens its answer."""
    query = pb.Query(
        key_id=pk.key_id,
        request_id=rng.bytes(REQUEST_ID_BYTES),
        ciphertexts=encrypt_template(pk, params, template, rng),
    )
    return (_Packed if params.engine is Engine.PACKED else _Published)(pk, params, query, rng)


class _Packed:
    def __init__(self, pk: PublicKey, params: Params, query: pb.Query, rng: Rng) -> None:
        self._session = packed.SealedSession.new(rng)
        self.query = query
        self.query.seal_key = self._session.public_key

    def open(self, reply: pb.AnswerReply) -> list[Handle]:
        return self._session.open_answer(reply.share, reply.sealed, RequestId(self.query.request_id))


class _Published:
    def __init__(self, pk: PublicKey, params: Params, query: pb.Query, rng: Rng) -> None:
        self._mask, query.mask = published.make_mask(pk, params, rng)
        self.query = query
        self._pk, self._params = pk, params

    def open(self, reply: pb.AnswerReply) -> list[Handle]:
        return published.open_answer(self._pk, self._params, self._mask, reply.opened)

"""What a client sends and opens, by engine: one shape for both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from pura import groups
from pura.crypto import proof
from pura.crypto.context import NO_CERTIFICATE, SALT_BYTES, NewLabel, Scope, commit, question_hash
from pura.crypto.encoding import Template
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.sign import SigningKey
from pura.errors import BadConfig, NotAuthorised, OutOfRange
from pura.groups import Right
from pura.ids import Commitment, ContextDigest, Engine, EnrolmentId, Epoch, GroupId, Handle, RequestId
from pura.params import MOST_DAYS, Params
from pura.protocols.prepared import template as prepared
from pura.protocols.prepared.client import Answered, SealedSession
from pura.protocols.published import client as published
from pura.statements import Verifier
from pura.wire._pb import pura_pb2 as pb

REQUEST_ID_BYTES = 16


@dataclasses.dataclass(frozen=True)
class Shown:
    """What goes out with a template or an erasure: a proof (none with an erasure), the salt that opens the commitment
    to this client's certificate, and the signature by the key of its group; and the context that all are bound to."""

    context: ContextDigest
    proof: bytes
    salt: bytes
    signature: bytes


@dataclasses.dataclass(frozen=True)
class Author:
    """Who makes templates here: for which collection, which certificate S1 will see (its SHA-256, 32 bytes), and the
    keys of its group by right; None where nobody looks at signatures.

    verifier: what S2's answers are believed by; None for engine published, and for who reads none.
    """

    pk: PublicKey
    params: Params
    fingerprint: bytes = NO_CERTIFICATE
    keys: Mapping[Right, SigningKey] | None = None
    verifier: Verifier | None = None

    @cached_property
    def scope(self) -> Scope:
        """The collection, as contexts name it."""
        return Scope.of(self.pk, self.params)

    def seal(self, template: Template, rng: Rng) -> proof.Sealed:
        """A template of which something can be proved. Raises `OutOfRange`."""
        return prepared.seal_template(self.pk, self.params, template, rng)

    def group(self, right: Right) -> GroupId:
        """What names the key for a right. Raises `NotAuthorised` when this client has none."""
        key = self._key(right)
        return groups.NO_GROUP if key is None else groups.group_id(key.public)

    def show(
        self, right: Right, sealed: proof.Sealed | None, context: Callable[[Commitment], ContextDigest], rng: Rng
    ) -> Shown:
        """Prove what is sealed, and sign, in a context with a new commitment to the certificate. Raises
        `NotAuthorised`."""
        key, salt = self._key(right), rng.bytes(SALT_BYTES)
        bound = context(commit(salt, self.fingerprint))
        proven = b"" if sealed is None else proof.prove(self.pk, sealed, bound, rng)
        signature = b"" if key is None else groups.sign(key, right, bound, proven[: proof.CHALLENGE_BYTES])
        return Shown(bound, proven, salt, signature)

    def _key(self, right: Right) -> SigningKey | None:
        if self.keys is None or self.params.engine is Engine.PUBLISHED:
            return None
        if right not in self.keys:
            raise NotAuthorised(f"this client may not {right}: client.toml names no key of its group for that")
        return self.keys[right]


# --- enrolments -----------------------------------------------------------------------------------


class Draft:
    """One enrolment, which may be sent more than once: each time with a new proof of the same template."""

    def __init__(
        self, author: Author, template: Template, enrolment_id: EnrolmentId, label: bytes, rng: Rng, keep_days: int = 0
    ) -> None:
        """`label`: as the servers keep it; `keep_days`: for how long they keep the entry at most, 0 for as long as they
        keep any. Raises `OutOfRange`."""
        if not 0 <= keep_days <= (0 if author.params.engine is Engine.PUBLISHED else MOST_DAYS):
            raise OutOfRange(f"an entry is kept for 1 to {MOST_DAYS} days; with engine published until it is erased")
        self.enrolment_id = enrolment_id
        self._author, self._label, self._days = author, label, keep_days
        self._sealed: proof.Sealed | None = None
        if author.params.engine is Engine.PUBLISHED:
            self._ciphertexts = published.encrypt_template(author.pk, author.params, template, rng)
        else:
            self._sealed = author.seal(template, rng)
            self._ciphertexts = self._sealed.dump(author.pk)

    @property
    def size(self) -> int:
        """About how many bytes it takes in a request."""
        return 2 * len(self._ciphertexts) + len(self._label)

    def proven(self, epoch: Epoch, rng: Rng) -> pb.Enrolment:
        """What is sent in a request that names this epoch, and `Author.group(Right.ENROL)`. Raises `NotAuthorised`."""
        sent = pb.Enrolment(enrolment_id=self.enrolment_id, label=self._label, ciphertexts=self._ciphertexts)
        sent.keep_days = self._days
        if self._sealed is not None:
            scope = self._author.scope
            shown = self._author.show(
                Right.ENROL,
                self._sealed,
                lambda client: scope.enrolment(self.enrolment_id, self._label, epoch, client, self._days),
                rng,
            )
            sent.proof, sent.salt, sent.signature = shown.proof, shown.salt, shown.signature
        return sent


# --- erasures and other labels --------------------------------------------------------------------


def erasure(author: Author, handles: Sequence[Handle], epoch: Epoch, rng: Rng) -> pb.ForgetRequest:
    """A request to erase entries. Raises `NotAuthorised`."""
    if author.params.engine is Engine.PUBLISHED:
        return pb.ForgetRequest(handles=handles)
    request = RequestId(rng.bytes(REQUEST_ID_BYTES))
    shown = author.show(Right.ERASE, None, lambda client: author.scope.forget(request, handles, epoch, client), rng)
    return pb.ForgetRequest(
        handles=handles,
        request_id=request,
        epoch=epoch,
        salt=shown.salt,
        group=author.group(Right.ERASE),
        signature=shown.signature,
    )


def relabelling(author: Author, labels: Sequence[NewLabel], epoch: Epoch, rng: Rng) -> pb.RelabelRequest:
    """A request for other labels. Raises `NotAuthorised`."""
    wanted = [pb.NewLabel(handle=one.handle, before=one.before, label=one.label) for one in labels]
    if author.params.engine is Engine.PUBLISHED:
        return pb.RelabelRequest(labels=wanted)
    request = RequestId(rng.bytes(REQUEST_ID_BYTES))
    shown = author.show(Right.ENROL, None, lambda client: author.scope.relabel(request, labels, epoch, client), rng)
    return pb.RelabelRequest(
        labels=wanted,
        request_id=request,
        epoch=epoch,
        salt=shown.salt,
        group=author.group(Right.ENROL),
        signature=shown.signature,
    )


# --- questions ------------------------------------------------------------------------------------


class Question(Protocol):
    """One question: what goes out, and how its one answer is opened."""

    @property
    def query(self) -> pb.Query:
        """The message for S1."""
        ...

    def open(self, reply: pb.AnswerReply) -> Answered:
        """The entries that matched, and the gallery's generation (0 with engine published, where nothing is signed).

        Raises `MalformedMessage`, `DeviatingServer`.
        """
        ...


def ask(
    author: Author, template: Template, epoch: Epoch, rng: Rng, handles: Sequence[Handle] | None = None
) -> Question:
    """A new question over all entries, or over those named, with a request id of its own and a one-time secret that
    opens its answer. Raises `OutOfRange`."""
    request = RequestId(rng.bytes(REQUEST_ID_BYTES))
    if author.params.engine is Engine.PUBLISHED:
        return _Published(author, template, request, rng)
    return _Sealed(author, template, request, epoch, rng, handles)


class _Sealed:
    def __init__(
        self,
        author: Author,
        template: Template,
        request: RequestId,
        epoch: Epoch,
        rng: Rng,
        handles: Sequence[Handle] | None,
    ) -> None:
        self._session = session = SealedSession.new(rng)
        sealed = author.seal(template, rng)
        shown = author.show(
            Right.ASK,
            sealed,
            lambda client: author.scope.question(request, handles, epoch, session.public_key, client),
            rng,
        )
        ciphertexts = sealed.dump(author.pk)
        self._hash = question_hash(shown.context, ciphertexts, shown.proof)
        self._verifier = author.verifier
        self.query = pb.Query(
            key_id=author.pk.key_id,
            request_id=request,
            ciphertexts=ciphertexts,
            seal_key=session.public_key,
            proof=shown.proof,
            epoch=epoch,
            salt=shown.salt,
            group=author.group(Right.ASK),
            signature=shown.signature,
        )

    def open(self, reply: pb.AnswerReply) -> Answered:
        if self._verifier is None:
            raise BadConfig("S2's key is missing, without which no answer is believed")
        request = RequestId(self.query.request_id)
        return self._session.open_answer(reply.share, reply.sealed, request, self._hash, self._verifier)


class _Published:
    def __init__(self, author: Author, template: Template, request: RequestId, rng: Rng) -> None:
        self._pk, self._params = author.pk, author.params
        self._mask, mask = published.make_mask(self._pk, self._params, rng)
        self.query = pb.Query(
            key_id=self._pk.key_id,
            request_id=request,
            ciphertexts=published.encrypt_template(self._pk, self._params, template, rng),
            mask=mask,
        )

    def open(self, reply: pb.AnswerReply) -> Answered:
        return Answered(published.open_answer(self._pk, self._params, self._mask, reply.opened), 0)

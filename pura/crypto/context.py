"""What a template, its proof and the signature under it are bound to: everything that says what they are for.

    context = SHA-256 over, each field behind its length:
        tag; engine; collection id; key id; all parameters but the policy;
        purpose; the entries named, in order (verify only); request or enrolment id; S2's epoch;
        one-time key (questions only); SHA-256 of the label's ciphertext (enrolments only);
        commitment to the client's certificate; for how many days (enrolments with a limit of their own only)

    commitment = SHA-256(tag, salt, fingerprint)      salt: 128 fresh bits

S1 knows the certificate that a caller showed, and with the salt opens the commitment; S2 sees the commitment only, and
so not which client asks. Changing any field gives another digest, unless SHA-256 collides.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pura.crypto.hashing import digest
from pura.crypto.paillier import PublicKey
from pura.ids import CollectionId, Commitment, ContextDigest, Engine, EnrolmentId, Epoch, Handle, KeyId, RequestId
from pura.params import Params

SALT_BYTES = 16
FINGERPRINT_BYTES = 32
LABEL_HASH_BYTES = 32
_DAYS_BYTES = 4
NO_CERTIFICATE = bytes(FINGERPRINT_BYTES)
"""Stands for the certificate where there is none: plaintext on one machine."""
_CONTEXT, _FORGET, _RELABEL = b"pura context v2", b"pura forget v2", b"pura relabel v2"
_COMMITMENT, _QUESTION = b"pura client v2", b"pura question v2"


class Purpose(enum.Enum):
    """What a template is for."""

    ENROL = b"enrol"
    IDENTIFY = b"identify"
    VERIFY = b"verify"


def commit(salt: bytes, fingerprint: bytes) -> Commitment:
    """The commitment to a certificate by its SHA-256 (32 bytes), under a salt of 16 bytes."""
    return Commitment(digest(_COMMITMENT, salt, fingerprint))


class NewLabel(NamedTuple):
    """Another label for an entry. before: SHA-256 of the label's ciphertext that it is to replace, and no other: so
    what was signed once never brings an older label back; label: the ciphertext."""

    handle: Handle
    before: bytes
    label: bytes

    def __repr__(self) -> str:
        return "NewLabel(…)"

    @property
    def row(self) -> bytes:
        """72 bytes: the handle and both labels' hashes."""
        return self.handle.to_bytes(8, "big") + self.before + label_hash(self.label)


@dataclasses.dataclass(frozen=True)
class Scope:
    """A collection: the part of every context that client and servers know beforehand."""

    engine: Engine
    collection: CollectionId
    key_id: KeyId
    storage: bytes

    @classmethod
    def of(cls, pk: PublicKey, params: Params) -> Scope:
        """The scope of a key and its parameters."""
        return cls(pk.engine, pk.collection, pk.key_id, params.storage)

    def question(
        self,
        request: RequestId,
        handles: Sequence[Handle] | None,
        epoch: Epoch,
        seal_key: bytes,
        client: Commitment,
    ) -> ContextDigest:
        """The context of a question: over all entries (`handles` None), or over those named."""
        purpose = Purpose.IDENTIFY if handles is None else Purpose.VERIFY
        return self._context(purpose, handles or (), request, epoch, seal_key, b"", client)

    def enrolment(
        self, enrolment: EnrolmentId, label: bytes, epoch: Epoch, client: Commitment, keep_days: int = 0
    ) -> ContextDigest:
        """The context of one enrolment; `label` is the label's ciphertext, `keep_days` for how long it is at most, 0
        for no limit of its own."""
        end = (keep_days.to_bytes(_DAYS_BYTES, "big"),) if keep_days else ()
        return self._context(Purpose.ENROL, (), enrolment, epoch, b"", label_hash(label), client, *end)

    def forget(self, request: RequestId, handles: Iterable[Handle], epoch: Epoch, client: Commitment) -> ContextDigest:
        """The context of an erasure, which holds no template: for its signature."""
        fields = (self.engine.encode(), self.collection, self.key_id, _list(handles), request, epoch, client)
        return ContextDigest(digest(_FORGET, *fields))

    def relabel(
        self, request: RequestId, labels: Iterable[NewLabel], epoch: Epoch, client: Commitment
    ) -> ContextDigest:
        """The context of new labels for some entries: for its signature."""
        rows = b"".join(one.row for one in sorted(set(labels)))
        fields = (self.engine.encode(), self.collection, self.key_id, rows, request, epoch, client)
        return ContextDigest(digest(_RELABEL, *fields))

    def _context(
        self,
        purpose: Purpose,
        handles: Iterable[Handle],
        one: RequestId | EnrolmentId,
        epoch: Epoch,
        seal_key: bytes,
        label: bytes,
        client: Commitment,
        *more: bytes,
    ) -> ContextDigest:
        scope = (self.engine.encode(), self.collection, self.key_id, self.storage)
        fields = (purpose.value, _list(handles), one, epoch, seal_key, label, client, *more)
        return ContextDigest(digest(_CONTEXT, *scope, *fields))


def label_hash(label: bytes) -> bytes:
    """SHA-256 of a label's ciphertext."""
    return hashlib.sha256(label).digest()


def question_hash(context: ContextDigest, ciphertexts: bytes, proof: bytes) -> bytes:
    """H(question): what S2 signs an answer to."""
    return digest(_QUESTION, context, ciphertexts, proof)


def _list(handles: Iterable[Handle]) -> bytes:
    """Each handle once, 8 bytes, in order: the same for the same entries."""
    return b"".join(handle.to_bytes(8, "big") for handle in sorted(set(handles)))

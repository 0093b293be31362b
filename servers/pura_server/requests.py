"""From what a client sent to what a backend is asked; the client's certificate is the one that it showed."""

from __future__ import annotations

from pura.crypto.context import NewLabel, commit
from pura.ids import ClientId, EnrolmentId, Epoch, GroupId, Handle, RequestId
from pura.wire._pb import pura_pb2 as pb
from pura_server.backend import NewEntry, Query
from pura_server.claims import Claim, Order


def question_of(query: pb.Query, fingerprint: bytes) -> Query:
    """A question, as the backend takes it. `fingerprint`: SHA-256 of the certificate, 32 bytes."""
    client = commit(query.salt, fingerprint)
    claim = Claim(Epoch(query.epoch), client, query.proof, GroupId(query.group), query.signature)
    return Query(RequestId(query.request_id), query.ciphertexts, query.seal_key, query.mask, claim)


def entry_of(
    enrolment: pb.Enrolment, epoch: bytes, client: ClientId, fingerprint: bytes, group: bytes = b""
) -> NewEntry:
    """One enrolment of a request that names this epoch and this key of a group, as the backend takes it."""
    committed = commit(enrolment.salt, fingerprint)
    claim = Claim(Epoch(epoch), committed, enrolment.proof, GroupId(group), enrolment.signature)
    return NewEntry(
        EnrolmentId(enrolment.enrolment_id), client, enrolment.label, enrolment.ciphertexts, claim, enrolment.keep_days
    )


def labels_of(request: pb.RelabelRequest) -> list[NewLabel]:
    """The labels that a client wants entries to have."""
    return [NewLabel(Handle(one.handle), one.before, one.label) for one in request.labels]


def order_of(request: pb.ForgetRequest | pb.RelabelRequest, fingerprint: bytes) -> Order:
    """What a client says with the entries that it wants erased, or called otherwise."""
    client = commit(request.salt, fingerprint)
    return Order(RequestId(request.request_id), Epoch(request.epoch), client, GroupId(request.group), request.signature)

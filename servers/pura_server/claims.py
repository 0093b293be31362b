"""What a client claims of a template it sends: that it knows what is inside, for this purpose and no other.

Both servers look at a claim, each by itself; S2 sees a commitment where S1 sees the client's certificate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pura.bigint import Z
from pura.crypto import proof
from pura.crypto.context import NewLabel, Scope
from pura.crypto.paillier import PublicKey
from pura.groups import NO_GROUP, Right
from pura.ids import Commitment, ContextDigest, EnrolmentId, Epoch, GroupId, Handle, RequestId
from pura.params import Params
from pura_server.epochs import Epochs
from pura_server.groups import GroupBook


@dataclasses.dataclass(frozen=True, repr=False)
class Claim:
    """Nothing in it is checked yet. `group` and `signature`: by which key of which group it is signed."""

    epoch: Epoch
    client: Commitment
    proof: bytes
    group: GroupId = NO_GROUP
    signature: bytes = b""


NO_CLAIM = Claim(Epoch(b""), Commitment(b""), b"")
"""Of a template of engine `published`, which has no proofs."""


@dataclasses.dataclass(frozen=True, repr=False)
class Order:
    """What a client says with the entries that it wants erased, or called otherwise. Nothing in it is checked yet."""

    request: RequestId
    epoch: Epoch
    client: Commitment
    group: GroupId
    signature: bytes


NO_ORDER = Order(RequestId(b""), Epoch(b""), Commitment(b""), NO_GROUP, b"")
"""With engine `published`, of which S2 keeps no entries."""


@dataclasses.dataclass(frozen=True, repr=False)
class Proven:
    """A template whose author knows what is inside. `challenge` is used up by `Epochs.accept`; `context` is what the
    proof is bound to."""

    ciphertexts: list[Z]
    challenge: bytes
    context: ContextDigest


class Examiner:
    """Checks claims of one collection, whose templates have `count` ciphertexts."""

    def __init__(self, pk: PublicKey, params: Params, count: int) -> None:
        self._pk = pk
        self.scope = Scope.of(pk, params)
        self._count = count

    def question(
        self, ciphertexts: bytes, request: RequestId, handles: Sequence[Handle] | None, seal_key: bytes, claim: Claim
    ) -> Proven:
        """The template of a question over the entries named, or over all. Raises `MalformedCiphertext`, `BadProof`."""
        return self._proven(
            ciphertexts, claim, self.scope.question(request, handles, claim.epoch, seal_key, claim.client)
        )

    def enrolment(
        self, ciphertexts: bytes, enrolment: EnrolmentId, label: bytes, claim: Claim, keep_days: int = 0
    ) -> Proven:
        """The template of an enrolment with this label's ciphertext, for so many days. Raises the same."""
        context = self.scope.enrolment(enrolment, label, claim.epoch, claim.client, keep_days)
        return self._proven(ciphertexts, claim, context)

    def _proven(self, ciphertexts: bytes, claim: Claim, context: ContextDigest) -> Proven:
        checked = proof.check(self._pk, ciphertexts, self._count, claim.proof, context)
        return Proven(checked.ciphertexts, checked.challenge, context)


class Gate:
    """S2's: a claim passes once, while its epoch lasts, if a group of clients stands behind it."""

    def __init__(self, examiner: Examiner, epochs: Epochs, groups: GroupBook | None) -> None:
        """`groups`: None where both servers run in one process, for tests and measurements: then nobody signs."""
        self._examiner = examiner
        self._groups = groups
        self.epochs = epochs

    def question(
        self, ciphertexts: bytes, request: RequestId, handles: Sequence[Handle] | None, seal_key: bytes, claim: Claim
    ) -> Proven:
        """As `Examiner.question`, and used up. Raises `StaleEpoch` too, which is looked at first, `NotAuthorised` and
        `BudgetSpent`."""
        self.epochs.check(claim.epoch)
        proven = self._examiner.question(ciphertexts, request, handles, seal_key, claim)
        return self._used(Right.ASK, claim, proven)

    def enrolment(
        self, ciphertexts: bytes, enrolment: EnrolmentId, label: bytes, claim: Claim, keep_days: int = 0
    ) -> Proven:
        """As `Examiner.enrolment`, and used up. Raises the same."""
        self.epochs.check(claim.epoch)
        return self._used(Right.ENROL, claim, self._examiner.enrolment(ciphertexts, enrolment, label, claim, keep_days))

    def erasure(self, handles: Sequence[Handle], count: int, order: Order) -> None:
        """Whether these entries, `count` of which there are, may be erased. May be asked again. Raises the same but for
        what concerns proofs."""
        if self._groups is None:
            return
        self.epochs.check(order.epoch)
        context = self._examiner.scope.forget(order.request, handles, order.epoch, order.client)
        self._groups.check(order.group, Right.ERASE, order.signature, context)
        self._groups.take(order.group, count)

    def relabelling(self, labels: Sequence[NewLabel], count: int, order: Order) -> None:
        """Whether these entries, `count` of which it changes, may get these labels. May be asked again: each names the
        label that it replaces. Raises what `erasure` does."""
        if self._groups is None:
            return
        self.epochs.check(order.epoch)
        context = self._examiner.scope.relabel(order.request, labels, order.epoch, order.client)
        self._groups.check(order.group, Right.ENROL, order.signature, context)
        self._groups.take(order.group, count)

    def _used(self, right: Right, claim: Claim, proven: Proven) -> Proven:
        if self._groups is not None:
            self._groups.check(claim.group, right, claim.signature, proven.context, proven.challenge)
        self.epochs.accept(claim.epoch, proven.challenge)
        if self._groups is not None:
            self._groups.take(claim.group)
        return proven

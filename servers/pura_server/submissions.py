"""Enrolments on their way from S1 to S2, which looks at each as its client sent it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pura.bigint import Z
from pura.errors import ProtocolError, PuraError
from pura.ids import Commitment, EnrolmentId, Epoch, GroupId
from pura.messages import Message, message
from pura.params import MOST_DAYS
from pura.rounds import Rounds, receive, send
from pura_server.backend import NewEntry
from pura_server.claims import Claim, Gate
from pura_server.verdicts import REFUSALS, Verdicts, verdicts

MAX_TEMPLATES = 4096


@message
class Submission(Message):
    """S1 -> S2: one enrolment as its client sent it; `client` is its commitment to a certificate, `group` names the key
    that it signed with; keep_days: for how long it is at most, 0 for no limit of its own."""

    enrolment: bytes
    label: bytes
    template: bytes
    proof: bytes
    client: bytes
    group: bytes
    signature: bytes
    keep_days: int


def submit(items: Sequence[NewEntry]) -> Rounds[list[PuraError | None]]:
    """S1's side: for each enrolment why S2 refuses it, or None. An opening has told S2 how many come."""
    for item in items:
        c = item.claim
        yield from send(
            Submission(
                item.enrolment_id,
                item.label,
                item.ciphertexts,
                c.proof,
                c.client,
                c.group,
                c.signature,
                item.keep_days,
            )
        )
    return (yield from verdicts(len(items)))


@dataclasses.dataclass(frozen=True, repr=False)
class Accepted:
    """A submission whose claim passed."""

    enrolment_id: EnrolmentId
    label: bytes
    template: list[Z]
    keep_days: int


def admit(gate: Gate, epoch: Epoch, count: int) -> Rounds[list[Accepted]]:
    """S2's side: those of `count` submissions whose claims pass, all for the same epoch. Raises `ProtocolError`."""
    if not 0 < count <= MAX_TEMPLATES:
        raise ProtocolError(detail="number of templates")
    on_each = Verdicts()
    good: list[Accepted] = []
    for _ in range(count):
        one = yield from receive(Submission)
        claim = Claim(epoch, Commitment(one.client), one.proof, GroupId(one.group), one.signature)
        try:
            if one.keep_days > MOST_DAYS:
                raise ProtocolError(detail="days of an enrolment")
            proven = gate.enrolment(one.template, EnrolmentId(one.enrolment), one.label, claim, one.keep_days)
        except REFUSALS as error:
            on_each.refuse(error)
        else:
            on_each.good()
            good.append(Accepted(EnrolmentId(one.enrolment), one.label, proven.ciphertexts, one.keep_days))
    yield from on_each.send()
    return good

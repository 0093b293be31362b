"""What S2 makes of what clients want, told to S1 within the protocol: a refused template or erasure must not end a
session, after which both servers would have to settle and to begin with new base OTs."""

from __future__ import annotations

import enum
from collections.abc import Callable

from pura.errors import (
    BadProof,
    BudgetSpent,
    MalformedCiphertext,
    NotAuthorised,
    ProtocolError,
    PuraError,
    StaleEpoch,
)
from pura.messages import Message, message
from pura.rounds import Rounds, receive, send

REFUSALS = (MalformedCiphertext, BadProof, StaleEpoch, NotAuthorised, BudgetSpent)
"""What may be refused without ending the session."""
_LONGEST = 200


@message
class Admitted(Message):
    """S2 -> S1: a `Verdict` on each wish, a byte each. again: for `SPENT`, when to ask again, as text."""

    verdicts: bytes
    again: bytes


class Verdict(enum.IntEnum):
    """What S2 makes of a wish."""

    BAD_PROOF = 0
    GOOD = 1
    STALE_EPOCH = 2
    NOT_AUTHORISED = 3
    SPENT = 4


class Verdicts:
    """S2's side: one after the other."""

    def __init__(self) -> None:
        self._all: list[Verdict] = []
        self._again = ""

    def good(self) -> None:
        """This one passes."""
        self._all.append(Verdict.GOOD)

    def refuse(self, why: PuraError) -> None:
        """This one does not, for one of `REFUSALS`."""
        match why:
            case StaleEpoch():
                self._all.append(Verdict.STALE_EPOCH)
            case NotAuthorised():
                self._all.append(Verdict.NOT_AUTHORISED)
            case BudgetSpent():
                self._all.append(Verdict.SPENT)
                self._again = str(why)
            case _:
                self._all.append(Verdict.BAD_PROOF)

    def send(self) -> Rounds[None]:
        """Tell S1."""
        yield from send(Admitted(bytes(self._all), self._again.encode()))


def ruled(check: Callable[[], None]) -> Rounds[bool]:
    """S2's side of a single wish: whether `check` lets it pass, by raising none of `REFUSALS`. S1 is told."""
    verdict = Verdicts()
    try:
        check()
    except REFUSALS as error:
        passes = False
        verdict.refuse(error)
    else:
        passes = True
        verdict.good()
    yield from verdict.send()
    return passes


def verdicts(count: int) -> Rounds[list[PuraError | None]]:
    """S1's side: for each of `count` wishes why S2 refuses it, or None. Raises `ProtocolError`."""
    answer = yield from receive(Admitted)
    if len(answer.verdicts) != count:
        raise ProtocolError(detail="number of verdicts")
    again = answer.again.decode("utf-8", "replace")[:_LONGEST]
    return [_refusal(verdict, again) for verdict in answer.verdicts]


def _refusal(verdict: int, again: str) -> PuraError | None:
    match verdict:
        case Verdict.GOOD:
            return None
        case Verdict.STALE_EPOCH:
            return StaleEpoch()
        case Verdict.NOT_AUTHORISED:
            return NotAuthorised("S2 does not know the group of this client, or it may not do this")
        case Verdict.SPENT:
            return BudgetSpent(again or None)
        case _:
            return BadProof()

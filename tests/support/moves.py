"""How many messages lie one behind the other on the longest way through two parties: the moves of a protocol."""

from __future__ import annotations

from typing import Any

from pura.messages import decode, encode
from pura.rounds import Done, Rounds, Send, advance


def played(one: Rounds[Any], two: Rounds[Any]) -> tuple[Any, Any, int]:
    """Both results, and how long it takes when a message takes 1 and everything else nothing."""
    parties, clocks = (one, two), [0, 0]
    inbox: tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]] = ([], [])
    steps = [advance(party, None) for party in parties]
    while not all(isinstance(step, Done) for step in steps):
        moved = False
        for me in (0, 1):
            while not isinstance(step := steps[me], Done):
                got = None
                if isinstance(step, Send):
                    inbox[1 - me].append((clocks[me] + 1, encode(step.message)))
                elif inbox[me]:
                    arrived, body = inbox[me].pop(0)
                    clocks[me], got = max(clocks[me], arrived), decode(body)
                else:
                    break
                steps[me] = advance(parties[me], got)
                moved = True
        assert moved, "both wait"
    assert not any(inbox)
    return *(step.result for step in steps), max(clocks)  # type: ignore[return-value,union-attr]

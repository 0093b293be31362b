"""The collection's gate before a camera: what was seen of whoever stands there, and when that is decided.

A verdict is this client's own word (docs/liveness.md). It decides whether a question is asked, and is told to nobody.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pura.crypto.rng import Rng, SystemRng
from pura.errors import PuraError
from pura.face.liveness import Challenge, ChallengeGate, Seen, Step, Verdict, draw
from pura.face.liveness.challenge import WITHIN_S, follow
from pura.face.liveness.gate import PassiveGate
from pura.ids import GateKind
from pura_client.templates import Ready

Pixels = NDArray[np.uint8]
See = Callable[[Pixels, float], Seen]
"""Measures a frame that was taken at so many seconds: `Observer.see`."""


class Embeds(Protocol):
    """What a gate needs of a client."""

    def ready(self, photo: Any) -> Ready:
        """See `Client.ready`."""
        ...


WATCHED_S = 3.0
"""How long the passive gate watches before it says yes."""
KEPT_S = WITHIN_S + 10


class Gatekeeper:
    """One camera's gate. Frames come in the order of their time."""

    def __init__(self, kind: GateKind, see: See, rng: Rng, passive: PassiveGate | None = None) -> None:
        """`rng` draws challenges; `passive`: with cues of one's own."""
        self._kind, self._see, self._rng = kind, see, rng
        self._passive = passive or PassiveGate()
        self._frames: list[Seen] = []
        self._challenge: Challenge | None = None
        self._state: Challenge | None = None

    def frame(self, picture: Pixels, at_s: float) -> None:
        """One more frame, RGB."""
        seen = self._see(picture, at_s)
        self._frames = [one for one in self._frames if at_s - one.at_s <= KEPT_S]
        self._frames.append(seen)
        if self._state is not None:
            self._state = follow(self._state, seen)

    def begin(self) -> tuple[Step, ...]:
        """Somebody new is there: what they are asked to do, in this order; nothing with a passive gate."""
        if self._kind is not GateKind.CHALLENGE:
            return ()
        self._challenge = self._state = draw(self._rng)
        return self._challenge.steps

    @property
    def asked(self) -> Step | None:
        """What is to be done now."""
        return self._state.asked if self._state is not None else None

    def verdict(self, since_s: float, *, last: bool = False) -> Verdict | None:
        """On whoever has been there since then, None while it is open; `last`: no more frames of them will come."""
        frames = [seen for seen in self._frames if seen.at_s >= since_s]
        if self._challenge is not None and self._state is not None:
            if not (last or self._state.over):
                return None
            return ChallengeGate(self._challenge, self._passive).judge(frames)
        if not last and (not frames or frames[-1].at_s - since_s < WATCHED_S):
            return None
        return self._passive.judge(frames)


@contextlib.contextmanager
def keeper_for(kind: GateKind, client: Embeds) -> Iterator[Gatekeeper]:
    """A gatekeeper with the network of the extra. Raises `BadConfig` without it, `DownloadFailed`."""
    from pura.face.liveness.observe import Observer

    def embed(pixels: Pixels) -> NDArray[np.float32] | None:
        try:
            return np.asarray(client.ready(pixels).numbers, np.float32)
        except PuraError:
            return None

    with Observer(embed=embed) as observer:
        yield Gatekeeper(kind, observer.see, SystemRng())

"""What a client is told: decisions, never scores."""

from __future__ import annotations

import dataclasses

from pura.errors import PuraError
from pura.face.found import Found
from pura_client.templates import Photo


@dataclasses.dataclass(frozen=True)
class Decision:
    """The answer to a question. Never a score.

    match: whether anybody (identify) or the person asked about (verify) matched. label: who; None without a match, or
    when the entry's label was made with another label key. candidates: the labels of all entries returned, nearest
    first, each once; more than one only in a collection with top_k above 1.
    """

    match: bool
    label: str | None = None
    candidates: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Recognised:
    """One face of a photo: `decision`, or `error` says why there is none. face: where it is; None where the photo was
    not searched for all faces, or is an embedding."""

    face: Found | None
    decision: Decision | None = None
    error: PuraError | None = None


@dataclasses.dataclass(frozen=True)
class Identified:
    """What became of one photo: its faces, largest first, or what is wrong with the photo. width, height: the pixels in
    which faces are placed; 0 where the photo was not searched for all faces."""

    photo: Photo = dataclasses.field(repr=False)
    faces: tuple[Recognised, ...] = ()
    error: PuraError | None = None
    width: int = 0
    height: int = 0

    @property
    def match(self) -> bool:
        """Whether anybody on it matched."""
        return any(one.decision is not None and one.decision.match for one in self.faces)

"""Many faces, in one picture or many: looked at together, asked about side by side, decided by one roster.

Each template is a question of its own, with its own id, one-time key, proof and budget; what they share is the network
that embeds them, the connection, and one look at the roster after all of them (docs/decisions/0028).
"""

from __future__ import annotations

import contextvars
import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from pura.crypto.encoding import Template
from pura.errors import DeviatingServer, PuraError
from pura.face.found import Found, Picture
from pura_client.answers import Decision, Identified, Recognised
from pura_client.templates import UNUSABLE, Photo, Templates, is_embedding

A = TypeVar("A")
"""An answer, whatever the session makes of it."""

SIDE_BY_SIDE = 4
"""Questions under way at once: as many as a server answers at the same time, unless it was told otherwise."""
TOGETHER = 16
"""Templates that share one look at the roster."""


@dataclasses.dataclass(frozen=True)
class Look:
    """A photo as it was found: its faces, each with its template or the reason why there is none."""

    faces: Sequence[tuple[Found | None, Template | PuraError]]
    picture: Picture | None = None


def look(templates: Templates, photo: Photo, *, all_faces: bool, largest: bool) -> Look:
    """A photo's one face, or its largest one, or all of them; an embedding is one face. Raises what is wrong
    with it."""
    if not all_faces or is_embedding(photo):
        return Look([(None, templates.of(photo, largest=largest))])
    picture, made = templates.of_all(photo)
    return Look(list(zip(picture.faces, made, strict=True)), picture)


@dataclasses.dataclass(frozen=True)
class Desk(Generic[A]):
    """What many questions need of their session."""

    look: Callable[[Photo], Look]
    """Raises what is wrong with a photo."""
    ask: Callable[[Template], A]
    decide: Callable[[Sequence[A]], Sequence[Decision]]
    """All of them by one roster, which is not older than any of the answers."""


def identified(photos: Iterable[Photo], desk: Desk[A]) -> Iterator[Identified]:
    """One outcome for each photo, in order, some photos after it was taken. Raises `DeviatingServer`; everything else
    is told in the outcomes."""
    waiting: list[tuple[Identified, Look]] = []
    ended: list[PuraError] = []
    for photo in photos:
        try:
            look = desk.look(photo)
        except PuraError as error:
            waiting.append((Identified(photo, error=error), Look(())))
        else:
            picture = look.picture
            size = (picture.width, picture.height) if picture is not None else (0, 0)
            waiting.append((Identified(photo, width=size[0], height=size[1]), look))
        if sum(len(one.faces) for _, one in waiting) >= TOGETHER or not any(one.faces for _, one in waiting):
            yield from _settled(waiting, desk, ended)
            waiting = []
    yield from _settled(waiting, desk, ended)


def _settled(waiting: Sequence[tuple[Identified, Look]], desk: Desk[A], ended: list[PuraError]) -> Iterator[Identified]:
    templates = [one for _, look in waiting for _, one in look.faces if not isinstance(one, PuraError)]
    answers = _side_by_side(desk.ask, templates, ended)
    decisions = iter(_decided(desk, answers))
    for outcome, look in waiting:
        faces = []
        for face, template in look.faces:
            said = template if isinstance(template, PuraError) else next(decisions)
            refused = isinstance(said, PuraError)
            faces.append(Recognised(face, error=said) if refused else Recognised(face, said))  # type: ignore[arg-type]
        yield dataclasses.replace(outcome, faces=tuple(faces))


def _decided(desk: Desk[A], answers: Sequence[A | PuraError]) -> Sequence[Decision | PuraError]:
    answered = [one for one in answers if not isinstance(one, PuraError)]
    if not answered:
        return [one for one in answers if isinstance(one, PuraError)]
    try:
        decisions = iter(desk.decide(answered))
    except DeviatingServer:
        raise
    except PuraError as error:  # no roster: nobody can say whom the answers name
        return [one if isinstance(one, PuraError) else error for one in answers]
    return [one if isinstance(one, PuraError) else next(decisions) for one in answers]


def _side_by_side(
    ask: Callable[[Template], A], templates: Sequence[Template], ended: list[PuraError]
) -> list[A | PuraError]:
    """An answer for each template, or why there is none. What concerns all - servers that stay away, a budget that is
    spent - is kept in `ended`, and nothing more is asked. Raises `DeviatingServer`."""
    lock = threading.Lock()

    def one(template: Template) -> A | PuraError:
        with lock:
            if ended:
                return ended[0]
        try:
            return ask(template)
        except DeviatingServer:
            raise
        except PuraError as error:
            if not isinstance(error, UNUSABLE):
                with lock:
                    ended.append(error)
            return error

    if len(templates) < 2:
        return [one(template) for template in templates]
    with ThreadPoolExecutor(min(SIDE_BY_SIDE, len(templates))) as pool:
        futures = [pool.submit(contextvars.copy_context().run, one, template) for template in templates]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

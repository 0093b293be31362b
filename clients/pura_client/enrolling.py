"""One run of enrolments: in batches, nobody twice, and an outcome for every item whatever happens.

What is enrolled already, by its enrolment id, is neither embedded nor sent again. A photo that is refused does not stop
the others. What concerns all of them does - servers that stay away, a budget that is spent: then everything that is
left gets that error for its outcome, and the next run goes on from there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pura.crypto.encoding import Template
from pura.errors import (
    BudgetSpent,
    EnrolmentConflict,
    MalformedMessage,
    OutOfRange,
    PhotosDisagree,
    PuraError,
    UnreadableImage,
    from_code,
)
from pura.ids import EnrolmentId, Handle
from pura.wire._pb import pura_pb2 as pb
from pura_client.alike import Alike
from pura_client.engines import Draft
from pura_client.labels import normalise
from pura_client.templates import UNUSABLE, LeftOut, Photo, is_embedding, several_of

BATCH_BYTES = 2 << 20
"""Of one request, so that batches of large templates, too, are answered before long."""
BATCH_ENTRIES = 32

ONE_ITEM = (*UNUSABLE, EnrolmentConflict, OutOfRange, PhotosDisagree)
"""What is wrong with one item here, and says nothing of the next."""


@dataclasses.dataclass(frozen=True)
class Enrolment:
    """One photo, or several of one person, to enrol under a label. `name`: a name of the caller's own for the entry,
    within the collection; the same name is enrolled once. Without one, the photos and the label are the name.
    `keep_days`: after so many days both servers erase the entry, or earlier if the collection keeps none so long; 0 for
    no limit of its own."""

    photo: Photo | Sequence[Photo] = dataclasses.field(repr=False)
    label: str
    name: str | None = None
    keep_days: int = 0


@dataclasses.dataclass(frozen=True)
class Enrolled:
    """What became of one item: `handle` names the entry, or `error` says why there is none.

    left_out: of several photos those that are no part of the template, each with its reason. already: it was there
    before, and was not sent. stopped: the run ended before this one was confirmed; run again, and it goes on from here.
    alike: the label of another item of this run that seems to show the same person.
    """

    photo: Photo | Sequence[Photo] = dataclasses.field(repr=False)
    label: str
    handle: Handle | None = None
    error: PuraError | None = None
    already: bool = False
    stopped: bool = False
    alike: str | None = None
    left_out: tuple[LeftOut, ...] = dataclasses.field(default=(), repr=False)


@dataclasses.dataclass(frozen=True)
class Desk:
    """What a run needs of its session."""

    name: Callable[[Enrolment], EnrolmentId]
    template: Callable[[Sequence[Photo]], tuple[Template | None, Sequence[LeftOut]]]
    """Of several photos, and those that are no part of it; None when none is left."""
    draft: Callable[[Template, EnrolmentId, str, int], Draft]
    send: Callable[[Sequence[Draft]], Mapping[bytes, pb.EnrollOutcome]]
    """What became of each, by its id; waits for servers that are away, until its deadline."""
    there: Callable[[], Mapping[EnrolmentId, Handle]]
    """All entries, by the roster as it is now."""
    label: Callable[[Handle], str | None]
    entries_a_batch: int
    dimension: int
    once: bool = False
    """Whether a label that had an entry before is left as it is."""


class Run:
    """One run."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._there: Mapping[EnrolmentId, Handle] = {}
        self._own: dict[EnrolmentId, tuple[Handle, str]] = {}
        """This run's new entries with their labels: the roster does not have them yet."""
        self._batch: list[tuple[Enrolled, Draft | None]] = []
        self._bytes = 0
        self._alike = Alike(desk.dimension)
        self._stopped: PuraError | None = None
        self._blind: PuraError | None = None
        """Why no photo can be embedded: embeddings can be enrolled all the same."""
        self._labels: frozenset[str] = frozenset()
        """Those that had entries before this run."""

    def look(self) -> None:
        """Learn what is there already, so that it need not be embedded and sent to find out."""
        try:
            self._there = self._desk.there()
            if self._desk.once:
                others = (self._desk.label(there) for name, there in self._there.items() if name not in self._own)
                self._labels = frozenset(label for label in others if label is not None)
        except PuraError as error:
            self._stopped = error

    def outcomes(self, items: Iterable[object]) -> Iterator[Enrolled]:
        """One for each item, in order: an `Enrolment`, or what one is made of. Raises nothing of its own."""
        for given in items:
            yield from self._take(given)
        yield from self._deliver()

    def _take(self, given: object) -> Iterator[Enrolled]:
        """Plan one item; what became of those before it, where that is known now."""
        outcome, draft = Enrolled(given, ""), None  # type: ignore[arg-type]  # whatever was given
        try:
            item = _item(given)
            outcome = Enrolled(item.photo, item.label)
            label = normalise(item.label)
            enrolment_id = self._desk.name(item)
            if any(one is not None and one.enrolment_id == enrolment_id for _, one in self._batch):
                yield from self._deliver()
            already = self._already(outcome, enrolment_id, label)
            if already is not None:
                outcome = already
            elif label in self._labels:
                raise EnrolmentConflict("this label has an entry of other photos: forget it first, or add another")
            elif self._stopped is None:
                outcome, template = self._embed(outcome, several_of(item.photo))
                if template is not None:
                    draft = self._desk.draft(template, enrolment_id, label, item.keep_days)
                    outcome = dataclasses.replace(outcome, alike=self._alike.add(template, label))
        except ONE_ITEM as error:
            outcome = dataclasses.replace(outcome, error=error)
        except PuraError as error:  # no model, no centre: no other photo could be embedded either
            self._blind = error
            outcome = dataclasses.replace(outcome, error=error, stopped=True)
        if draft is not None and self._bytes + draft.size > BATCH_BYTES:
            yield from self._deliver()
        self._batch.append((outcome, draft))
        self._bytes += draft.size if draft else 0
        count = sum(draft is not None for _, draft in self._batch)
        if count == 0 or count >= self._desk.entries_a_batch:
            yield from self._deliver()  # there is nothing to wait for

    def _embed(self, outcome: Enrolled, photos: Sequence[Photo]) -> tuple[Enrolled, Template | None]:
        if self._blind is not None and not all(map(is_embedding, photos)):
            return dataclasses.replace(outcome, error=self._blind, stopped=True), None
        template, left_out = self._desk.template(photos)
        if len(photos) > 1:
            outcome = dataclasses.replace(outcome, left_out=tuple(left_out))
        if template is None:
            why = left_out[0][1] if left_out else UnreadableImage("there is no photo to enrol")
            outcome = dataclasses.replace(outcome, error=why)
        return outcome, template

    def _deliver(self) -> Iterator[Enrolled]:
        batch, self._batch, self._bytes = self._batch, [], 0
        drafts = [draft for _, draft in batch if draft is not None]
        results: Mapping[bytes, pb.EnrollOutcome] = {}
        if drafts and self._stopped is None:
            try:
                results = self._desk.send(drafts)
            except PuraError as error:
                self._stopped = error
        if any(result.error_code == EnrolmentConflict.code for result in results.values()):
            self.look()  # an earlier run enrolled it: its last batch was perhaps still on its way when this one began
        for outcome, draft in batch:
            yield self._end(outcome, draft, results)

    def _end(self, outcome: Enrolled, draft: Draft | None, results: Mapping[bytes, pb.EnrollOutcome]) -> Enrolled:
        if outcome.handle is not None or outcome.error is not None:
            return outcome
        result = results.get(draft.enrolment_id) if draft is not None else None
        if draft is None or result is None:
            left_out = MalformedMessage("the server left out an enrolment in its answer")
            return dataclasses.replace(outcome, error=self._stopped or left_out, stopped=self._stopped is not None)
        label = normalise(outcome.label)
        if not result.error_code:
            handle = Handle(result.handle)
            self._own[draft.enrolment_id] = handle, label
            return dataclasses.replace(outcome, handle=handle)
        if result.error_code == EnrolmentConflict.code:
            already = self._already(outcome, draft.enrolment_id, label)
            if already is not None:
                return already
        error = from_code(result.error_code, result.error_message)
        if isinstance(error, BudgetSpent):
            self._stopped = error
        return dataclasses.replace(outcome, error=error, stopped=isinstance(error, BudgetSpent))

    def _already(self, outcome: Enrolled, enrolment_id: EnrolmentId, label: str) -> Enrolled | None:
        """If it is there: under the same label, unless the caller gave one name to two people."""
        if enrolment_id in self._own:
            handle, known = self._own[enrolment_id]
        elif enrolment_id in self._there:
            handle = self._there[enrolment_id]
            known = self._desk.label(handle) or label  # of another label key: nobody here can tell
        else:
            return None
        if known != label:
            return dataclasses.replace(outcome, error=EnrolmentConflict("it is enrolled already, under another label"))
        return dataclasses.replace(outcome, handle=handle, already=True)


def _item(given: object) -> Enrolment:
    """Raises `OutOfRange` for what is no item."""
    if isinstance(given, Enrolment):
        return given
    if isinstance(given, tuple | list) and 2 <= len(given) <= 3:
        return Enrolment(*given)
    raise OutOfRange("an item is a photo, or several of one person, with a label")

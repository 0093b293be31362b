"""A client's roster: brought up to date by changes, and believed only with S2's signature.

Whatever came back, the same is asked for with every question, and after it what did not come with the answer, so that
the server cannot tell who matched, or whether anybody did.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from pura.errors import DeviatingServer, MalformedMessage
from pura.ids import Handle
from pura.roster import Changes, Listed, Roster
from pura.statements import Verifier
from pura_client.labels import LabelCipher
from pura_client.seen import Seen


@dataclasses.dataclass(frozen=True)
class Enclosed:
    """Changes since a generation that came with an answer; nothing of them is checked."""

    since: int
    changes: Changes


class CheckedRoster:
    """Every entry and its label at the last generation that was fetched."""

    def __init__(
        self, fetch: Callable[[int], Changes], labels: LabelCipher, verifier: Verifier | None, seen: Seen
    ) -> None:
        """`fetch`: the changes since a generation; `verifier`: None for engine published, where nothing is signed."""
        self._fetch = fetch
        self._cipher = labels
        self._verifier = verifier
        self._seen = seen
        self._roster = Roster()
        self._generation = 0
        self._opened: dict[Handle, str | None] = {}

    def __contains__(self, handle: Handle) -> bool:
        return self._roster.get(handle) is not None

    def __iter__(self) -> Iterator[Handle]:
        return (one.handle for one in self._roster)

    def entries(self) -> Iterator[Listed]:
        """Every entry as the servers list it."""
        return iter(self._roster)

    def listed(self, handle: Handle) -> Listed | None:
        """One entry as the servers list it, or None."""
        return self._roster.get(handle)

    def label(self, handle: Handle) -> str | None:
        """The label of an entry that is there; None where this client's label key does not open it."""
        if handle not in self._opened:
            one = self._roster.get(handle)
            if one is None:
                raise KeyError(handle)
            self._opened[handle] = self._open(one)
        return self._opened[handle]

    @property
    def generation(self) -> int:
        """Of which it is, 0 for none."""
        return self._generation

    def update(self, at_least: int = 0, enclosed: Enclosed | None = None) -> frozenset[Handle]:
        """Fetch what has changed, unless it came with an answer; the handles that were erased meanwhile.

        `at_least`: the generation that a question was answered at. Raises `DeviatingServer` for a roster that S2 did
        not sign, that is older than `at_least` or than what this client has seen, or that differs from what S2 signed.
        """
        at_least = max(at_least, self._seen.generation)
        usable = enclosed is not None and enclosed.since == self._generation
        changes = enclosed.changes if enclosed is not None and usable else self._fetch(self._generation)
        self._follow(changes)
        if self._verifier is not None:
            if not changes.full and self._roster.digest() != changes.digest:
                # not changes of what this client had: of a restored backup, perhaps. The whole of it must fit.
                changes = self._fetch(0)
                self._follow(changes)
            try:
                self._check(self._verifier, changes, at_least)
            except DeviatingServer:
                self._forget()
                raise
            self._seen.learn(changes.generation)
        return frozenset(changes.removed)

    def _follow(self, changes: Changes) -> None:
        if changes.full:
            self._forget()
        self._roster.remove(changes.removed)
        self._roster.add(changes.entries)
        self._generation = changes.generation
        for handle in [handle for handle in self._opened if handle not in self]:
            del self._opened[handle]
        for one in changes.entries:  # one that was there before has another label
            self._opened.pop(one.handle, None)

    def _forget(self) -> None:
        self._roster, self._generation, self._opened = Roster(), 0, {}

    def _check(self, verifier: Verifier, changes: Changes, at_least: int) -> None:
        if not verifier.roster(changes.signature, changes.generation, changes.digest):
            raise DeviatingServer("the roster does not bear the signature of S2")
        if changes.generation < at_least:
            raise DeviatingServer(_rolled_back(changes.generation, at_least, self._seen))
        if self._roster.digest() != changes.digest:
            raise DeviatingServer("the roster is not the one that S2 signed")

    def _open(self, one: Listed) -> str | None:
        try:
            return self._cipher.open(one.label, one.enrolment_id)
        except MalformedMessage:
            return None  # another client's doing must not stop this one


def _rolled_back(got: int, known: int, seen: Seen) -> str:
    text = f"the roster is of generation {got}, and this client knows of generation {known}"
    if seen.path is not None and got < seen.generation:
        text += f"; if the organisation restored a backup, remove {seen.path}"
    return text

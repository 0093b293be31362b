"""A client against a gateway that lies about the roster: stale, rolled back, swapped, forged, unsigned."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from pura.crypto.rng import SeededRng
from pura.crypto.sign import SigningKey
from pura.errors import DeviatingServer
from pura.ids import CollectionId, EnrolmentId, Handle, KeyId
from pura.roster import Changes, Listed, Roster
from pura.statements import Signer, Verifier
from pura_client.labels import LabelCipher
from pura_client.roster import CheckedRoster
from pura_client.seen import Seen

KEY_ID = KeyId(b"k" * 16)
COLLECTION = CollectionId(b"c" * 16)
S2 = Signer(SigningKey.new(SeededRng("s2")), KEY_ID)
CIPHER = LabelCipher(bytes(32))
RNG = SeededRng("checked roster")


def listed(handle: int, label: str) -> Listed:
    enrolment_id = EnrolmentId(RNG.bytes(16))
    return Listed(Handle(handle), enrolment_id, CIPHER.seal(label, enrolment_id, RNG))


class Gateway:
    """An honest one, unless `lie` changes what it hands out."""

    def __init__(self) -> None:
        self.rosters: list[list[Listed]] = [[]]
        self.asked: list[int] = []
        self.lie: Callable[[Changes], Changes] = lambda changes: changes

    @property
    def now(self) -> int:
        return len(self.rosters) - 1

    def commit(self, adds: list[Listed], removes: tuple[int, ...] = ()) -> None:
        self.rosters.append([one for one in self.rosters[-1] if one.handle not in removes] + adds)

    def fetch(self, since: int) -> Changes:
        self.asked.append(since)
        return self.lie(self.at(self.now, since))

    def at(self, generation: int, since: int) -> Changes:
        """What was handed out when `generation` was the latest."""
        there = self.rosters[generation]
        made = Roster()
        made.add(there)
        signature = S2.roster(generation, made.digest())
        if not 0 < since <= generation:
            return Changes(generation, True, there, [], made.digest(), signature)
        before = self.rosters[since]
        adds = [one for one in there if one not in before]
        gone = [one.handle for one in before if one not in there]
        return Changes(generation, False, adds, gone, made.digest(), signature)


@pytest.fixture
def gateway() -> Gateway:
    made = Gateway()
    made.commit([listed(1, "Ada"), listed(2, "Eve")])
    made.commit([listed(3 << 52, "Grace")])
    made.commit([listed(4, "Alan")], (2,))
    return made


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    return Seen(tmp_path / "client.state", COLLECTION, S2.key.public.hex())


@pytest.fixture
def roster(gateway: Gateway, seen: Seen) -> CheckedRoster:
    return CheckedRoster(gateway.fetch, CIPHER, Verifier(S2.key.public, KEY_ID), seen)


def texts(roster: CheckedRoster) -> set[str | None]:
    return {roster.label(handle) for handle in roster}


def test_an_honest_roster(gateway: Gateway, roster: CheckedRoster, seen: Seen) -> None:
    assert roster.update() == frozenset()
    assert texts(roster) == {"Ada", "Grace", "Alan"}
    gateway.commit([listed(5, "Kurt")], (1, 4))
    assert roster.update(4) == {1, 4}
    assert texts(roster) == {"Grace", "Kurt"}
    gateway.commit([])  # as a compaction
    roster.update()
    assert gateway.asked == [0, 3, 4]
    assert seen.generation == 5


def test_a_label_of_another_key_does_not_stop_the_others(gateway: Gateway, roster: CheckedRoster) -> None:
    gateway.commit([dataclasses.replace(listed(6, "x"), label=b"rubbish")])
    roster.update()
    assert texts(roster) == {"Ada", "Grace", "Alan", None}


def swapped(changes: Changes) -> Changes:
    one, *others, last = changes.entries
    entries = [dataclasses.replace(one, label=last.label), *others, dataclasses.replace(last, label=one.label)]
    return dataclasses.replace(changes, entries=entries)


def swapped_whole(changes: Changes) -> Changes:
    """With the enrolment ids, so that the labels open."""
    one, *others, last = changes.entries
    entries = [dataclasses.replace(last, handle=one.handle), *others, dataclasses.replace(one, handle=last.handle)]
    return dataclasses.replace(changes, entries=entries)


def own_digest(changes: Changes) -> Changes:
    """The lie with its own digest, and the signature of the truth."""
    lie = swapped_whole(changes)
    made = Roster()
    made.add(lie.entries)
    return dataclasses.replace(lie, digest=made.digest())


def signed_by_s1(changes: Changes) -> Changes:
    lie = own_digest(changes)
    signer = Signer(SigningKey.new(SeededRng("s1")), KEY_ID)
    return dataclasses.replace(lie, signature=signer.roster(lie.generation, lie.digest))


LIES = {
    "labels swapped": swapped,
    "entries swapped": swapped_whole,
    "entries swapped, digest too": own_digest,
    "signed by another": signed_by_s1,
    "one left out": lambda c: dataclasses.replace(c, entries=c.entries[1:]),
    "one put in": lambda c: dataclasses.replace(c, entries=[*c.entries, listed(9, "Mallory")]),
    "signature left out": lambda c: dataclasses.replace(c, signature=b""),
    "another generation": lambda c: dataclasses.replace(c, generation=c.generation + 1),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_the_whole_roster(gateway: Gateway, roster: CheckedRoster, seen: Seen, name: str) -> None:
    gateway.lie = LIES[name]
    with pytest.raises(DeviatingServer):
        roster.update()
    assert (list(roster), seen.generation) == ([], 0)  # nothing of it is believed
    gateway.lie = lambda changes: changes
    roster.update()
    assert texts(roster) == {"Ada", "Grace", "Alan"}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_what_has_changed(gateway: Gateway, roster: CheckedRoster, name: str) -> None:
    roster.update()
    gateway.commit([listed(5, "Kurt"), listed(7, "Emmy")], (4,))
    gateway.lie = LIES[name]
    with pytest.raises(DeviatingServer):
        roster.update()
    assert list(roster) == []
    gateway.lie = lambda changes: changes
    roster.update()
    assert texts(roster) == {"Ada", "Grace", "Kurt", "Emmy"}


def test_an_erasure_that_is_hidden(gateway: Gateway, roster: CheckedRoster) -> None:
    roster.update()
    gateway.commit([], (1,))
    gateway.lie = lambda changes: dataclasses.replace(changes, removed=[])
    roster.update()  # what it lacks, the whole roster mends
    assert texts(roster) == {"Grace", "Alan"}
    gateway.commit([], (4,))
    old = gateway.rosters[4]
    gateway.lie = lambda changes: dataclasses.replace(changes, removed=[], entries=old if changes.full else [])
    with pytest.raises(DeviatingServer, match="not the one that S2 signed"):
        roster.update()


def test_a_stale_roster(gateway: Gateway, roster: CheckedRoster) -> None:
    """A question was answered at generation 3, and the roster that comes with it is of generation 2."""
    gateway.lie = lambda changes: gateway.at(2, 0)
    with pytest.raises(DeviatingServer, match="of generation 2, and this client knows of generation 3"):
        roster.update(3)
    roster.update(2)  # nothing is wrong with it for a question of its time


def test_a_roster_that_is_rolled_back(gateway: Gateway, roster: CheckedRoster, seen: Seen) -> None:
    roster.update()
    gateway.lie = lambda changes: gateway.at(2, 0)
    with pytest.raises(DeviatingServer, match="of generation 2, and this client knows of generation 3"):
        roster.update()
    # not in the next run either; and the message says what is to be done when a backup was restored
    again = Seen(seen.path, COLLECTION, S2.key.public.hex())
    later = CheckedRoster(gateway.fetch, CIPHER, Verifier(S2.key.public, KEY_ID), again)
    with pytest.raises(DeviatingServer, match=r"restored a backup, remove .*client\.state"):
        later.update()
    assert seen.path is not None
    seen.path.unlink()
    fresh = Seen(seen.path, COLLECTION, S2.key.public.hex())
    CheckedRoster(gateway.fetch, CIPHER, Verifier(S2.key.public, KEY_ID), fresh).update()
    assert fresh.generation == 2


def test_a_restored_backup_that_went_on_needs_the_whole_roster(gateway: Gateway, roster: CheckedRoster) -> None:
    """Its changes do not lead on from what this client had, but nothing in it is older than what the client knows."""
    roster.update()
    other = Gateway()
    other.rosters = gateway.rosters[:2]
    for handle in (20, 21, 22):
        other.commit([listed(handle, f"new {handle}")])
    gateway.rosters = other.rosters
    gateway.lie = lambda changes: (
        changes if changes.full else dataclasses.replace(changes, entries=other.rosters[4][-1:])
    )
    roster.update()
    assert texts(roster) == {"Ada", "Eve", "new 20", "new 21", "new 22"}
    assert gateway.asked[-2:] == [3, 0]


def test_without_a_key_nothing_is_checked(gateway: Gateway, seen: Seen) -> None:
    """Engine published."""
    gateway.lie = lambda changes: dataclasses.replace(changes, digest=b"", signature=b"")
    unsigned = CheckedRoster(gateway.fetch, CIPHER, None, seen)
    unsigned.update()
    assert texts(unsigned) == {"Ada", "Grace", "Alan"}
    assert seen.generation == 0

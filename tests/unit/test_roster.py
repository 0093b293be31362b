"""The roster's digest: what it binds, and that following changes gives what counting anew gives."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pura import roster
from pura.errors import MalformedMessage
from pura.ids import EnrolmentId, Handle
from pura.roster import BUCKETS, EMPTY_BUCKET, Listed, Roster, bucket_hash, bucket_of, bucket_range, roster_digest

HIGHEST = (1 << 64) - 1


def one(handle: int, label: bytes = b"label", enrolment: int = 7) -> Listed:
    return Listed(Handle(handle), EnrolmentId(enrolment.to_bytes(16, "big")), label)


def anew(entries: Sequence[Listed]) -> bytes:
    """The digest by its description, with nothing of the module but the tags."""

    def h(tag: bytes, *fields: bytes) -> bytes:
        return hashlib.sha256(b"".join(len(f).to_bytes(8, "big") + f for f in (tag, *fields))).digest()

    buckets: list[bytes] = [b""] * 4096
    for entry in sorted(entries, key=lambda entry: entry.handle):
        fields = (entry.handle.to_bytes(8, "big"), entry.enrolment_id, entry.label)
        buckets[entry.handle >> 52] += h(b"pura roster entry v2", *fields)
    return h(b"pura roster v2", b"".join(h(b"pura roster bucket v2", leaves) for leaves in buckets))


def digest_of(*entries: Listed) -> bytes:
    made = Roster()
    made.add(entries)
    return made.digest()


def test_the_digest_is_what_its_description_says() -> None:
    entries = [one(1), one(HIGHEST, b""), one(1 << 52), one((1 << 52) + 1, b"x" * 300)]
    assert digest_of() == anew([]) == roster_digest([EMPTY_BUCKET] * BUCKETS)
    assert digest_of(*entries) == digest_of(*reversed(entries)) == anew(entries)


def test_buckets_are_the_top_twelve_bits() -> None:
    assert [bucket_of(Handle(h)) for h in (1, (1 << 52) - 1, 1 << 52, HIGHEST)] == [0, 0, 1, BUCKETS - 1]
    for bucket in (0, 1, 2048, BUCKETS - 1):
        assert [bucket_of(h) for h in bucket_range(bucket)] == [bucket, bucket]


def test_everything_that_the_roster_says_of_an_entry_counts() -> None:
    entries = (one(5, b"Ada", 1), one(6, b"Grace", 2))
    swapped = (one(5, b"Grace", 1), one(6, b"Ada", 2))
    swapped_whole = (one(5, b"Grace", 2), one(6, b"Ada", 1))
    moved = (one(5, b"Adat", 1), dataclasses.replace(entries[1]))
    digests = [
        digest_of(*e) for e in (entries, swapped, swapped_whole, moved, entries[:1], (one(7, b"Ada", 1), entries[1]))
    ]
    assert len(set(digests)) == len(digests)


_handles = st.one_of(st.integers(1, 40), st.integers(1, 4095).map(lambda b: b << 52), st.just(HIGHEST))
_steps = st.lists(st.tuples(st.booleans(), _handles, st.binary(max_size=3)), max_size=30)


@settings(max_examples=60, deadline=None)
@given(_steps)
def test_following_changes_gives_what_counting_anew_gives(steps: list[tuple[bool, int, bytes]]) -> None:
    followed, model = Roster(), dict[int, Listed]()
    for adds, handle, label in steps:
        if adds:
            followed.add([one(handle, label)])
            model[handle] = one(handle, label)
        else:
            followed.remove([Handle(handle)])
            model.pop(handle, None)
    assert followed.digest() == anew(list(model.values()))
    assert {e.handle: e for e in followed} == model
    assert len(followed) == len(model)
    assert all(followed.get(Handle(handle)) == model.get(handle) for handle in range(41))


def test_a_change_hashes_the_buckets_it_touches_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Roster()
    made.add([one(bucket << 52 | 1) for bucket in range(BUCKETS)])
    made.digest()
    hashed = []
    monkeypatch.setattr(roster, "bucket_hash", lambda leaves: hashed.append(0) or bucket_hash(leaves))
    made.add([one(3), one(4)])
    made.remove([Handle(5 << 52 | 1), Handle(9 << 52 | 2)])
    made.digest()
    made.digest()
    assert len(hashed) == 2


@pytest.mark.parametrize("handle", [-1, 1 << 64])
def test_a_handle_that_is_none(handle: int) -> None:
    with pytest.raises(MalformedMessage):
        Roster().add([one(handle)])

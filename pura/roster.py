"""The roster: every entry's handle, enrolment id and opaque label, and the digest of all of them.

    digest = H(bucket 0, ..., bucket 4095)      bucket = H(leaf, leaf, ...)
    leaf = H(handle, enrolment id, label), of an entry that expires H(handle, enrolment id, label, expires)

A bucket has the entries whose handles begin with the same 12 bits, in order. A change of some entries hashes their
buckets again, and nothing else: at 1,000,000 entries a bucket has 244.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from pura.crypto.hashing import digest
from pura.errors import MalformedMessage
from pura.ids import EnrolmentId, Handle

BUCKETS = 1 << 12
DIGEST_BYTES = 32
HANDLE_BYTES = 8
_TIME_BYTES = 8
_SHIFT = 64 - 12
_LEAF_TAG, _BUCKET_TAG, _TAG = b"pura roster entry v2", b"pura roster bucket v2", b"pura roster v2"


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """What the roster has of one entry: nothing that only one of the two servers knows."""

    handle: Handle
    enrolment_id: EnrolmentId
    label: bytes
    expires: int = 0
    """Seconds since 1970; 0 for never."""

    def __repr__(self) -> str:
        return "Listed(…)"

    @property
    def leaf(self) -> bytes:
        """32 bytes that stand for all of it."""
        end = (self.expires.to_bytes(_TIME_BYTES, "big"),) if self.expires else ()
        return digest(_LEAF_TAG, self.handle.to_bytes(HANDLE_BYTES, "big"), self.enrolment_id, self.label, *end)


def bucket_of(handle: Handle) -> int:
    """Which of the 4,096 buckets an entry is in."""
    return handle >> _SHIFT


def bucket_range(bucket: int) -> tuple[Handle, Handle]:
    """The first and the last handle of a bucket."""
    return Handle(bucket << _SHIFT), Handle(((bucket + 1) << _SHIFT) - 1)


def bucket_hash(leaves: Iterable[bytes]) -> bytes:
    """32 bytes: H over the leaves of one bucket, in the order of their handles."""
    return digest(_BUCKET_TAG, b"".join(leaves))


EMPTY_BUCKET = bucket_hash(())


def roster_digest(hashes: Sequence[bytes]) -> bytes:
    """32 bytes: H over the hashes of all buckets, in order."""
    return digest(_TAG, b"".join(hashes))


@dataclasses.dataclass(frozen=True)
class Changes:
    """The way from one generation of the roster to a later one, as S1 hands it out.

    generation: the later one; full: `entries` is the whole roster, not what was added; removed: handles that were
    erased meanwhile (of a whole roster: lately); digest and signature: of the later one, the signature S2's; both are
    empty when S2 has not signed it.
    """

    generation: int
    full: bool
    entries: Sequence[Listed]
    removed: Sequence[Handle]
    digest: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"Changes(generation={self.generation}, full={self.full}, …)"


class Roster:
    """A roster in memory that follows changes; its digest costs only the buckets that changed."""

    def __init__(self) -> None:
        self._buckets: list[dict[Handle, Listed]] = [{} for _ in range(BUCKETS)]
        self._hashes = [EMPTY_BUCKET] * BUCKETS
        self._touched: set[int] = set()

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def __iter__(self) -> Iterator[Listed]:
        for bucket in self._buckets:
            yield from bucket.values()

    def get(self, handle: Handle) -> Listed | None:
        """One entry, or None."""
        return self._buckets[bucket_of(handle)].get(handle)

    def add(self, entries: Iterable[Listed]) -> None:
        """Put entries in. Raises `MalformedMessage` for a handle that is no 64-bit number."""
        for one in entries:
            if not (0 <= one.handle < 1 << 64 and 0 <= one.expires < 1 << 64):
                raise MalformedMessage("a number does not fit 64 bits")
            self._buckets[bucket_of(one.handle)][one.handle] = one
            self._touched.add(bucket_of(one.handle))

    def remove(self, handles: Iterable[Handle]) -> None:
        """Take entries out; those that are not there stay away."""
        for handle in handles:
            if self._buckets[bucket_of(handle)].pop(handle, None) is not None:
                self._touched.add(bucket_of(handle))

    def digest(self) -> bytes:
        """The digest of the roster as it is now."""
        for bucket in self._touched:
            there = self._buckets[bucket]
            self._hashes[bucket] = bucket_hash(there[handle].leaf for handle in sorted(there))
        self._touched.clear()
        return roster_digest(self._hashes)

"""S2's list of client groups: `groups.json`, the public halves of their keys, one for each right.

S2 checks every question, enrolment and erasure against it. So S1, alone or with a client that lacks a right, can ask or
change nothing as a client; and whoever has a group's key can do no more in an hour than the group may.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pura import groups
from pura.crypto.sign import VerifyKey
from pura.descriptors import exhausted
from pura.errors import BadConfig, BudgetSpent, NotAuthorised
from pura.groups import Right
from pura.ids import ContextDigest, GroupId
from pura_server.buckets import Bucket, when
from pura_server.lists import ListKind, Watched, check_name

PER_HOUR = 1000
"""Of each right, where nothing else is said."""
MOST_PER_HOUR = 1_000_000


@dataclasses.dataclass(frozen=True)
class GroupKey:
    """One public key: of which group, for which right, and for how many templates or entries an hour."""

    name: str
    right: Right
    key: VerifyKey
    per_hour: int
    added: int
    """Seconds since 1970."""

    @property
    def id(self) -> GroupId:
        """What a signature names it by."""
        return groups.group_id(self.key)


class GroupBook:
    """The groups in one file, read again whenever it has changed, and how much each has left. Thread-safe.

    A list that cannot be read knows no group.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, which never jump."""
        self._keys = Watched(path, lambda path: {key.id: key for key in read_groups(path)})
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[GroupId, tuple[float, float]] = {}

    def check(
        self, group: GroupId, right: Right, signature: bytes, context: ContextDigest, challenge: bytes = b""
    ) -> None:
        """Raises `NotAuthorised` unless a holder of this group's key for this right signed that."""
        key = self._key(group)
        if key.right is not right or not groups.made(key.key, signature, right, context, challenge):
            raise NotAuthorised(f"this is not signed by a group that may {right}", detail="group signature")

    def take(self, group: GroupId, count: int = 1) -> None:
        """Count so many uses of a key. Many at once may leave it in debt, so that no request is too large for ever.

        Raises `BudgetSpent`, `NotAuthorised`.
        """
        key = self._key(group)
        bucket = Bucket(key.per_hour, key.per_hour)
        with self._lock:
            now = self._clock()
            tokens, at = self._left.get(group, (float(bucket.capacity), now))
            wait = bucket.wait_s(tokens, now - at)
            if wait > 0:
                raise BudgetSpent(f"the group of this client has used up what S2 grants it for now; {when(wait)}")
            self._left[group] = bucket.level(tokens, now - at) - count, now

    def _key(self, group: GroupId) -> GroupKey:
        try:
            return self._keys.current()[group]
        except KeyError:
            raise NotAuthorised("S2 does not know the group of this client", detail="unknown group") from None
        except (OSError, BadConfig) as error:
            raise exhausted(error) or NotAuthorised(detail=f"the list of groups: {error}") from error


def read_groups(path: Path) -> list[GroupKey]:
    """All keys, oldest first; none for a file that is not there. Raises `BadConfig`."""
    return _GROUPS.read(path)


def dump_groups(keys: Iterable[GroupKey]) -> bytes:
    """The text of a list of groups."""
    return _GROUPS.text(keys)


def add_group(path: Path, name: str, keys: Mapping[Right, VerifyKey], per_hour: Mapping[Right, int]) -> None:
    """Let a group's keys count from now on, beside older ones of the same name; a key that is there already gets the
    new rate. Raises `BadConfig` for a bad name or a key of another group."""
    check_name(name)
    with _GROUPS.changing(path) as rows:
        for right, key in keys.items():
            same = [row for row in rows if row.key == key]
            if any((row.name, row.right) != (name, right) for row in same):
                raise BadConfig("one of these keys is another group's, or for another right; every key is for one")
            added = same[0].added if same else int(time.time())
            rows[:] = [row for row in rows if row.key != key]
            rows.append(GroupKey(name, right, key, per_hour[right], added))


def renew_group(path: Path, name: str, keys: Mapping[Right, VerifyKey]) -> int:
    """Let these be a group's only keys, with the rates of the older ones; how many older ones there were. Raises
    `BadConfig` for an unknown name."""
    with _GROUPS.changing(path) as rows:
        old = [row for row in rows if row.name == name]
        if not old:
            raise BadConfig("there is no group of this name")
        per_hour = {row.right: row.per_hour for row in old}
        there = {row.key: row for row in old}
        rows[:] = [row for row in rows if row.name != name]
        if any(row.key in keys.values() for row in rows):
            raise BadConfig("one of these keys is another group's")
        for right, key in keys.items():
            fresh = GroupKey(name, right, key, per_hour.get(right, PER_HOUR), int(time.time()))
            rows.append(there.get(key, fresh))
    return len(set(there) - set(keys.values()))


def _load(row: Mapping[str, Any]) -> GroupKey:
    per_hour = int(row["per_hour"])
    if not 0 < per_hour <= MOST_PER_HOUR:
        raise ValueError
    key = VerifyKey.from_hex(row["key"])
    return GroupKey(check_name(row["name"]), Right(row["right"]), key, per_hour, int(row["added"]))


def _dump(key: GroupKey) -> Mapping[str, object]:
    return {"name": key.name, "right": key.right, "key": key.key.hex(), "per_hour": key.per_hour, "added": key.added}


_GROUPS = ListKind("groups", 1, _load, _dump)

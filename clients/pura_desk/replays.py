"""What an Idempotency-Key stood for in this run of the desk: the same key with anything else is a mistake.

Across runs the key names the entry itself (`Enrolment.name`), so that it is never made twice.
"""

from __future__ import annotations

import collections
import hashlib
import threading
from collections.abc import Iterable

from pura.crypto.hashing import framed
from pura.errors import EnrolmentConflict

MOST = 10_000


class Replays:
    """The last keys, each with a hash of what came with it. Threads share it."""

    def __init__(self) -> None:
        self._known: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        self._lock = threading.Lock()

    def check(self, key: str, parts: Iterable[bytes]) -> None:
        """Raises `EnrolmentConflict` when the key came with something else before."""
        meant = hashlib.sha256(framed(b"pura desk request v1", *parts)).digest()
        with self._lock:
            if self._known.setdefault(key, meant) != meant:
                raise EnrolmentConflict("this Idempotency-Key was used for another request")
            self._known.move_to_end(key)
            if len(self._known) > MOST:
                self._known.popitem(last=False)

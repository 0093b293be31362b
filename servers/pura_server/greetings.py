"""Handshakes in progress, and how many an address may begin: what strangers share of a server that lets in only those
whom it knows."""

from __future__ import annotations

import collections
import ipaddress
import threading
import time
from typing import Protocol

HANDSHAKES = 64
"""At once. When there are more, the address with most of them loses its oldest."""
BURST, PER_SECOND = 128.0, 32.0
"""Of one address: connections at once, and then in a second. A handshake costs about a millisecond."""
_ADDRESSES = 4096


class Handshake(Protocol):
    """One that has begun."""

    def give_up(self, why: str) -> None:
        """End it if it is not through."""
        ...


class Greetings:
    """Counts them. Thread-safe; `give_up` is called without the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, collections.deque[Handshake]] = {}
        self._buckets: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def may_begin(self, address: str) -> bool:
        """tokens = min(BURST, tokens + passed PER_SECOND) - 1 >= 0."""
        with self._lock:
            now = time.monotonic()
            tokens, at = self._buckets.pop(address, (BURST, now))
            tokens = min(BURST, tokens + (now - at) * PER_SECOND)
            allowed = tokens >= 1
            self._buckets[address] = tokens - allowed, now
            if len(self._buckets) > _ADDRESSES:
                self._buckets.popitem(last=False)
            return allowed

    def begin(self, address: str, handshake: Handshake) -> None:
        """Count a handshake. If there are too many now, one is given up: the oldest of the address that has most."""
        with self._lock:
            self._open.setdefault(address, collections.deque()).append(handshake)
            crowded = sum(map(len, self._open.values())) > HANDSHAKES
            victim = max(self._open.values(), key=len).popleft() if crowded else None
        if victim is not None:
            victim.give_up("crowded out")

    def end(self, address: str, handshake: Handshake) -> None:
        """A handshake is over, this way or that."""
        with self._lock:
            begun = self._open.get(address, collections.deque())
            if handshake in begun:
                begun.remove(handshake)
            if not begun:
                self._open.pop(address, None)


def neighbourhood(address: str) -> str:
    """What counts as one address: an IPv4 address, or the 64 bits of an IPv6 one that one site has."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)

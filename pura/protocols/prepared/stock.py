"""What the protocols take from a server's offline material."""

from __future__ import annotations

from typing import Protocol

from pura.protocols.prepared.dabits import Lifts
from pura.protocols.shares.stock import Stock as Circuits


class Stock(Circuits, Lifts, Protocol):
    """AND triples, random OTs, daBits."""

"""Driving a party's rounds over a channel: in memory, or gRPC."""

from pura.transport.channel import Channel, drive
from pura.transport.line import FAREWELL_S, Line, converse, needs_stream, start
from pura.transport.memory import Cut, End, Kill, Spoil, play

__all__ = [
    "FAREWELL_S",
    "Channel",
    "Cut",
    "End",
    "Kill",
    "Line",
    "Spoil",
    "converse",
    "drive",
    "needs_stream",
    "play",
    "start",
]

"""What one server says to the other in a round: frozen dataclasses of integers and bytes, strictly encoded.

A message class holds only `int` (64 bits, non-negative) and `bytes` fields. Its meaning (how many
ciphertexts, how wide) is known to the protocol that receives it, which checks lengths and ranges
when it loads the bytes; the codec refuses everything that is not exactly one known message.

Bytes: u8 length of the name, the name, then the fields in order: int as 8 bytes, bytes as u32 length + data.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_type_hints

from pura.errors import MalformedMessage

MAX_BODY = 64 * 1024 * 1024


class Message:
    """The base of all round messages; subclasses register themselves under their own name."""

    registry: ClassVar[dict[str, type[Message]]] = {}
    layout: ClassVar[tuple[tuple[str, type], ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__name__ in Message.registry:
            raise TypeError(f"two messages are called {cls.__name__}")
        Message.registry[cls.__name__] = cls

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


M = TypeVar("M", bound=Message)


@dataclass_transform(frozen_default=True)
def message(cls: type[M]) -> type[M]:
    """Class decorator: freezes the dataclass and fixes its layout for the codec."""
    made = dataclasses.dataclass(frozen=True, repr=False)(cls)
    hints = get_type_hints(made)
    layout = tuple((f.name, hints[f.name]) for f in dataclasses.fields(made))  # type: ignore[arg-type]
    if any(kind not in (int, bytes) for _, kind in layout):
        raise TypeError(f"{cls.__name__}: only int and bytes fields")
    made.layout = layout
    return made


def encode(m: Message) -> bytes:
    """The bytes of one message. Raises `MalformedMessage` when an integer or the whole does not fit."""
    name = type(m).__name__.encode()
    parts = [bytes([len(name)]), name]
    for field, kind in m.layout:
        value = getattr(m, field)
        if kind is int:
            if not 0 <= value < 1 << 64:
                raise MalformedMessage(detail=f"{field} does not fit 64 bits")
            parts.append(struct.pack(">Q", value))
        else:
            parts.append(struct.pack(">I", len(value)))
            parts.append(value)
    body = b"".join(parts)
    if len(body) > MAX_BODY:
        raise MalformedMessage("a message would be too long to send", detail=f"{name.decode()}: {len(body)} bytes")
    return body


def decode(data: bytes) -> Message:
    """Exactly one known message, or `MalformedMessage`: no trailing bytes, no short fields."""
    if not data or len(data) > MAX_BODY:
        raise MalformedMessage(detail="empty or too long")
    end = 1 + data[0]
    cls = Message.registry.get(data[1:end].decode("ascii", "replace"))
    if cls is None or len(data) < end:
        raise MalformedMessage(detail="unknown message")
    values: dict[str, Any] = {}
    at = end
    for field, kind in cls.layout:
        size = 8 if kind is int else 4
        if at + size > len(data):
            raise MalformedMessage(detail="truncated")
        head = int.from_bytes(data[at : at + size], "big")
        at += size
        if kind is int:
            values[field] = head
        else:
            if at + head > len(data):
                raise MalformedMessage(detail="truncated")
            values[field] = data[at : at + head]
            at += head
    if at != len(data):
        raise MalformedMessage(detail="trailing bytes")
    return cls(**values)

"""The codec takes exactly one known message and nothing else."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pura.protocols
import pura_server
from pura import messages
from pura.errors import MalformedMessage
from pura.messages import MAX_BODY, Message, decode, encode, message

for package in (pura.protocols, pura_server):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@message
class CodecProbe(Message):
    """For these tests."""

    first: int
    body: bytes
    last: int


# what the product registers; other tests register their own
KINDS = {name: kind for name, kind in Message.registry.items() if kind.__module__.startswith(("pura.", "pura_"))}
PROBE = CodecProbe(7, b"abc", (1 << 64) - 1)
quick = settings(max_examples=200, deadline=None, derandomize=True)


def example(kind: type[Message]) -> Message:
    values: dict[str, Any] = {}
    for i, (name, of) in enumerate(kind.layout):
        values[name] = i + 1 if of is int else bytes(range(5 + i))
    return kind(**values)


def some(kind: type[Message]) -> st.SearchStrategy[Message]:
    fields = {name: st.integers(0, (1 << 64) - 1) if of is int else st.binary(max_size=60) for name, of in kind.layout}
    return st.builds(kind, **fields)


any_message = st.sampled_from([*KINDS.values(), CodecProbe]).flatmap(some)


# --- the format -------------------------------------------------------------------------------------


def test_the_bytes_of_a_message() -> None:
    expected = b"\x0aCodecProbe" + struct.pack(">Q", 7) + struct.pack(">I", 3) + b"abc" + b"\xff" * 8
    assert encode(PROBE) == expected
    assert decode(expected) == PROBE


def test_every_kind_is_laid_out() -> None:
    assert len(KINDS) >= 20
    for name, kind in KINDS.items():
        assert kind.__name__ == name
        assert dataclasses.is_dataclass(kind), f"{name} lacks @message"
        assert [f.name for f in dataclasses.fields(kind)] == [n for n, _ in kind.layout]
        assert len(name) < 256
        assert name.isascii()
        assert kind.__doc__, name


@pytest.mark.parametrize("name", KINDS)
def test_every_truncation_and_trailing_byte_of_every_kind(name: str) -> None:
    m = example(KINDS[name])
    raw = encode(m)
    assert decode(raw) == m
    assert encode(decode(raw)) == raw
    for end in range(len(raw)):
        with pytest.raises(MalformedMessage):
            decode(raw[:end])
    for tail in (b"\x00", b"\xff", raw, bytes(4), bytes(8)):
        with pytest.raises(MalformedMessage):
            decode(raw + tail)
        with pytest.raises(MalformedMessage):
            decode(tail[:1] + raw)


@pytest.mark.parametrize("name", KINDS)
def test_no_length_within_a_message_can_be_changed(name: str) -> None:
    """The name's length and every length of a field."""
    kind = KINDS[name]
    raw = encode(example(kind))
    at, places = 1 + raw[0], [(0, 1)]
    for _, of in kind.layout:
        if of is int:
            at += 8
        else:
            places.append((at, 4))
            at += 4 + int.from_bytes(raw[at : at + 4], "big")
    for start, size in places:
        old = int.from_bytes(raw[start : start + size], "big")
        for new in {0, old - 1, old + 1, old + 4, (1 << 8 * size) - 1, 1 << (8 * size - 1)} - {old}:
            with pytest.raises(MalformedMessage):
                decode(raw[:start] + new.to_bytes(size, "big") + raw[start + size :])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\x00" * 40,
        b"\xff",
        b"\x07Message",  # the base class is no message
        b"\x07Unknown" + bytes(8),
        b"\x0acodecprobe" + bytes(20),
        b"\x0aCodecProbe",
        b"\x0bCodecProbe\x00" + bytes(20),
        b"\x0b CodecProbe" + bytes(20),
        b"\x0aCodecProb\xc5" + bytes(20),
        "\x0cCödecProbe".encode() + bytes(20),
        b"CodecProbe" + bytes(20),
    ],
    ids=lambda raw: repr(raw[:14]),
)
def test_unknown_names(raw: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(raw)


@pytest.mark.parametrize("value", [-1, 1 << 64, 1 << 200])
@pytest.mark.parametrize("field", ["first", "last"])
def test_integers_out_of_range(field: str, value: int) -> None:
    with pytest.raises(MalformedMessage):
        encode(dataclasses.replace(PROBE, **{field: value}))


def test_what_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_BODY == 64 << 20
    monkeypatch.setattr(messages, "MAX_BODY", 1000)
    fits = dataclasses.replace(PROBE, body=bytes(1000 - len(encode(PROBE)) + 3))
    assert len(encode(fits)) == 1000
    assert decode(encode(fits)) == fits
    longer = dataclasses.replace(PROBE, body=fits.body + b"\x00")
    with pytest.raises(MalformedMessage):  # the sender learns it, and not only the receiver
        encode(longer)
    monkeypatch.undo()
    raw = encode(longer)
    monkeypatch.setattr(messages, "MAX_BODY", 1000)
    with pytest.raises(MalformedMessage):
        decode(raw)


def test_a_length_field_allocates_nothing() -> None:
    """A message that claims 4 GiB is refused by its real length, before anything is built."""
    raw = b"\x0aCodecProbe" + bytes(8) + b"\xff\xff\xff\xff" + b"abc"
    with pytest.raises(MalformedMessage):
        decode(raw)


# --- any bytes, any message ---------------------------------------------------------------------------


@given(any_message)
@quick
def test_what_is_encoded_is_decoded(m: Message) -> None:
    raw = encode(m)
    again = decode(raw)
    assert again == m
    assert type(again) is type(m)
    assert encode(again) == raw


@given(st.binary(max_size=200))
@quick
def test_any_bytes_are_a_message_or_malformed(raw: bytes) -> None:
    try:
        m = decode(raw)
    except MalformedMessage:
        return
    assert encode(m) == raw


@given(any_message, st.integers(0, 1000), st.integers(0, 255), st.sampled_from(["set", "cut", "insert", "repeat"]))
@quick
def test_damaged_messages_are_other_messages_or_malformed(m: Message, at: int, byte: int, how: str) -> None:
    raw = encode(m)
    at %= len(raw)
    changed = {
        "set": raw[:at] + bytes([byte]) + raw[at + 1 :],
        "cut": raw[:at],
        "insert": raw[:at] + bytes([byte]) + raw[at:],
        "repeat": raw[:at] + raw,
    }[how]
    try:
        again = decode(changed)
    except MalformedMessage:
        return
    # one encoding for each message: what is taken is what the sender would have written
    assert encode(again) == changed


# --- the classes --------------------------------------------------------------------------------------


def test_messages_do_not_print_and_do_not_change() -> None:
    for kind in KINDS.values():
        assert repr(example(kind)) == str(example(kind)) == f"{kind.__name__}(…)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        PROBE.first = 8  # type: ignore[misc]


def test_two_messages_of_one_name() -> None:
    with pytest.raises(TypeError, match="CodecProbe"):
        type("CodecProbe", (Message,), {})
    assert Message.registry["CodecProbe"] is CodecProbe


@pytest.mark.parametrize("kind", [str, float, bool, "list[int]"])
def test_fields_of_other_types(kind: object) -> None:
    name = f"CodecField{kind}"
    try:
        with pytest.raises(TypeError, match="only int and bytes"):
            message(type(name, (Message,), {"__annotations__": {"x": kind}, "__module__": __name__}))
    finally:
        Message.registry.pop(name)


def test_no_two_messages_are_told_apart_by_case() -> None:
    assert len({name.lower() for name in KINDS}) == len(KINDS)

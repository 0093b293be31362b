import os

import pytest

from pura.crypto.rng import SeededRng
from pura.errors import BadConfig, MalformedMessage, OutOfRange, PuraError
from pura_client.labels import LONGEST, LabelCipher, normalise

CIPHER = LabelCipher(bytes(range(32)))
RNG = SeededRng("labels")


@pytest.mark.parametrize("label", ["a", "Ada Lovelace", "Ærøskøbing", "名字", "x" * 62, "x" * 63, "x" * LONGEST])
def test_round_trip(label: str) -> None:
    assert CIPHER.open(CIPHER.seal(label, RNG)) == label


def test_the_stored_length_comes_in_buckets() -> None:
    sizes = {n: len(CIPHER.seal("x" * n, RNG)) for n in (1, 62, 63, 126, 127, LONGEST)}
    assert sizes == {1: 93, 62: 93, 63: 157, 126: 157, 127: 221, LONGEST: 349}


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "\x00", "x" * (LONGEST + 1), "é" * 128])
def test_labels_that_are_refused(label: str) -> None:
    with pytest.raises(OutOfRange):
        CIPHER.seal(label, RNG)


def test_normalise() -> None:
    assert normalise(" Zoe\u0308 ") == "Zo\u00eb"


def test_every_changed_byte_is_noticed() -> None:
    stored = CIPHER.seal("Ada", RNG)
    for i in range(len(stored)):
        with pytest.raises(MalformedMessage):
            CIPHER.open(stored[:i] + bytes([stored[i] ^ 1]) + stored[i + 1 :])


@pytest.mark.parametrize("stored", [b"", b"\x01", b"\x01" + bytes(20), os.urandom(93)])
def test_rubbish(stored: bytes) -> None:
    with pytest.raises(MalformedMessage):
        CIPHER.open(stored)


def test_another_key_opens_nothing_and_the_error_says_nothing() -> None:
    with pytest.raises(PuraError) as caught:
        LabelCipher(bytes(32)).open(CIPHER.seal("Ada", RNG))
    assert "Ada" not in f"{caught.value!r}{caught.value.detail}"


def test_a_key_of_the_wrong_length() -> None:
    with pytest.raises(BadConfig):
        LabelCipher(bytes(16))


def test_the_key_does_not_print() -> None:
    assert repr(LabelCipher(b"k" * 32)) == "LabelCipher(…)"

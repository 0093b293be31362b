import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pura.crypto.rng import SeededRng
from pura.errors import BadConfig, MalformedMessage, OutOfRange, PuraError
from pura.ids import EnrolmentId
from pura_client.labels import LONGEST, LabelCipher, normalise

CIPHER = LabelCipher(bytes(range(32)))
ONE, OTHER = EnrolmentId(b"1" * 16), EnrolmentId(b"2" * 16)
RNG = SeededRng("labels")


@pytest.mark.parametrize("label", ["a", "Ada Lovelace", "Ærøskøbing", "名字", "x" * 62, "x" * 63, "x" * LONGEST])
def test_round_trip(label: str) -> None:
    assert CIPHER.open(CIPHER.seal(label, ONE, RNG), ONE) == label


def test_the_stored_length_comes_in_buckets() -> None:
    sizes = {n: len(CIPHER.seal("x" * n, ONE, RNG)) for n in (1, 62, 63, 126, 127, LONGEST)}
    assert sizes == {1: 93, 62: 93, 63: 157, 126: 157, 127: 221, LONGEST: 349}


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "\x00", "x" * (LONGEST + 1), "é" * 128])
def test_labels_that_are_refused(label: str) -> None:
    with pytest.raises(OutOfRange):
        CIPHER.seal(label, ONE, RNG)


def test_normalise() -> None:
    assert normalise(" Zoe\u0308 ") == "Zo\u00eb"


def test_every_changed_byte_is_noticed() -> None:
    stored = CIPHER.seal("Ada", ONE, RNG)
    for i in range(len(stored)):
        with pytest.raises(MalformedMessage):
            CIPHER.open(stored[:i] + bytes([stored[i] ^ 1]) + stored[i + 1 :], ONE)


@pytest.mark.parametrize("stored", [b"", b"\x01", b"\x01" + bytes(20), bytes(range(7, 100))])
def test_rubbish(stored: bytes) -> None:
    with pytest.raises(MalformedMessage):
        CIPHER.open(stored, ONE)


def test_another_key_opens_nothing_and_the_error_says_nothing() -> None:
    with pytest.raises(PuraError) as caught:
        LabelCipher(bytes(32)).open(CIPHER.seal("Ada", ONE, RNG), ONE)
    assert "Ada" not in f"{caught.value!r}{caught.value.detail}"


class FirstForm:
    """Labels as version 0.1 sealed them: nothing says which entry a label is for."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, label: str, _: EnrolmentId) -> bytes:
        nonce = RNG.bytes(12)
        return nonce + self._aead.encrypt(nonce, label.encode(), b"pura label v1")

    def open(self, stored: bytes, _: EnrolmentId) -> str:
        return self._aead.decrypt(stored[:12], stored[12:], b"pura label v1").decode()


class NowForm:
    def __init__(self, key: bytes) -> None:
        self._cipher = LabelCipher(key)
        self.open = self._cipher.open

    def seal(self, label: str, enrolment_id: EnrolmentId) -> bytes:
        return self._cipher.seal(label, enrolment_id, RNG)


def swap_labels(form: FirstForm | NowForm) -> dict[EnrolmentId, str]:
    """A server puts each of two labels on the other's entry; what a client then reads."""
    stored = {ONE: form.seal("Ada", ONE), OTHER: form.seal("Eve", OTHER)}
    stored[ONE], stored[OTHER] = stored[OTHER], stored[ONE]
    return {entry: form.open(label, entry) for entry, label in stored.items()}


def test_a_server_that_swaps_labels() -> None:
    assert swap_labels(FirstForm(bytes(32))) == {ONE: "Eve", OTHER: "Ada"}
    with pytest.raises(MalformedMessage, match="another enrolment's"):
        swap_labels(NowForm(bytes(32)))


def test_the_first_form_is_not_opened() -> None:
    stored = b"\x01" + FirstForm(bytes(range(32))).seal("Ada", ONE)
    with pytest.raises(MalformedMessage, match="unknown form"):
        CIPHER.open(stored, ONE)


def test_a_key_of_the_wrong_length() -> None:
    with pytest.raises(BadConfig):
        LabelCipher(bytes(16))


def test_the_key_does_not_print() -> None:
    assert repr(LabelCipher(b"k" * 32)) == "LabelCipher(…)"


@pytest.mark.parametrize(
    ("label", "same_as"),
    [
        ("山田\u3000太郎", "山田 太郎"),
        ("Ada\u00a0 Lovelace", "Ada Lovelace"),
        ("علی\u200cرضا", "علی\u200cرضا"),
        ("ක්\u200dෂ", "ක්\u200dෂ"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("[/foo]", "[/foo]"),
    ],
)
def test_names_of_the_world(label: str, same_as: str) -> None:
    assert normalise(label) == normalise(same_as) == same_as
    assert CIPHER.open(CIPHER.seal(label, ONE, RNG), ONE) == same_as


HIDDEN = ["a\u202eb", "a\u2066b", "a\u200eb", "a\u0085b", "a\u2028b", "a\tb", "a\ufeffb", "\u200d", "a\ud800"]


@pytest.mark.parametrize("label", [*HIDDEN, None, 7, b"Ada"])
def test_what_is_not_seen_or_turns_the_text_round_is_refused(label: str) -> None:
    with pytest.raises(OutOfRange):
        normalise(label)


@pytest.mark.parametrize("label", HIDDEN[:-1])
def test_such_labels_are_refused_too_when_another_client_wrote_them(
    label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as careless:
        careless.setattr("pura_client.labels.normalise", lambda text: text)
        stored = CIPHER.seal(label, ONE, RNG)
    with pytest.raises(MalformedMessage):
        CIPHER.open(stored, ONE)

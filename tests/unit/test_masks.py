"""Masks by a PRF: the same for the same key, nonce and place, however they are asked for, and nothing else."""

from __future__ import annotations

import hmac
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from hypothesis import given
from hypothesis import strategies as st
from views import stats
from views.stats import PValues

from pura.crypto.keyfile import seal
from pura.crypto.maskfile import load_masks, replace_masks, write_masks
from pura.crypto.masks import NONCE_BYTES, MaskKeys
from pura.crypto.rng import SeededRng
from pura.errors import BadKeyFile, StorageFull, WouldOverwrite, WrongKey
from pura.ids import KeyId, Party

KEYS = MaskKeys.draw(SeededRng("masks")).renewed(SeededRng("masks 2"))


def nonce(seed: object) -> bytes:
    return SeededRng(f"nonce {seed}").bytes(NONCE_BYTES)


def rows(keys: MaskKeys, asked: list[tuple[int, bytes, int]], dimension: int = 20, bits: int = 17) -> np.ndarray:
    versions, nonces, places = zip(*asked, strict=True)
    raw = np.frombuffer(b"".join(nonces), np.uint8).reshape(-1, NONCE_BYTES)
    return keys.rows(dimension, bits, np.array(versions), raw, np.array(places, np.int64))


@pytest.mark.parametrize("dimension", [1, 16, 17, 128])
def test_a_mask_is_what_the_formula_says(dimension: int) -> None:
    key = hmac.digest(KEYS.secret(2), b"pura entry masks\x00" + nonce(1), "sha256")
    start = 70_001 * -(-dimension // 4)
    stream = Cipher(AES(key), CTR(start.to_bytes(16, "big"))).encryptor().update(bytes(4 * dimension))
    want = np.frombuffer(stream, "<u4") & np.uint32((1 << 17) - 1)
    np.testing.assert_array_equal(rows(KEYS, [(2, nonce(1), 70_001)], dimension)[0], want)


asked = st.lists(st.tuples(st.sampled_from([1, 2]), st.sampled_from([nonce(i) for i in range(3)]), st.integers(0, 9)))


@given(asked.filter(len))
def test_rows_do_not_depend_on_what_is_asked_for_with_them(asked: list[tuple[int, bytes, int]]) -> None:
    alone = np.concatenate([rows(KEYS, [one]) for one in asked])
    np.testing.assert_array_equal(rows(KEYS, asked), alone)


def test_other_keys_nonces_versions_and_places_give_other_masks() -> None:
    other = MaskKeys.draw(SeededRng("others"))
    made = [
        rows(KEYS, [(1, nonce(1), 0)]),
        rows(KEYS, [(2, nonce(1), 0)]),
        rows(KEYS, [(1, nonce(2), 0)]),
        rows(KEYS, [(1, nonce(1), 1)]),
        rows(other, [(1, nonce(1), 0)]),
        np.frombuffer(KEYS.stream(1, nonce(1), 80), "<u4")[None] & np.uint32((1 << 17) - 1),
    ]
    words = np.concatenate(made).reshape(-1).tolist()
    assert len(set(words)) > len(words) - 4


def test_no_rows() -> None:
    none = np.zeros(0, np.int64)
    assert KEYS.rows(20, 17, none, np.zeros((0, NONCE_BYTES), np.uint8), none).shape == (0, 20)


def test_masks_are_uniform() -> None:
    tests = PValues()
    table = rows(KEYS, [(1, nonce(i // 16), i) for i in range(64)], 128)
    stats.uniform(tests, "masks", 17, table.astype(np.uint64))
    assert tests.failed() == {}


def test_versions_come_and_go() -> None:
    keys = MaskKeys.draw(SeededRng(1))
    assert (keys.version, keys.versions) == (1, (1,))
    newer = keys.renewed(SeededRng(2))
    assert (newer.version, newer.versions) == (2, (1, 2))
    np.testing.assert_array_equal(rows(keys, [(1, nonce(1), 5)]), rows(newer, [(1, nonce(1), 5)]))
    latest = newer.latest()
    assert latest.versions == (2,)
    for gone in (1, 3, 0):
        with pytest.raises(BadKeyFile):
            rows(latest, [(gone, nonce(1), 5)])
        with pytest.raises(BadKeyFile):
            latest.stream(gone, nonce(1), 5)


@pytest.mark.parametrize("secrets", [{}, {0: bytes(32)}, {1: bytes(31)}, {1 << 32: bytes(32)}])
def test_what_are_no_keys(secrets: dict[int, bytes]) -> None:
    with pytest.raises(BadKeyFile):
        MaskKeys(secrets)


def test_nothing_is_printed() -> None:
    assert repr(KEYS) == "MaskKeys(…)"


# --- the file -----------------------------------------------------------------------------------------

KEY_ID = KeyId(bytes(range(16)))


def test_keys_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s1.masks"
    write_masks(path, KEYS, Party.S1, KEY_ID)
    assert path.stat().st_mode & 0o777 == 0o600
    back = load_masks(path, Party.S1, KEY_ID)
    assert back.versions == KEYS.versions
    assert all(back.secret(v) == KEYS.secret(v) for v in KEYS.versions)


def test_a_file_is_overwritten_by_a_rotation_only(tmp_path: Path) -> None:
    path = tmp_path / "s1.masks"
    write_masks(path, KEYS, Party.S1, KEY_ID)
    with pytest.raises(WouldOverwrite):
        write_masks(path, KEYS.latest(), Party.S1, KEY_ID)
    assert load_masks(path, Party.S1, KEY_ID).versions == (1, 2)
    replace_masks(path, KEYS.latest(), Party.S1, KEY_ID)
    assert load_masks(path, Party.S1, KEY_ID).versions == (2,)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["s1.masks"]


def test_nothing_is_left_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFull):
        write_masks(tmp_path / "file" / "s1.masks", KEYS, Party.S1, KEY_ID)
    with pytest.raises(StorageFull):
        replace_masks(tmp_path / "file" / "s1.masks", KEYS, Party.S1, KEY_ID)


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s1.masks"
    write_masks(path, KEYS, Party.S1, KEY_ID)
    with pytest.raises(WrongKey, match="another public key"):
        load_masks(path, Party.S1, KeyId(bytes(16)))
    with pytest.raises(WrongKey, match="S1"):
        load_masks(path, Party.S2, KEY_ID)


def sealed(**fields: object) -> str:
    body = {"format": "pura mask keys", "party": "S1", "key_id": KEY_ID.hex(), "secrets": {"1": "00" * 32}}
    return seal({k: v for k, v in {**body, **fields}.items() if v is not None})


GOOD = sealed()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "nothing",
        GOOD[:-1],
        GOOD + " ",
        GOOD.replace("00", "01", 1),
        GOOD.replace("mask keys", "key share"),
        sealed(secrets=None),
        sealed(secrets={}),
        sealed(secrets=[1]),
        sealed(secrets={"x": "00" * 32}),
        sealed(secrets={"0": "00" * 32}),
        sealed(secrets={"1": "00" * 31}),
        sealed(secrets={"1": 5}),
        sealed(party="S3"),
        sealed(party=None),
        sealed(key_id="xy"),
        sealed(key_id=None),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s1.masks"
    path.write_text(text)
    with pytest.raises(BadKeyFile):
        load_masks(path, Party.S1, KEY_ID)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile):
        load_masks(tmp_path / "s1.masks", Party.S1, KEY_ID)


# --- what a place and a nonce are for -----------------------------------------------------------------


def test_a_place_used_twice_under_one_nonce_tells_the_difference_of_two_entries() -> None:
    """Under another nonce it does not: hence new nonces at every connection, and a place is spent before it is used."""
    peer, rng = MaskKeys.draw(SeededRng("peer")), np.random.default_rng(1)
    y, other = rng.integers(-50, 50, (2, 20))

    def entry(x: np.ndarray, name: bytes) -> np.ndarray:
        both = rows(KEYS, [(1, name, 5)]).astype(np.int64) + rows(peer, [(1, name, 5)])
        return (x - both[0]) % (1 << 17)

    twice = (entry(y, nonce(1)) - entry(other, nonce(1))) % (1 << 17)
    np.testing.assert_array_equal(twice, (y - other) % (1 << 17))
    fresh = (entry(y, nonce(1)) - entry(other, nonce(2))) % (1 << 17)
    assert np.count_nonzero(fresh == (y - other) % (1 << 17)) <= 1

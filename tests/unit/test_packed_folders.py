"""The data folders of engine packed: what erasure leaves in them, what damage is found, what policy may change."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from packed_faults import deal_base_ots
from packed_pair import Pair, templates

from pura.errors import BadDataFolder, ParameterMismatch, PuraError
from pura.ids import BlockId, KeyId, Party
from pura.store import SqliteStore
from pura.store.check import check_folder
from pura.store.segments import read_block

D = 2


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Two blocks: three entries in one, one in the other."""
    deal_base_ots(monkeypatch)
    made = Pair(tmp_path / "data", dimension=D, tau=40_000, packs=1, light_packs=0)
    made.connect()
    ys = templates(made.params, 4, seed=4)
    made.enroll(ys[:3])
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr(made.store1, "allocate", lambda *_: [(BlockId(1), 0)])
        made.enroll(ys[3:])
    yield made
    made.close()


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def traces(folder: Path, secret: bytes) -> list[str]:
    """The files that hold a piece of a ciphertext: its beginning, its middle or its end."""
    middle = len(secret) // 2
    pieces = (secret[:24], secret[middle : middle + 24], secret[-24:])
    return [path.name for path, data in files(folder).items() if any(piece in data for piece in pieces)]


def block_ciphertexts(pair: Pair) -> list[bytes]:
    size = pair.pk.ciphertext_bytes
    blocks = [bytes(read_block(ref)) for ref in pair.store1.snapshot().blocks.values()]
    return [raw[i : i + size] for raw in blocks for i in range(0, len(raw), size)]


def test_nothing_of_an_erased_entry_is_left_in_any_file(pair: Pair) -> None:
    """While both servers run: its row, its label, and every block it ever lay in."""
    size = pair.pk.ciphertext_bytes
    y = templates(pair.params, 5, seed=9)[4]
    item = pair.entry(y, b"label of somebody who leaves us")
    before = block_ciphertexts(pair)
    (handle,) = pair.run(pair.s1.enroll([item]))
    pair.model[handle] = y
    rows = [item.ciphertexts[i : i + size] for i in range(0, len(item.ciphertexts), size)]
    with_it = [c for c in block_ciphertexts(pair) if c not in before]
    pair.refill()
    pair.check(y)
    pair.refill()  # moves the entries of one block into the other
    assert pair.s1.levels()["blocks"] == 1
    with_it += block_ciphertexts(pair)
    everything = [*rows, *with_it, item.label]
    assert all(traces(pair.folder, secret) for secret in (*rows, *with_it[-D:], item.label))
    pair.forget([handle])
    assert {name for secret in everything for name in traces(pair.folder, secret)} == set()
    pair.refill()
    pair.check(y)
    pair.close()
    assert {name for secret in everything for name in traces(pair.folder, secret)} == set()
    assert not any(handle.to_bytes(8, "big") in data for data in files(pair.folder).values())


def test_a_question_that_is_under_way_keeps_its_blocks_until_its_end(pair: Pair) -> None:
    first, *_ = pair.model
    old = block_ciphertexts(pair)[0]
    question = pair.s1.identify(pair.query(pair.model[first])[0])
    opening = next(question)
    pair.forget([first])
    assert len(traces(pair.folder, old)) == 1  # S2 never heard of the question
    question.close()
    del question, opening
    assert traces(pair.folder, old) == []


DAMAGES = ("flip", "cut", "gone", "swapped", "stale")


@pytest.mark.parametrize("party", list(Party))
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_a_block_is_named_at_start_and_by_check(
    pair: Pair, tmp_path: Path, party: Party, damage: str
) -> None:
    folder = pair.folder / party.name
    stale = tmp_path / "stale"
    shutil.copytree(folder / "segments", stale)
    pair.forget([next(iter(pair.model))])
    pair.close()
    assert check_folder(folder).ok
    current = sorted((folder / "segments").iterdir())
    (replaced,) = [path for path in current if path.name not in {p.name for p in stale.iterdir()}]
    other = next(path for path in current if path != replaced)
    match damage:
        case "flip":
            data = bytearray(replaced.read_bytes())
            data[-1] ^= 1
            replaced.write_bytes(data)
        case "cut":
            replaced.write_bytes(replaced.read_bytes()[:-7])
        case "gone":
            replaced.unlink()
        case "swapped":
            one, two = replaced.read_bytes(), other.read_bytes()
            replaced.write_bytes(two)
            other.write_bytes(one)
        case "stale":  # an older version of the same block under the new name
            old = next(p for p in stale.iterdir() if p.name[:16] == replaced.name[:16])
            shutil.copy(old, replaced)
    report = check_folder(folder)
    assert not report.ok
    assert any(replaced.name in problem for problem in report.problems)
    with pytest.raises(BadDataFolder, match=r"[0-9a-f]{16}-[0-9a-f]{16}\.seg"):
        pair._store(party)


def test_damage_of_the_index(pair: Pair) -> None:
    folder = pair.folder / "S2"
    pair.close()
    (folder / "gallery.db-wal").unlink(missing_ok=True)
    database = folder / "gallery.db"
    whole = database.read_bytes()
    database.write_bytes(bytes(64) + whole[64:])
    assert not check_folder(folder).ok
    database.write_bytes(whole[: len(whole) // 2])
    assert not check_folder(folder).ok
    with pytest.raises(PuraError):
        pair._store(Party.S2).snapshot()
    database.unlink()
    assert not check_folder(folder).ok
    with pytest.raises(BadDataFolder):
        pair._store(Party.S2)


def test_a_slot_used_twice_and_a_lost_block_are_found(pair: Pair) -> None:
    folder = pair.folder / "S1"
    pair.close()
    db = sqlite3.connect(folder / "gallery.db")
    db.execute("PRAGMA foreign_keys = OFF")
    db.execute("UPDATE entry SET block = 77 WHERE block = 1")
    db.commit()
    db.close()
    assert any("block 77" in problem for problem in check_folder(folder).problems)


def test_folders_from_different_moments_are_refused_when_they_connect(pair: Pair, tmp_path: Path) -> None:
    """One server restored from an older backup: no answer rather than a wrong one."""
    pair.close()
    shutil.copytree(pair.folder / "S2", tmp_path / "backup")
    pair.open()
    pair.connect()
    x = next(iter(pair.model.values()))
    pair.enroll(templates(pair.params, 5, seed=9)[4:])
    pair.close()
    shutil.rmtree(pair.folder / "S2")
    shutil.copytree(tmp_path / "backup", pair.folder / "S2")
    pair.open()
    with pytest.raises(BadDataFolder, match="same gallery"):
        pair.connect()
    with pytest.raises(PuraError):
        pair.ask(x)


def test_policy_may_change_and_nothing_else(pair: Pair) -> None:
    x = next(iter(pair.model.values()))
    pair.close()
    whole = pair.params
    pair.params = dataclasses.replace(whole, tau=90_000, top_k=3)
    pair.open()
    pair.connect()
    pair.check(x)
    pair.close()
    for other in (
        dataclasses.replace(whole, dimension=3),
        dataclasses.replace(whole, scale=256),
        dataclasses.replace(whole, sigma=64),
        dataclasses.replace(whole, embedder="another"),
        dataclasses.replace(whole, key_id=KeyId(bytes(16))),
    ):
        pair.params = other
        with pytest.raises(ParameterMismatch):
            pair._store(Party.S1)
    pair.params = whole
    for role, key_id in ((Party.S2, pair.pk.key_id), (Party.S1, KeyId(bytes(16)))):
        with pytest.raises(ParameterMismatch):
            SqliteStore.open(
                pair.folder / "S1",
                role=role,
                agreement=whole.storage,
                key_id=key_id,
                block_bytes=pair.pk.ciphertext_bytes,
            )
    pair.open()
    pair.connect()
    pair.check(np.asarray(x))

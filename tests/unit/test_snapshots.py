"""Snapshots of both servers' galleries: what is copied, what is refused, and what is left when something goes wrong."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from pair import Pair

from pura.errors import BadConfig, BadDataFolder, DataFolderInUse, ParameterMismatch, StorageFull, WouldOverwrite
from pura.ids import Party
from pura.store import snapshots
from pura.store.check import check_folder
from pura.store.schema import DATABASE, Identity
from pura.store.snapshots import MANIFEST, Snapshots, Taken

YS = np.diag([16] * 16)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path / "servers", dimension=16, scale=16, tau=0, packs=0, light_packs=0)
    with_snapshots(made)
    made.connect()
    return made


def with_snapshots(pair: Pair, kept: int = 3) -> None:
    times = iter(range(1_000))
    for side, party in ((pair.s1, Party.S1), (pair.s2, Party.S2)):
        side._snapshots = Snapshots(pair.folder / party.name, folder(pair, party), kept, lambda: next(times))


def folder(pair: Pair, party: Party) -> Path:
    return pair.folder / f"snapshots-{party.name}"


def identity(pair: Pair, party: Party) -> Identity:
    return Identity(party, pair.params.storage, pair.pk.key_id)


def snapshot(pair: Pair) -> Taken:
    taken: Taken = pair.run(pair.s1.snapshot())
    return taken


def both(pair: Pair, taken: Taken) -> dict[Party, Path]:
    return {party: folder(pair, party) / taken.moment for party in Party}


def test_both_servers_copy_the_same_moment_and_it_can_be_restored(pair: Pair) -> None:
    handles = pair.enroll(YS[:6])
    taken = snapshot(pair)
    assert taken.entries == 6
    assert [snapshots.verify(path).moment for path in both(pair, taken).values()] == [taken.moment] * 2
    then = dict(pair.model)
    pair.forget(handles[:2])
    pair.enroll(YS[6:9])
    pair.check(YS[7])
    pair.close()
    for party, path in both(pair, taken).items():
        data = pair.folder / party.name
        with pytest.raises(WouldOverwrite):
            snapshots.restore(path, data, identity(pair, party), replace=False)
        with pytest.raises(ParameterMismatch):
            snapshots.restore(path, data, identity(pair, party.other), replace=True)
        assert snapshots.restore(path, data, identity(pair, party), replace=True).moment == taken.moment
        assert check_folder(data).ok
    pair.model.clear()
    pair.model.update(then)
    pair.open()
    with_snapshots(pair)
    pair.connect()
    for y in YS[:9]:
        pair.check(y)
    pair.enroll(YS[9:11])
    pair.check(YS[10])


def test_folders_that_are_relative_to_where_one_stands(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a server that was started by `pura-server --config s1/s1.toml`."""
    monkeypatch.chdir(pair.folder)
    for side, party in ((pair.s1, Party.S1), (pair.s2, Party.S2)):
        side._snapshots = Snapshots(Path(party.name), Path(f"snapshots-{party.name}"), 3)
    pair.enroll(YS[:2])
    taken = snapshot(pair)
    for party, path in both(pair, taken).items():
        assert snapshots.verify(path.relative_to(pair.folder)).entries == 2
        shutil.copytree(party.name, f"{party.name} copied")
        assert check_folder(Path(f"{party.name} copied")).problems == ()


def test_what_was_erased_is_in_no_later_snapshot(pair: Pair) -> None:
    handles = pair.enroll(YS[:4])
    (body,) = pair.store1.bodies(handles[:1])
    first = snapshot(pair)
    pair.forget(handles[:1])
    second = snapshot(pair)
    for party in Party:
        assert body in (folder(pair, party) / first.moment / DATABASE).read_bytes()
        assert body not in (folder(pair, party) / second.moment / DATABASE).read_bytes()


def test_a_pair_of_two_moments_is_refused_when_the_servers_meet(pair: Pair) -> None:
    pair.enroll(YS[:2])
    first = snapshot(pair)
    pair.enroll(YS[2:4])
    pair.close()
    path = both(pair, first)[Party.S2]
    snapshots.restore(path, pair.folder / "S2", identity(pair, Party.S2), replace=True)
    pair.open()
    with pytest.raises(BadDataFolder, match=r"moment|backup"):
        pair.connect()


def test_asked_twice_at_one_moment_it_is_read_again_and_mended(pair: Pair) -> None:
    pair.enroll(YS[:2])
    taken = snapshot(pair)
    assert snapshot(pair) == taken
    path = folder(pair, Party.S2) / taken.moment / DATABASE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert snapshot(pair) == taken
    assert snapshots.verify(path.parent).entries == 2


def test_the_oldest_go(pair: Pair) -> None:
    taken = []
    for y in YS[:5]:
        pair.enroll(y[None])
        taken.append(snapshot(pair).moment)
    for party in Party:
        assert [one.moment for one in snapshots.listed(folder(pair, party))] == taken[:1:-1]


def test_a_server_without_a_folder_refuses(pair: Pair) -> None:
    pair.enroll(YS[:1])
    pair.s2._snapshots = None
    with pytest.raises(BadConfig, match="S2 keeps no snapshots"):
        snapshot(pair)
    pair.check(YS[0])
    pair.s1._snapshots = None
    with pytest.raises(BadConfig, match="S1 keeps no snapshots"):
        snapshot(pair)
    pair.enroll(YS[1:2])


@pytest.mark.parametrize("damage", ["manifest", "no manifest", "index", "format", "moment", "entries"])
def test_a_damaged_snapshot_is_named_and_changes_nothing(pair: Pair, damage: str) -> None:
    pair.enroll(YS[:2])
    path = both(pair, snapshot(pair))[Party.S1]
    pair.close()
    manifest = path / MANIFEST
    body = json.loads(manifest.read_text())
    match damage:
        case "manifest":
            manifest.write_text("{" * 2000)
        case "no manifest":
            manifest.unlink()
        case "index":
            raw = bytearray((path / DATABASE).read_bytes())
            raw[len(raw) // 2] ^= 1
            (path / DATABASE).write_bytes(bytes(raw))
        case _:
            manifest.write_text(json.dumps({**body, damage: 7}))
    before = (pair.folder / "S1" / DATABASE).read_bytes()
    with pytest.raises(BadDataFolder, match=path.name):
        snapshots.restore(path, pair.folder / "S1", identity(pair, Party.S1), replace=True)
    assert (pair.folder / "S1" / DATABASE).read_bytes() == before


def test_a_server_that_runs_is_not_restored(pair: Pair) -> None:
    pair.enroll(YS[:1])
    path = both(pair, snapshot(pair))[Party.S1]
    with pytest.raises(DataFolderInUse):
        snapshots.restore(path, pair.folder / "S1", identity(pair, Party.S1), replace=True)


def test_a_copy_that_fails_leaves_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.enroll(YS[:1])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "replace_file", full)
        with pytest.raises(StorageFull):
            snapshot(pair)
    assert list(folder(pair, Party.S1).iterdir()) == []
    assert snapshot(pair).entries == 1


def test_only_the_owner_may_read(pair: Pair) -> None:
    pair.enroll(YS[:1])
    for path in both(pair, snapshot(pair)).values():
        assert [one.stat().st_mode & 0o077 for one in (path, *path.iterdir())] == [0, 0, 0]


def test_an_empty_gallery(pair: Pair) -> None:
    taken = snapshot(pair)
    assert (taken.moment, taken.entries) == ("0", 0)
    for party, path in both(pair, taken).items():
        shutil.rmtree(pair.folder / "fresh", ignore_errors=True)
        snapshots.restore(path, pair.folder / "fresh", identity(pair, party), replace=False)
        with sqlite3.connect(pair.folder / "fresh" / DATABASE) as db:
            assert db.execute("SELECT count(*) FROM entry").fetchone() == (0,)

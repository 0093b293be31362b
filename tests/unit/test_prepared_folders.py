"""The data folders of engine prepared: what two stolen ones tell, and one that was lost and is made again."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pair import Pair, templates

from pura.crypto.maskfile import load_masks
from pura.crypto.masks import MaskKeys
from pura.crypto.rng import SeededRng, SystemRng
from pura.errors import BadDataFolder, ParameterMismatch, ProtocolError, PuraError, WouldOverwrite
from pura.ids import BlockId, Engine, KeyId, Party
from pura.protocols.shares.ledger import Counters
from pura.store import SqliteStore
from pura.store.check import check_folder
from pura.store.copy import copy_for_peer, install
from pura.store.schema import Identity
from pura_server import deploy, engines
from pura_server.cli import cli
from pura_server.config import Collection, load
from pura_server.prepared.counters import MaskedLedger, sealed_under

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    made = Pair(tmp_path, dimension=16, scale=16, tau=0, packs=0, light_packs=0)
    made.connect()
    return made


def identity(pair: Pair, party: Party) -> Identity:
    return Identity(party, pair.params.storage, pair.pk.key_id)


@pytest.mark.parametrize("lost", list(Party))
def test_a_lost_folder_is_made_again_from_the_other_servers(pair: Pair, lost: Party, tmp_path: Path) -> None:
    ys = np.diag([16] * 16)
    handles = pair.enroll(ys[:6])
    pair.forget(handles[:2])
    pair.close()
    shutil.rmtree(pair.folder / lost.name)
    out = tmp_path / "copy"
    assert copy_for_peer(pair.folder / lost.other.name, out) == 4
    assert out.stat().st_mode & 0o077 == 0
    with pytest.raises(WouldOverwrite):
        copy_for_peer(pair.folder / lost.other.name, out)
    with pytest.raises(ParameterMismatch):
        install(out, pair.folder / lost.name, identity(pair, lost.other))
    assert install(out, pair.folder / lost.name, identity(pair, lost)) == 4
    with pytest.raises(WouldOverwrite):
        install(out, pair.folder / lost.name, identity(pair, lost))
    assert check_folder(pair.folder / lost.name).ok
    pair.open()
    pair.connect()
    for y in ys[:6]:
        pair.check(y)
    pair.enroll(ys[6:8])
    pair.forget(handles[2:3])
    for y in ys[:8]:
        pair.check(y)


def test_a_copy_says_nothing_of_clients(pair: Pair, tmp_path: Path) -> None:
    pair.enroll(templates(pair.params, 3))
    pair.close()
    out = tmp_path / "copy"
    copy_for_peer(pair.folder / "S1", out)
    assert b"door" not in out.read_bytes()
    rows = sqlite3.connect(out).execute("SELECT DISTINCT client, digest FROM entry").fetchall()
    assert rows == [("", bytes(32))]


def test_both_folders_together_are_uniform_without_the_files_of_mask_keys(tmp_path: Path) -> None:
    """256 times the same template, and the counters of the lockout: nothing in them repeats or leans."""
    pair = Pair(
        tmp_path, dimension=16, scale=16, tau=0, lockout_tau=0, lockout_limit=5, packs=0, light_packs=0
    )  # fmt: skip
    ledgers = [
        MaskedLedger(pair.folder / party.name, pair.params.storage, pair.mask_keys(party), pair.rng) for party in Party
    ]
    pair.s1._ledger, pair.s2._ledger = ledgers
    pair.connect()
    y = np.array([16] + 15 * [0])
    for _ in range(4):
        pair.enroll(np.tile(y, (64, 1)))
    pair.ask(y)
    bodies = pair.store1.bodies(list(pair.model))
    assert bodies == pair.store2.bodies(list(pair.model)), "E is the same at both: the union is one of them"
    bits = np.unpackbits(np.frombuffer(b"".join(bodies), np.uint8).reshape(256, -1), axis=1, bitorder="little")
    bits = bits[:, : 16 * pair.s1._side.sizes.key_bits].astype(np.int64)
    assert len({body for body in bodies}) == 256
    means = bits.mean(axis=0)
    assert abs(means - 0.5).max() < 6 * 0.5 / np.sqrt(256)
    pairs = np.corrcoef((bits - 0.5).T) - np.eye(bits.shape[1])
    assert abs(pairs).max() < 6 / np.sqrt(256)
    files = [(pair.folder / party.name / "counters").read_bytes()[20:] for party in Party]
    joined = [
        *files,
        bytes(a ^ b for a, b in zip(*files, strict=False)),
        bytes((a + b) % 256 for a, b in zip(*files, strict=False)),
    ]
    for raw in joined:
        ones = np.unpackbits(np.frombuffer(raw, np.uint8)).mean()
        assert abs(ones - 0.5) < 6 * 0.5 / np.sqrt(8 * len(raw))
    pair.close()


def test_what_was_counted_outlasts_the_mask_keys_that_it_was_under(tmp_path: Path) -> None:
    """In 0.2 before its release `masks prune` forgot it, and who was locked for good was not any more."""
    keys, rng, storage = MaskKeys({1: bytes(32)}), SeededRng("counters"), b"s" * 32
    counted = Counters(b"e" * 16, np.array([7], np.uint64), np.array([20], np.uint64))
    first = MaskedLedger(tmp_path, storage, keys, rng)
    first.move(counted, first.now)
    keys = keys.renewed(rng)
    assert sealed_under(tmp_path) == 1
    MaskedLedger(tmp_path, storage, keys, rng)  # a start of the server
    assert sealed_under(tmp_path) == 2
    assert MaskedLedger(tmp_path, storage, keys.latest(), rng).now.of(counted.handles).tolist() == [20]


def test_mask_keys_are_renewed_followed_and_pruned_by_command(tmp_path: Path) -> None:
    collection = Collection(engine=Engine.PREPARED, dimension=16, scale=16, tau=0, embedder="none")
    deploy.make(tmp_path, FIXTURES / "test-keys-2048", collection, deploy.Hosts("127.0.0.1", "127.0.0.1", 1, 2))
    config = tmp_path / "s1" / "s1.toml"
    parts = engines.prepare(load(config))
    before = engines.mask_keys(parts)
    parts.store.close()

    def command(*args: object) -> str:
        result = CliRunner().invoke(cli, [*map(str, args)])
        assert result.exit_code == 0, result.output
        return result.output

    path = load(config).keys.mask_file
    assert "version 2" in command("masks", "renew", "--config", config)
    now = load_masks(path, Party.S1, parts.pk.key_id)
    assert now.versions == (1, 2)
    assert now.secret(1) == before.secret(1)
    assert path.stat().st_mode & 0o077 == 0
    ledger = MaskedLedger(load(config).data, b"", before, SystemRng())
    with pytest.raises(ProtocolError):
        ledger.move(Counters(b"x" * 16), Counters())  # of a question that was overtaken: nothing is written
    assert sealed_under(load(config).data) is None
    ledger.move(Counters(b"e" * 16), ledger.now)
    early = CliRunner().invoke(cli, ["masks", "prune", "--config", str(config)])
    assert (early.exit_code, "start this server once" in early.output) == (2, True)
    MaskedLedger(load(config).data, b"", now, SystemRng())
    command("masks", "prune", "--config", config)
    assert load_masks(path, Party.S1, parts.pk.key_id).versions == (2,)
    assert "secrets" in json.loads(path.read_text())
    out = tmp_path / "copy"
    command("peer-copy", "--config", config, "--out", out)
    s2 = tmp_path / "s2" / "s2.toml"
    engines.prepare(load(s2)).store.close()
    engines.mask_keys(engines.prepare(load(s2)))
    assert CliRunner().invoke(cli, ["rebuild", "--config", str(s2), "--from", str(out)]).exit_code == 2
    shutil.rmtree(load(s2).data)
    assert "0 entries" in command("rebuild", "--config", s2, "--from", out)
    assert os.path.exists(load(s2).data / "gallery.db")


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_of_an_erased_entry_is_left_in_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While both servers run: its label, its handle, every E that it ever had."""
    pair = Pair(tmp_path, dimension=16, scale=16, tau=0, packs=1, light_packs=0)
    pair.connect()
    ys = np.diag([16] * 16)
    pair.enroll(ys[:3])
    item = pair.entry(ys[5], b"label of somebody who leaves us")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(pair.s1._pictures.slots, "take", lambda _: [(BlockId(2), 7)])
        (handle,) = pair.run(pair.s1.enroll([item]))
    pair.model[handle] = ys[5]
    secrets = [item.label, *pair.store1.bodies([handle])]
    pair.refill()  # moves it into the other block, under another mask
    assert pair.s1.levels()["blocks"] == 1
    secrets += pair.store1.bodies([handle])
    assert len(set(secrets)) == 3
    assert all(any(secret in data for data in files(pair.folder).values()) for secret in (secrets[0], secrets[2]))
    pair.forget([handle])
    assert not any(secret in data for secret in secrets for data in files(pair.folder).values())
    pair.refill()
    pair.check(ys[5])
    pair.close()
    left = files(pair.folder).values()
    assert not any(secret in data for secret in [*secrets, handle.to_bytes(8, "big")] for data in left)


def test_damage_of_the_index(pair: Pair) -> None:
    pair.enroll(templates(pair.params, 3))
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


def test_folders_from_different_moments_are_refused_when_they_connect(pair: Pair, tmp_path: Path) -> None:
    """One server restored from an older backup: no answer rather than a wrong one."""
    ys = templates(pair.params, 3)
    pair.enroll(ys[:2])
    pair.close()
    shutil.copytree(pair.folder / "S2", tmp_path / "backup")
    pair.open()
    pair.connect()
    pair.enroll(ys[2:])
    pair.close()
    shutil.rmtree(pair.folder / "S2")
    shutil.copytree(tmp_path / "backup", pair.folder / "S2")
    pair.open()
    with pytest.raises(BadDataFolder, match="two different moments"):
        pair.connect()
    with pytest.raises(PuraError):
        pair.ask(ys[0])
    pair.close()


def test_policy_may_change_and_nothing_else(pair: Pair) -> None:
    x, *_ = ys = templates(pair.params, 3)
    pair.enroll(ys)
    pair.close()
    whole = pair.params
    pair.params = dataclasses.replace(whole, tau_verify=300, tau_identify=300, top_k=3)
    pair.open()
    pair.connect()
    pair.check(x)
    pair.close()
    for other in (
        dataclasses.replace(whole, dimension=17),
        dataclasses.replace(whole, scale=32),
        dataclasses.replace(whole, embedder="another"),
        dataclasses.replace(whole, key_id=KeyId(bytes(16))),
    ):
        pair.params = other
        with pytest.raises(ParameterMismatch):
            pair._store(Party.S1)
    pair.params = whole
    for role, key_id in ((Party.S2, pair.pk.key_id), (Party.S1, KeyId(bytes(16)))):
        with pytest.raises(ParameterMismatch):
            SqliteStore.open(pair.folder / "S1", role=role, agreement=whole.storage, key_id=key_id)
    pair.params = dataclasses.replace(whole, tau_verify=300, tau_identify=300, top_k=3)
    pair.open()
    pair.connect()
    pair.check(x)
    pair.close()

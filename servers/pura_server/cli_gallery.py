"""`pura-server peer-copy`, `rebuild` and `masks`: a lost data folder, and the keys of the masks."""

from __future__ import annotations

import re
from pathlib import Path

import click
import grpc
import numpy as np

from pura.crypto.keys import load_public
from pura.crypto.maskfile import load_masks, replace_masks
from pura.crypto.masks import MaskKeys
from pura.crypto.rng import SystemRng
from pura.crypto.vault import Vault
from pura.errors import BadConfig
from pura.ids import KeyId, Party
from pura.params import FEW
from pura.store import SqliteStore, snapshots
from pura.store.copy import copy_for_peer, install
from pura.store.schema import Identity
from pura.wire._pb import pura_pb2 as pb
from pura.wire._pb.pura_pb2_grpc import OperatorStub
from pura_server import config as server_config
from pura_server.cli_common import day, one_line_errors, path_type
from pura_server.health import to_own_server
from pura_server.prepared.counters import sealed_under
from pura_server.prepared.slots import MASKING
from pura_server.status import typed

_config = click.option("--config", type=path_type(), required=True, help="The configuration file of this server.")


@click.command("peer-copy")
@_config
@click.option("--out", type=path_type(), required=True, help="The file to write, for the other server's operator.")
@one_line_errors
def peer_copy(config: Path, out: Path) -> None:
    """Write the other server's data folder, which was lost, into one file. This server is stopped meanwhile.

    What the file holds the other server had: entries under masks of both, and labels that no server can read.
    """
    entries = copy_for_peer(server_config.load(config).data, out)
    click.echo(
        f"{entries} entries in {out}; the other operator runs: pura-server rebuild --config ... --from {out.name}"
    )


@click.command()
@_config
@click.option("--from", "copy", type=path_type(), required=True, help="The file that `peer-copy` wrote there.")
@one_line_errors
def rebuild(config: Path, copy: Path) -> None:
    """Make a data folder that was lost again, from the other server's. The file of mask keys must be there."""
    settings = server_config.load(config)
    pk = load_public(settings.keys.public)
    params = settings.collection.params(pk)
    load_masks(settings.keys.mask_file, settings.party, pk.key_id, settings.keys.vault())
    identity = Identity(settings.party, params.storage, pk.key_id)
    entries = install(copy, settings.data, identity)
    click.echo(f"{entries} entries; counters begin anew")


@click.command()
@_config
@click.option("--insecure", is_flag=True, help="The server runs without TLS.")
@click.option("--list", "only_list", is_flag=True, help="Only list this server's snapshots, the newest first.")
@one_line_errors
def snapshot(config: Path, insecure: bool, only_list: bool) -> None:
    """Copy the galleries of both servers as they are at this moment, while they run. On S1.

    Each server puts its own copy under the same name into its own snapshots.folder. Questions go on, changes wait.
    """
    settings = server_config.load(config)
    if only_list:
        for one in snapshots.listed(settings.snapshots_folder):
            click.echo(f"{one.moment}  {day(one.at)}  {one.entries} entries")
        return
    if settings.party is not Party.S1:
        raise BadConfig("snapshots of both servers are asked for on S1")
    with to_own_server(settings, insecure=insecure) as channel:
        try:
            taken = OperatorStub(channel).Snapshot(pb.SnapshotRequest(), timeout=settings.limits.change_s)
        except grpc.RpcError as error:
            raise typed(error) from None
    click.echo(f"{taken.moment}: {taken.entries} entries in {taken.path}; S2 has its own under the same name")


@click.command()
@_config
@click.option("--insecure", is_flag=True, help="The server runs without TLS.")
@click.argument("entries", nargs=-1, required=True, metavar="HANDLE...")
@one_line_errors
def unlock(config: Path, insecure: bool, entries: tuple[str, ...]) -> None:
    """Let entries be asked about again that `tries` has locked, while both servers run. On S1.

    HANDLE is what `pura list --entries` shows, at most 16 of them. See first who asked so often: `pura-server audit`.
    """
    settings = server_config.load(config)
    if settings.party is not Party.S1:
        raise BadConfig("entries are unlocked on S1")
    if len(entries) > FEW or not all(re.fullmatch("[0-9a-fA-F]{16}", entry) for entry in entries):
        raise BadConfig(f"name at most {FEW} entries, by 16 hexadecimal digits each")
    handles = [int(entry, 16) for entry in entries]
    with to_own_server(settings, insecure=insecure) as channel:
        try:
            OperatorStub(channel).Unlock(pb.UnlockRequest(handles=handles), timeout=settings.limits.change_s)
        except grpc.RpcError as error:
            raise typed(error) from None
    click.echo(f"{len(handles)} unlocked: what was counted about them is forgotten at both servers")


@click.command()
@_config
@click.option("--from", "copy", type=path_type(folder=True), required=True, help="The snapshot: its folder.")
@click.option("--replace", is_flag=True, help="Also where there is a gallery, which is lost then.")
@one_line_errors
def restore(config: Path, copy: Path, replace: bool) -> None:
    """Make this server's data folder hold the gallery of a snapshot. This server is stopped meanwhile.

    The other server has to be given its own snapshot of the same name. Lists of clients and groups, budgets and
    counters stay as they are.
    """
    settings = server_config.load(config)
    pk = load_public(settings.keys.public)
    params = settings.collection.params(pk)
    keys = load_masks(settings.keys.mask_file, settings.party, pk.key_id, settings.keys.vault())
    used = np.frombuffer(snapshots.masks_of(copy), MASKING)["versions"][:, settings.party - 1]
    if gone := set(np.unique(used).tolist()) - set(keys.versions):
        raise BadConfig(
            f"version {min(gone)} of the mask keys, which this snapshot needs, was pruned: nobody can read it"
        )
    identity = Identity(settings.party, params.storage, pk.key_id)
    taken = snapshots.restore(copy, settings.data, identity, replace=replace)
    click.echo(
        f"{taken.entries} entries as of {taken.moment}, {day(taken.at)}. The other server must hold {taken.moment} "
        "too; clients that have seen a later moment refuse answers until their client.state is removed"
    )


@click.group()
def masks() -> None:
    """The keys that this server's masks come from."""


@masks.command("renew")
@_config
@one_line_errors
def masks_renew(config: Path) -> None:
    """Add a new key. After a restart new entries are under it, and the others follow while nobody asks."""
    path, party, key_id, keys, vault = _keys(config)
    now = keys.renewed(SystemRng())
    replace_masks(path, now, party, key_id, vault)
    click.echo(f"version {now.version} of the mask keys; restart this server, and prune when all entries have followed")


@masks.command("prune")
@_config
@one_line_errors
def masks_prune(config: Path) -> None:
    """Remove older keys, when no entry needs them: whatever was erased cannot be read from any backup then. This server
    is stopped meanwhile."""
    settings = server_config.load(config)
    path, party, key_id, keys, vault = _keys(config)
    params = settings.collection.params(load_public(settings.keys.public))
    store = SqliteStore.open(settings.data, role=party, agreement=params.storage, key_id=key_id)
    with store:
        rows = store.snapshot().masking
    masking = np.frombuffer(rows.tobytes(), MASKING)
    old = int((masking["versions"][:, party - 1] != keys.version).sum())
    if old:
        raise BadConfig(f"{old} entries are under older keys still; start this server, and let it follow")
    if sealed_under(settings.data) not in (None, keys.version):
        raise BadConfig("what was counted of `tries` is under an older key still; start this server once")
    replace_masks(path, keys.latest(), party, key_id, vault)
    click.echo(f"only version {keys.version} of the mask keys is left")


def _keys(config: Path) -> tuple[Path, Party, KeyId, MaskKeys, Vault]:
    settings = server_config.load(config)
    key_id = load_public(settings.keys.public).key_id
    path, vault = settings.keys.mask_file, settings.keys.vault()
    return path, settings.party, key_id, load_masks(path, settings.party, key_id, vault), vault

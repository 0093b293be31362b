"""`pura-server rotate`: new keys for a collection, with everybody enrolled as before."""

from __future__ import annotations

from pathlib import Path

import click

from pura.crypto.keys import dump_public, dump_share, load_public, load_share, share_about
from pura.crypto.maskfile import load_masks, replace_masks
from pura.crypto.masks import MaskKeys
from pura.crypto.paillier import PublicKey
from pura.crypto.vault import Vault
from pura.errors import BadConfig, StorageFull, WrongKey
from pura.files import PRIVATE, PUBLIC, replace_file
from pura.ids import Engine
from pura.store.rekey import rekey
from pura.store.schema import Identity
from pura.vaults import opening, unseal_option
from pura_server import config as server_config
from pura_server.cli_common import one_line_errors, path_type


@click.command()
@click.option("--config", type=path_type(), required=True, help="The configuration file of this server.")
@click.option("--public", type=path_type(), required=True, help="The new public key, of `pura keygen --like`.")
@click.option("--share", type=path_type(), required=True, help="This server's new share.")
@unseal_option
@one_line_errors
def rotate(config: Path, public: Path, share: Path, unseal: str | None) -> None:
    """Take the keys of a new ceremony for the same collection. Both servers are stopped meanwhile, and both do this.

    Nobody has to be enrolled anew: entries are under masks, and the key only carries what clients send. The new share
    is sealed as the old one is; --unseal opens the new file. Clients need the new public key and its id: new bundles.
    Counters of the lockout begin anew, and snapshots of before belong to the old key. After a crash, do the same again.
    """
    settings = server_config.load(config)
    keys, party = settings.keys, settings.party
    old, new = load_public(keys.public), load_public(public)
    _same_collection(old, new)
    fresh = load_share(share, new, party, opening(unseal, share.name))
    vault = keys.vault()
    masks = _masks(settings, old, new, vault)
    before, after = (Identity(party, settings.collection.params(pk).storage, pk.key_id) for pk in (old, new))
    entries = rekey(settings.data, before, after)
    replace_masks(keys.mask_file, masks, party, new.key_id, vault)
    about = share_about(party, new.key_id)
    _write(keys.share, vault.bytes_for(dump_share(fresh).encode(), about, keys.share.name), PRIVATE)
    common = config.parent / "client.toml"
    if common.exists():
        text = common.read_text("utf-8").replace(old.key_id.hex(), new.key_id.hex())
        _write(common, text.encode(), PUBLIC)
    _write(keys.public, dump_public(new).encode(), PUBLIC)  # last: by it a run that was cut off is known
    click.echo(f"{entries} entries; key {new.key_id.hex()}")
    if common.exists():
        click.echo(f"{keys.public} and {common}: into the folder ca, for new bundles of all clients")


def _same_collection(old: PublicKey, new: PublicKey) -> None:
    """Raises `BadConfig`, `WrongKey`."""
    if old.engine is not Engine.PREPARED or new.engine is not Engine.PREPARED:
        raise BadConfig("only engine prepared can take new keys: entries of others are encrypted under the old one")
    if new.key_id == old.key_id:
        raise BadConfig("this server has that key already")
    if new.collection != old.collection:
        raise WrongKey("the new key is for another collection: `pura keygen --like` makes one for the same")


def _masks(settings: server_config.ServerConfig, old: PublicKey, new: PublicKey, vault: Vault) -> MaskKeys:
    """The mask keys, also if a run that was cut off has written them under the new key already."""
    try:
        return load_masks(settings.keys.mask_file, settings.party, old.key_id, vault)
    except WrongKey:
        return load_masks(settings.keys.mask_file, settings.party, new.key_id, vault)


def _write(path: Path, body: bytes, mode: int) -> None:
    try:
        replace_file(path, body, mode)
    except OSError as error:
        raise StorageFull(f"{path} could not be written; do it again", detail=str(error)) from error

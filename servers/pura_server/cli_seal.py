"""`pura-server seal`: this server's secret files under another secret, or under the first one."""

from __future__ import annotations

from pathlib import Path

import click

from pura.crypto.keys import load_public, share_about
from pura.crypto.maskfile import masks_about
from pura.crypto.vault import Vault
from pura.errors import BadConfig, StorageFull, WrongPassphrase
from pura.files import PRIVATE, replace_file
from pura.vaults import opening, seal_option, sealing, unseal_option
from pura_server import config as server_config
from pura_server.cli_common import one_line_errors, path_type

SIGN_ABOUT = {"kind": "pura signature key"}


@click.command()
@click.option("--config", type=path_type(), required=True, help="The configuration file of this server.")
@seal_option
@unseal_option
@click.option("--plain", is_flag=True, help="Take the seal off.")
@one_line_errors
def seal(config: Path, seal: str | None, unseal: str | None, plain: bool) -> None:
    """Seal this server's share, its mask keys and S2's signature key, also where they are sealed already.

    --unseal says what opens them now; without it, what `keys.unseal` of the configuration says. Afterwards put the new
    HOW there. A server that runs has read its files and goes on. After a crash, do the same again.
    """
    if plain == (seal is not None):
        raise BadConfig("give --seal or --plain")
    settings = server_config.load(config)
    keys, key_id = settings.keys, load_public(settings.keys.public).key_id
    about = {
        keys.share: share_about(settings.party, key_id),
        keys.mask_file: masks_about(settings.party, key_id),
        **({keys.sign: SIGN_ABOUT} if keys.sign is not None else {}),
    }
    old = opening(unseal or keys.unseal, keys.share.name)
    new = sealing(seal, f"{keys.share.name} and what lies beside it")
    for path, said in about.items():
        if path.exists():
            body = new.bytes_for(_opened(path, old, new), said, path.name)
            try:
                replace_file(path, body, PRIVATE)
            except OSError as error:
                raise StorageFull(f"{path.name} could not be written; do it again", detail=str(error)) from error
            click.echo(f"{path}: {'not sealed' if plain else 'sealed'}")
    how = "take keys.unseal out" if plain else "keys.unseal has to say what opens them"
    click.echo(f"in {config.name}: {how}")


def _opened(path: Path, old: Vault, new: Vault) -> bytes:
    """What a file holds, also if a run that was cut off has sealed it anew already."""
    try:
        return old.read(path)
    except WrongPassphrase:
        if not new.sealing:
            raise
        return new.read(path)

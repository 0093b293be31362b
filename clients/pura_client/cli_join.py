"""`pura client-request`, `client-join` and `label-key`: how a machine becomes a client."""

from __future__ import annotations

from pathlib import Path

import click

from pura.crypto.rng import SystemRng
from pura.errors import BadConfig
from pura.vaults import opening, seal_option, sealing, unseal_option
from pura_client import joining, labelkey
from pura_client.cli_common import answers, show

_folder = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.command("client-request")
@click.argument("name")
@click.option("--out", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Its folder.")
@answers
def client_request(name: str, folder: Path, as_json: bool) -> None:
    """Make this machine's own key, and the small file by which the organisation lets it in: NAME.request.

    The file holds no secret. In a folder that has a client already it asks for a new certificate; what is there counts
    until the bundle is taken.
    """
    made = joining.request(folder, name)
    show(as_json, {"request": str(made)}, f"{made}: for the organisation; it holds no secret",
         f"when the bundle comes: pura client-join {folder} --bundle {name}.bundle --label-key label.key")  # fmt: skip


@click.command("client-join")
@_folder
@click.option("--bundle", type=click.Path(path_type=Path, dir_okay=False), required=True, help="What came back.")
@click.option(
    "--label-key", type=click.Path(path_type=Path, dir_okay=False), help="The organisation's label key, from elsewhere."
)
@unseal_option
@answers
def client_join(
    folder: Path,
    bundle: Path,
    label_key: Path | None,
    unseal: str | None,
    as_json: bool,
) -> None:
    """Take the bundle for the request in FOLDER, and print the code to compare with whoever made it.

    Only this machine can open the bundle, but anybody could have made one: compare the code by telephone before
    anything is asked or enrolled. The label key comes by another way; if it is sealed, its passphrase is asked for.
    """
    vault = opening(unseal, "the label key")
    keys = None if label_key is None else labelkey.load(label_key, vault)
    code, before = joining.join(folder, bundle, keys)
    config = folder / joining.CLIENT_TOML
    kept = [f"{before}: what {config.name} said before"] if before else []
    show(as_json, {"config": str(config), "code": code, "before": str(before) if before else None},
         f"{config}: ready", *kept, f"code: {code}",
         "Compare it by telephone with whoever made the bundle. If it differs, somebody changed a file on its way: do "
         f"not use {folder}.")  # fmt: skip


@click.command("label-key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--renew", is_flag=True, help="Put a new key before those that are in FILE.")
@click.option("--prune", is_flag=True, help="Drop all keys in FILE but the newest.")
@click.option(
    "--take",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Put what another file holds, as it came to this client, in the place of FILE.",
)
@seal_option
@unseal_option
@answers
def label_key(
    file: Path,
    renew: bool,
    prune: bool,
    take: Path | None,
    seal: str | None,
    unseal: str | None,
    as_json: bool,
) -> None:
    """Make the key that labels are encrypted under, for all clients of the organisation and no server.

    Bring FILE to each client by another way than its bundle; sealed, the passphrase by yet another. Renewed, it holds
    the new key and the older ones: labels are read with any, and written with the new one.
    """
    if renew + prune + (take is not None) > 1:
        raise BadConfig("give one of --renew, --prune and --take")
    vault = sealing(seal, file.name)
    old = take or (file if renew or prune else None)
    there = () if old is None else labelkey.load(old, opening(unseal, old.name))
    keys = there[:1] if prune else there if take else labelkey.draw(SystemRng(), there)
    labelkey.write(file, keys, vault, replace=old is not None)
    show(as_json, {"file": str(file), "keys": len(keys), "sealed": vault.sealing},
         f"{file}: {len(keys)} {'key' if len(keys) == 1 else 'keys'}, {'sealed' if vault.sealing else 'not sealed'}; "
         "for the clients, and for no server")  # fmt: skip

"""The command line `pura-server`.

Exit status: 0 stopped as told, or fine; 1 `check` found damage, `health` found no serving server; 2 error.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import click

from pura import commands
from pura.commands import ERROR
from pura.crypto.keys import PUBLIC_NAME, load_public
from pura.face import curves
from pura.ids import GateKind
from pura_server import config as server_config
from pura_server.cli_access import client, group
from pura_server.cli_audit import audit
from pura_server.cli_collection import budget_from, budget_options, collection_from, collection_options, tell_budget
from pura_server.cli_common import one_line_errors, path_type
from pura_server.cli_gallery import masks, peer_copy, rebuild, restore, snapshot, unlock
from pura_server.cli_join import ca, join, request
from pura_server.cli_renew import renew
from pura_server.cli_rotate import rotate
from pura_server.cli_seal import seal
from pura_server.lists import check_name

NOT_FINE = 1


def main() -> NoReturn:
    """The entry point."""
    if importlib.util.find_spec("fcntl") is None:  # by which a data folder is locked
        click.echo("error: pura-server runs on Linux and macOS; clients run on Windows too [bad_config]", err=True)
        sys.exit(ERROR)
    commands.run(cli, _crash)


def _crash(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
    # where, but not the message: it may quote a value
    with contextlib.suppress(OSError):  # standard error may be what failed
        click.echo(f"unexpected {kind.__name__}\n" + "".join(traceback.format_tb(tb)), err=True)
    os._exit(ERROR)


@click.group(invoke_without_command=True, context_settings={"max_content_width": 100})
@click.version_option(package_name="pura-match", prog_name="pura-server")
@click.option("--config", type=path_type(), help="Run the server of this configuration file.")
@click.option("--insecure", is_flag=True, help="No TLS; both servers and all clients on this machine only.")
@click.pass_context
@one_line_errors
def cli(context: click.Context, config: Path | None, insecure: bool) -> None:
    """Run one of the two servers of a collection, S1 or S2, until SIGTERM.

    Exit status: 0 stopped as told, or fine; 1 something is not fine (check, health); 2 error.
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise click.UsageError("name a configuration file with --config, or a command")
    from pura_server import app

    app.run(server_config.load(config), insecure=insecure)


@cli.command()
@click.option(
    "--out", type=path_type(folder=True), required=True, help="Where the folders ca, s1, s2, desk and camera go."
)
@click.option("--keys", type=path_type(folder=True), required=True, help="The folder that `pura keygen` wrote.")
@click.option("--collection", "called", help="The name of one of several collections: a folder of its own in OUT.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Host name or address of S1, and of S2.")
@click.option("--s2-host", help="Host name or address of S2 if it is another.")
@click.option("--s1-port", type=click.IntRange(1, 65535), default=7701, show_default=True)
@click.option("--s2-port", type=click.IntRange(1, 65535), default=7702, show_default=True)
@click.option(
    "--gate",
    type=click.Choice([kind.value for kind in GateKind]),
    default=GateKind.NONE.value,
    show_default=True,
    help="What whoever stands before a client's camera has to pass before anything is asked (docs/liveness.md).",
)
@collection_options
@budget_options
@one_line_errors
def init(
    out: Path,
    keys: Path,
    called: str | None,
    host: str,
    s2_host: str | None,
    s1_port: int,
    s2_port: int,
    gate: str,
    questions_a_day: int | None,
    enrolments_a_day: int,
    **collection: Any,
) -> None:
    """Make the files of a deployment: a development CA, certificates, configurations, the first two clients.

    Each server's folder holds all that this server needs, and nothing of the other but its certificate. The desk may do
    everything, the camera may only ask. Existing folders are left alone. Whoever runs this sees the secrets of both
    servers: two organisations use `request` and `join`.
    """
    from pura_server import deploy
    from pura_server.hosts import host_of

    hosts = deploy.Hosts(host_of(host), host_of(host if s2_host is None else s2_host, "--s2-host"), s1_port, s2_port)
    if called is not None:
        out = out / check_name(called)
    chosen, said = collection_from(load_public(keys / PUBLIC_NAME).engine, **collection)
    budget = budget_from(questions_a_day, enrolments_a_day)
    s1, s2, desk = deploy.make(out, keys, chosen, hosts, budget, GateKind(gate))
    click.echo(said, nl=bool(said))
    click.echo(f"{s1}\n  for the operator of S1: pura-server --config {s1}")
    click.echo(f"{s2}\n  for the operator of S2, who is somebody else: pura-server --config {s2}")
    click.echo(f"{desk}\n  a client with all rights: PURA_CLIENT={desk} pura status")
    click.echo(f"{out / deploy.CAMERA / desk.name}\n  a client that may only ask")
    click.echo(f"{out / 'ca'}\n  signs certificates and makes the bundles of other clients: keep it off the servers")
    tell_budget(budget, s1)


cli.add_command(audit)
cli.add_command(client)
cli.add_command(group)
cli.add_command(request)
cli.add_command(join)
cli.add_command(ca)
cli.add_command(seal)
cli.add_command(renew)
cli.add_command(rotate)
cli.add_command(peer_copy)
cli.add_command(rebuild)
cli.add_command(snapshot)
cli.add_command(restore)
cli.add_command(unlock)
cli.add_command(masks)


@cli.command("sign-key")
@click.argument("file", type=path_type())
@one_line_errors
def sign_key(file: Path) -> None:
    """The key that S2 signs with: make FILE if it is not there, and print its public half.

    FILE is `keys.sign` in S2's configuration. What is printed is `peer.sign_key` in S1's and `s2_key` in client.toml.
    """
    from pura.crypto.rng import SystemRng
    from pura.crypto.sign import SigningKey

    if file.exists():
        key = SigningKey.load(file)
    else:
        key = SigningKey.new(SystemRng())
        key.write(file)
    click.echo(key.public.hex())


@cli.command()
@click.argument("folder", type=path_type(folder=True))
@click.option("--config", type=path_type(), help="This server's: is identify's threshold right for so many entries?")
@one_line_errors
def check(folder: Path, config: Path | None) -> None:
    """Verify the data FOLDER of a server that is not running, without changing anything.

    Exit status: 0 a server can start on it, 1 it is damaged, or does not fit the other server's.
    """
    from pura.store.check import check_folder

    report = check_folder(folder)
    click.echo(f"{report.entries} entries, {report.blocks} blocks")
    if report.prepared:
        click.echo(f"{len(report.prepared)} changes whose outcome the two servers will settle at the next start")
    click.echo(f"moment {report.moment}; both servers have to stand at the same")
    for problem in report.problems:
        click.echo(f"damaged: {problem}")
    if report.apart is not None:
        click.echo(
            f"galleries of two different moments: the servers met with this one at {report.apart.here} and the other at"
            f" {report.apart.there}; restore both from backups of the same moment"
        )
    if config is not None:
        settings = server_config.load(config)
        params = settings.collection.params(load_public(settings.keys.public))
        if curves.outgrown(params, report.entries, settings.limits.fpir):
            click.echo(
                f"warning: of strangers more than {settings.limits.fpir:.1%} are named among {report.entries} entries: "
                "raise identify_threshold on both servers"
            )
    if not report.ok:
        click.get_current_context().exit(NOT_FINE)
    click.echo("fine")


@cli.command()
@click.option("--config", type=path_type(), required=True, help="The configuration file of the server to ask.")
@click.option("--insecure", is_flag=True, help="It runs without TLS.")
@one_line_errors
def health(config: Path, insecure: bool) -> None:
    """Is the server of this machine ready? Exit status 0 when it is, else 1. For probes."""
    from pura_server import health as server_health

    serving = server_health.ask(server_config.load(config), insecure=insecure)
    click.echo("SERVING" if serving else "NOT_SERVING")
    click.get_current_context().exit(0 if serving else NOT_FINE)

"""The command line `pura-server`.

Exit status: 0 stopped as told, or fine; 1 `check` found damage, `health` found no serving server; 2 error.
"""

from __future__ import annotations

import functools
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn, ParamSpec

import click

from pura import commands
from pura import policy as policies
from pura.commands import ERROR
from pura.errors import BadConfig, PuraError
from pura.ids import Engine, Party
from pura.params import DEFAULT_SCALE, Metric
from pura_server import config as server_config

NOT_FINE = 1

_P = ParamSpec("_P")


def main() -> NoReturn:
    """The entry point."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what the library logs is not JSON
    commands.run(cli, _crash)


def _crash(kind: type[BaseException], error: BaseException, tb: TracebackType | None) -> None:
    # where, but not the message: it may quote a value
    click.echo(f"unexpected {kind.__name__}\n" + "".join(traceback.format_tb(tb)), err=True)
    os._exit(ERROR)


def _one_line_errors(command: Callable[_P, None]) -> Callable[_P, None]:
    @functools.wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except PuraError as error:
            click.echo(f"error: {error} [{error.code}]", err=True)
            click.get_current_context().exit(ERROR)

    return wrapped


def _path(*, folder: bool = False) -> click.Path:
    return click.Path(path_type=Path, dir_okay=folder, file_okay=not folder)


_config = click.option("--config", type=_path(), required=True, help="The configuration file of S1.")


@click.group(invoke_without_command=True, context_settings={"max_content_width": 100})
@click.version_option(package_name="pura", prog_name="pura-server")
@click.option("--config", type=_path(), help="Run the server of this configuration file.")
@click.option("--insecure", is_flag=True, help="No TLS; both servers and all clients on this machine only.")
@click.pass_context
@_one_line_errors
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
@click.option("--out", type=_path(folder=True), required=True, help="Where the folders ca, s1, s2 and client go.")
@click.option("--keys", type=_path(folder=True), required=True, help="The folder that `pura keygen` wrote.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Host name or address of S1, and of S2.")
@click.option("--s2-host", help="Host name or address of S2 if it is another.")
@click.option("--s1-port", type=click.IntRange(1, 65535), default=7701, show_default=True)
@click.option("--s2-port", type=click.IntRange(1, 65535), default=7702, show_default=True)
@click.option(
    "--engine", type=click.Choice([one.value for one in Engine]), default=Engine.PACKED.value, show_default=True
)
@click.option("--dimension", type=int, default=128, show_default=True, help="Length of an embedding.")
@click.option("--scale", type=int, default=DEFAULT_SCALE, show_default=True, help="Length of a quantised unit vector.")
@click.option(
    "--metric", type=click.Choice([one.value for one in Metric]), default=Metric.COSINE.value, show_default=True
)
@click.option("--radius", type=float, default=1.0, show_default=True, help="Euclidean: the longest embedding.")
@click.option("--sigma", type=int, default=40, show_default=True, help="Bits of statistical hiding: 40, 64 or 80.")
@click.option(
    "--threshold",
    type=float,
    help="Least cosine, or largest distance, that matches.  [default: 0.37 for sface-centred, 0.425 for sface]",
)
@click.option(
    "--policy",
    type=_path(),
    help="Take model, scale and threshold from a file of `pura bench accuracy --write-policy`.",
)
@click.option("--top-k", type=int, default=1, show_default=True, help="Candidates that identify returns.")
@click.option(
    "--embedder", default="sface-centred", show_default=True, help="Name of the network that makes the embeddings."
)
@_one_line_errors
def init(
    out: Path,
    keys: Path,
    host: str,
    s2_host: str | None,
    s1_port: int,
    s2_port: int,
    engine: str,
    dimension: int,
    scale: int,
    metric: str,
    radius: float,
    sigma: int,
    threshold: float | None,
    policy: Path | None,
    top_k: int,
    embedder: str,
) -> None:
    """Make the files of a deployment: a development CA, certificates, configurations, a first client.

    Each server's folder holds all that this server needs, and nothing of the other but its certificate. Existing
    folders are left alone.
    """
    from pydantic import ValidationError

    from pura_server import deploy

    if policy is not None:
        if threshold is not None:
            raise BadConfig("give either --threshold or --policy")
        measured = policies.read(policy)
        dimension, scale, metric, radius = measured.dimension, measured.scale, measured.metric.value, measured.radius
        threshold, embedder = measured.threshold, measured.embedder
    if threshold is None:
        threshold = deploy.THRESHOLDS.get(embedder)
        if metric != Metric.COSINE or threshold is None:
            raise BadConfig(
                f"--threshold is needed: only {' and '.join(deploy.THRESHOLDS)}, with cosines, have a default"
            )
    try:
        collection = server_config.Collection(
            engine=Engine(engine),
            dimension=dimension,
            scale=scale,
            metric=Metric(metric),
            radius=radius,
            sigma=sigma,
            threshold=threshold,
            top_k=top_k,
            embedder=embedder,
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = "-".join(str(part) for part in first["loc"]).replace("_", "-")
        raise BadConfig(f"--{where}: {first['msg']}") from error
    s1, s2, client = deploy.make(out, keys, collection, deploy.Hosts(host, s2_host or host, s1_port, s2_port))
    click.echo(f"{s1}\n  for the operator of S1: pura-server --config {s1}")
    click.echo(f"{s2}\n  for the operator of S2, who is somebody else: pura-server --config {s2}")
    click.echo(f"{client}\n  for clients: PURA_CLIENT={client} pura status")
    click.echo(f"{out / 'ca'}\n  signs certificates: keep it off the servers")


@cli.group()
def client() -> None:
    """Who may use this collection. A change counts at once, also on a running server."""


@client.command("add")
@click.argument("name")
@_config
@click.option("--cert", type=_path(), help="A certificate that the client has already.")
@click.option("--ca", type=_path(folder=True), help="Or: sign a new one with this authority's ca.crt and ca.key,")
@click.option("--out", type=_path(folder=True), help="and write NAME.crt and NAME.key into this folder.")
@click.option("--no-enrol", is_flag=True, help="It may ask, but neither enrol nor erase.")
@click.option("--no-ask", is_flag=True, help="It may enrol and erase, but not ask.")
@_one_line_errors
def client_add(
    name: str, config: Path, cert: Path | None, ca: Path | None, out: Path | None, no_enrol: bool, no_ask: bool
) -> None:
    """Let a client in by its certificate."""
    from pura_server import authority, deploy, tls
    from pura_server.credentials import May, add_client

    settings = _s1(config)
    may = frozenset(one for one, denied in ((May.ASK, no_ask), (May.ENROL, no_enrol)) if not denied)
    if cert is not None and ca is None and out is None:
        add_client(settings.clients_file, name, tls.fingerprint(tls.read(cert)), may)
    elif cert is None and ca is not None and out is not None:
        signer = authority.Credential(tls.read(ca / "ca.crt"), tls.read(ca / "ca.key"))
        made = authority.issue(signer, name)
        deploy.write(out, {f"{name}.crt": (made.cert, 0o644), f"{name}.key": (made.key, 0o600)})
        add_client(settings.clients_file, name, tls.fingerprint(made.cert), may)
    else:
        raise BadConfig("give either --cert, or --ca and --out")
    click.echo(f"{name} may {' and '.join(sorted(may)) or 'see how the servers are'}")


@client.command("revoke")
@click.argument("name")
@_config
@_one_line_errors
def client_revoke(name: str, config: Path) -> None:
    """Shut a client out, with all of its certificates, from the next call on."""
    from pura_server.credentials import revoke_client

    revoked = revoke_client(_s1(config).clients_file, name)
    click.echo(f"{name}: {revoked} certificates revoked")


@client.command("list")
@_config
@_one_line_errors
def client_list(config: Path) -> None:
    """All clients, with the head of the hash of each certificate."""
    from pura_server.credentials import read_clients

    for record in read_clients(_s1(config).clients_file):
        state = "revoked " + _day(record.revoked) if record.revoked is not None else ",".join(sorted(record.may))
        click.echo(f"{record.name:<24} {record.fingerprint[:16]}  since {_day(record.added)}  {state}")


def _s1(path: Path) -> server_config.ServerConfig:
    settings = server_config.load(path)
    if settings.party is not Party.S1:
        raise BadConfig("clients are known to S1 only; this is the configuration of S2")
    return settings


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


@cli.command()
@click.argument("folder", type=_path(folder=True))
@_one_line_errors
def check(folder: Path) -> None:
    """Verify the data FOLDER of a server that is not running, without changing anything.

    Exit status: 0 a server can start on it, 1 it is damaged.
    """
    from pura.store.check import check_folder

    report = check_folder(folder)
    click.echo(f"{report.entries} entries, {report.blocks} blocks")
    if report.prepared:
        click.echo(f"{len(report.prepared)} changes whose outcome the two servers will settle at the next start")
    if report.orphans:
        click.echo(f"{len(report.orphans)} files that a crash left; the next start removes them")
    for problem in report.problems:
        click.echo(f"damaged: {problem}")
    if not report.ok:
        click.get_current_context().exit(NOT_FINE)
    click.echo("fine")


@cli.command()
@click.option("--config", type=_path(), required=True, help="The configuration file of the server to ask.")
@click.option("--insecure", is_flag=True, help="It runs without TLS.")
@_one_line_errors
def health(config: Path, insecure: bool) -> None:
    """Is the server of this machine ready? Exit status 0 when it is, else 1. For probes."""
    from pura_server import health as server_health

    serving = server_health.ask(server_config.load(config), insecure=insecure)
    click.echo("SERVING" if serving else "NOT_SERVING")
    click.get_current_context().exit(0 if serving else NOT_FINE)

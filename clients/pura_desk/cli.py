"""`pura desk`: open a page and an HTTP API on this machine."""

from __future__ import annotations

import contextlib
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import click

from pura.errors import BadConfig, PuraError
from pura_client import config as client_config
from pura_client.cli_common import config_option, told
from pura_client.session import connect
from pura_desk.config import DEFAULT_PORT, LOOPBACK, Listening

DEADLINE_S = 30.0
"""How long a person at the page waits for servers that are away, at most."""
RIGHTS = ("ask", "enrol", "erase", "list")


@click.group(invoke_without_command=True)
@config_option
@click.option("--demo", type=click.Path(path_type=Path, file_okay=False), help="Start the demo's two servers, too.")
@click.option("--host", default=LOOPBACK, show_default=True, help="Where to listen. Beyond this machine: see below.")
@click.option("--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True)
@click.option("--name", "names", multiple=True, help="A host name by which the desk is called, besides its address.")
@click.option("--tokens", type=click.Path(path_type=Path, dir_okay=False), help="The tokens that may use it.")
@click.option("--cert", type=click.Path(path_type=Path, dir_okay=False), help="PEM certificate for TLS.")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="Its private key.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.option("--insecure", is_flag=True, help="No TLS to the server; for a server on this machine only.")
@click.pass_context
def desk(
    context: click.Context,
    config: Path,
    demo: Path | None,
    host: str,
    port: int,
    names: tuple[str, ...],
    tokens: Path | None,
    cert: Path | None,
    key: Path | None,
    open_page: bool,
    insecure: bool,
) -> None:
    """Open a page to enrol, identify and verify, and the same as an HTTP API, on this machine.

    Photos are embedded and encrypted here. Whoever can log in to this machine can use the desk, unless it has --tokens.
    Listening beyond this machine needs --tokens, --cert and --key.
    """
    if context.invoked_subcommand is None:
        try:
            _serve(config, demo, Listening(host, port, names, cert, key, tokens), open_page, insecure)
        except PuraError as error:
            told(error)


def _serve(config: Path, demo: Path | None, listening: Listening, open_page: bool, insecure: bool) -> None:
    listening.check()
    with _extra():
        from pura_desk import running, tokens
        from pura_desk.app import create_app
        from pura_desk.line import Line
    known = tokens.load(listening.tokens) if listening.tokens is not None else tokens.Tokens()
    if listening.tokens is not None and not len(known):
        raise BadConfig(f"there is no token in {listening.tokens}: make one with `pura desk token`")
    with running.until_stopped() as stopped, contextlib.ExitStack() as stack:
        if demo is not None:
            config = stack.enter_context(_demo(demo))
        settings = client_config.load(config)
        settings = settings.model_copy(update={"deadline_s": min(settings.deadline_s, DEADLINE_S)})
        app = create_app(Line(lambda: connect(settings, insecure=insecure)), known, listening, settings.gate)

        def told() -> None:
            click.echo(f"the desk is open: {listening.url()}")
            if open_page:
                webbrowser.open(listening.url())

        running.serve(app, listening, stopped, told)


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    """Imports that need the extra. Raises `BadConfig` where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise BadConfig(f"the desk needs more packages: pip install 'pura-match[desk]' ({error.name})") from error


@contextlib.contextmanager
def _demo(folder: Path) -> Iterator[Path]:
    from pura_client.demo import deployed
    from pura_client.processes import two_servers

    client = deployed(folder, click.echo)
    click.echo("starting two servers")
    with two_servers(folder / "s1" / "s1.toml", folder / "s2" / "s2.toml", client):
        yield client


@desk.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", required=True, help="For whom it is.")
@click.option("--may", multiple=True, type=click.Choice(RIGHTS), required=True, help="A right; once for each.")
def token(file: Path, name: str, may: tuple[str, ...]) -> None:
    """Make a token, put its hash into FILE, and show the token once."""
    try:
        with _extra():
            from pura_desk import tokens
        click.echo(tokens.add(file, name, frozenset(tokens.Right(one) for one in may)))
    except PuraError as error:
        told(error)

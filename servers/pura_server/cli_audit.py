"""`pura-server audit`: reading and checking the audit logs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from pura.ids import Party
from pura_server import audit as log
from pura_server import config as server_config
from pura_server.cli_common import one_line_errors, path_type

NOT_FINE = 1
_SHOWN = 20


@click.group()
def audit() -> None:
    """Who asked what kind of thing when, and whether nobody has changed what the log says of it."""


@audit.command()
@click.option("--config", type=path_type(), required=True, help="The configuration file of this server.")
@click.option("--client", help="Only what this client asked for. S2 does not know clients.")
@click.option("--since", default="", help="Only from this time on, as the log writes it: 2026-05-31T08.")
@one_line_errors
def show(config: Path, client: str | None, since: str) -> None:
    """Print the lines, one operation each. Outcomes are not among them: no server knows them."""
    folder, party = _folder(config)
    for line in log.read(folder, party):
        if line.at >= since and (client is None or line.more.get("client") == client):
            more = " ".join(f"{name}={value}" for name, value in line.more.items())
            click.echo(f"{line.at}  {line.n:8}  {line.number or '-':12}  {line.kind:10}  {more}".rstrip())


@audit.command()
@click.option("--config", type=path_type(), required=True, help="The configuration file of this server.")
@click.option("--head", help="A head that `verify` printed earlier: whether the log still contains it.")
@click.option("--other", type=path_type(folder=True), help="A copy of the other server's audit folder, to compare.")
@one_line_errors
def verify(config: Path, head: str | None, other: Path | None) -> None:
    """Check the chain from its first line to its last; print the last head, to note it where nobody can change it.

    Exit status: 0 all is well; 1 a line is missing that should be there; 2 the chain is broken.
    """
    folder, party = _folder(config)
    lines = list(log.read(folder, party))
    kinds = Counter(line.kind for line in lines)
    click.echo(f"{party.name}: {len(lines)} lines, {lines[0].at} to {lines[-1].at}" if lines else "no lines yet")
    click.echo("  " + ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())))
    if lines and lines[0].n:
        click.echo(f"  {lines[0].n} older lines lay in files that are not there any more")
    fine = True
    if head is not None and head not in (line.head for line in lines):
        fine = False
        click.echo(f"  the head {head} is not in this log: it was written anew, or that line is of a deleted file")
    if other is not None:
        fine &= _compare(lines, party, list(log.read(other, party.other)))
    if lines:
        click.echo(f"  head {lines[-1].head}")
    if not fine:
        click.get_current_context().exit(NOT_FINE)


def _compare(mine: list[log.Line], party: Party, theirs: list[log.Line]) -> bool:
    """Whether nothing reached S2 that S1 did not write down. What S1 has alone did not reach S2."""
    by_party = {party: mine, party.other: theirs}
    only_first, only_second = log.unmatched(by_party[Party.S1], by_party[Party.S2])
    click.echo(f"  {len(only_first)} operations of S1 did not reach S2")
    if only_second:
        click.echo(f"  {len(only_second)} operations that S2 took part in are not in S1's log: " + _few(only_second))
    return not only_second


def _few(numbers: list[str]) -> str:
    return ", ".join(numbers[:_SHOWN]) + (", …" if len(numbers) > _SHOWN else "")


def _folder(config: Path) -> tuple[Path, Party]:
    settings = server_config.load(config)
    return settings.audit_folder, settings.party

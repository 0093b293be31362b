"""`pura-server client` and `pura-server group`: who may use the collection, and how."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from pura.crypto import handover
from pura.crypto.rng import SystemRng
from pura.crypto.sign import VerifyKey
from pura.errors import BadConfig
from pura.files import PUBLIC
from pura.groups import Right
from pura_server import config as server_config
from pura_server.bundles import FIRST_GROUP
from pura_server.cli_common import day, one_line_errors, path_type
from pura_server.credentials import May, add_client, read_clients, revoke_client
from pura_server.groups import MOST_PER_HOUR, PER_HOUR, add_group, read_groups, renew_group
from pura_server.lists import check_name

_config = click.option("--config", type=path_type(), required=True, help="The configuration file of S1.")
_an_hour = click.IntRange(1, MOST_PER_HOUR)


@click.group()
def client() -> None:
    """Who may use this collection. A change counts at once, also on a running server."""


@client.command("add")
@click.argument("name")
@click.option("--config", type=path_type(), help="S1's configuration; without it, only a bundle is made.")
@click.option(
    "--may",
    type=click.Choice([one.value for one in May]),
    multiple=True,
    metavar="RIGHT",
    help="ask; enrol; erase: what it enrolled itself; erase-all: whatever there is. Again for each.  [default: ask]",
)
@click.option("--cert", type=path_type(), help="A certificate that the client has already.")
@click.option("--ca", type=path_type(folder=True), help="Or: make a bundle, with the folder ca that init wrote,")
@click.option("--out", type=path_type(folder=True), help="and put it into this new folder,")
@click.option("--group", default=FIRST_GROUP, show_default=True, help="with the keys of this group of clients.")
@click.option("--request", "asked", type=path_type(), help="Instead of --out: what `pura client-request` wrote,")
@click.option("--bundle", type=path_type(), help="and the sealed bundle to write for it; its certificate goes beside.")
@one_line_errors
def client_add(
    name: str,
    config: Path | None,
    may: tuple[str, ...],
    cert: Path | None,
    ca: Path | None,
    out: Path | None,
    group: str,
    asked: Path | None,
    bundle: Path | None,
) -> None:
    """Make the bundle of a client, let a client in by its certificate, or both.

    With --ca, --request and --bundle the client has made its own key; the bundle is one file that only this client
    opens, so it may go by any way. Compare the code by telephone. On S1, which must not have the folder ca: make the
    bundle elsewhere without --config, then add the client's certificate here with --cert and the same rights. A client
    that is there already gets a further certificate: both count until `client revoke --older`.
    """
    from pura.files import new_files
    from pura_server import authority, bundles, tls

    check_name(name)
    rights = frozenset(map(May, may or (May.ASK,)))
    clients = None if config is None else server_config.load(config).clients_file
    making: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    code = ""
    if cert is not None and ca is None and out is None and asked is None and bundle is None and clients is not None:
        shown = tls.read(cert)
    elif cert is None and ca is not None and out is not None and asked is None and bundle is None:
        signer, common = bundles.read_common(ca)
        keys = bundles.read_group(ca, group)
        made = authority.issue(signer, name)
        shown = made.cert
        making = new_files(out, bundles.bundle_files(common, made.cert, made.key, rights, keys))
    elif cert is None and ca is not None and out is None and asked is not None and bundle is not None:
        signer, common = bundles.read_common(ca)
        keys = bundles.read_group(ca, group)
        request = _client_request(asked, name)
        shown = authority.sign(signer, request.csr, name, server=False)
        inside = bundles.bundle_files(common, shown, None, rights, keys)
        sealed, code = handover.make_bundle(request, {file: body for file, (body, _) in inside.items()}, SystemRng())
        beside = bundle.with_suffix(".crt").name
        making = new_files(bundle.parent, {bundle.name: (sealed, PUBLIC), beside: (shown, PUBLIC)}, mode=0o755)
    else:
        raise BadConfig("give --config and --cert, or --ca and --out, or --ca, --request and --bundle")
    tls.refuse_unfit(shown)
    with making:
        if clients is not None:
            add_client(clients, name, tls.fingerprint(shown), rights)
    words = [one for one in May if one in rights]
    if bundle is not None:
        click.echo(f"{bundle}: for the machine of {name}; only that can open it")
        click.echo(f"code: {code}")
        click.echo("`pura client-join` there prints the same. If it differs, somebody changed a file on its way: let "
                   "nobody in.")  # fmt: skip
    if clients is not None:
        click.echo(f"{name} may {' and '.join(words)}")
    else:
        options = " ".join(f"--may {one}" for one in words)
        its = bundles.CLIENT_CERT if bundle is None else bundle.with_suffix(".crt").name
        if bundle is None:
            click.echo(f"{out}: the bundle of {name}, for its machine")
        click.echo(f"on S1, with its {its}: pura-server client add {name} --config s1.toml --cert {its} {options}")


def _client_request(path: Path, name: str) -> handover.ClientRequest:
    try:
        request = handover.ClientRequest.parse(path.read_text("ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} cannot be read", detail=str(error)) from error
    if request.name != name:
        raise BadConfig(f"{path} is the request of a client that calls itself something else than {name}")
    return request


@client.command("revoke")
@click.argument("name")
@_config
@click.option("--older", is_flag=True, help="Only its older certificates: a newer one has taken their place.")
@one_line_errors
def client_revoke(name: str, config: Path, older: bool) -> None:
    """Shut a client out, with all of its certificates, from the next call on."""
    revoked = revoke_client(server_config.load(config).clients_file, name, older=older)
    click.echo(f"{name}: {revoked} certificates revoked")


@client.command("list")
@_config
@one_line_errors
def client_list(config: Path) -> None:
    """All clients, with the head of the hash of each certificate."""
    for record in read_clients(server_config.load(config).clients_file):
        rights = ",".join(one for one in May if one in record.may)
        state = "revoked " + day(record.revoked) if record.revoked is not None else rights
        click.echo(f"{record.name:<24} {record.fingerprint[:16]}  since {day(record.added)}  {state}")


@click.group()
def group() -> None:
    """Whose signatures S2 takes. Clients of one group are one to S2; a group of one names its client."""


_public = click.option("--public", type=path_type(), help="On S2: the group.json of the group.")
_s2_config = click.option("--config", type=path_type(), help="S2's configuration; without it, only keys are made.")
_ca = click.option(
    "--ca", type=path_type(folder=True), help="Elsewhere: make the keys, in the folder ca that init wrote."
)


@group.command("add")
@click.argument("name")
@_s2_config
@_public
@_ca
@click.option("--questions", type=_an_hour, default=PER_HOUR, show_default=True, help="Questions an hour.")
@click.option("--enrolments", type=_an_hour, default=PER_HOUR, show_default=True, help="Enrolments an hour.")
@click.option("--erasures", type=_an_hour, default=PER_HOUR, show_default=True, help="Erased entries an hour.")
@one_line_errors
def group_add(
    name: str, config: Path | None, public: Path | None, ca: Path | None, questions: int, enrolments: int, erasures: int
) -> None:
    """Make the keys of a group of clients, let S2 take them, or both.

    On S2, which must not have the folder ca: make the keys elsewhere without --config, then add the group.json that
    lies beside them here with --public. Keys that the group has already go on counting; adding them again changes
    their rates.
    """
    from pura.files import new_files
    from pura_server import bundles

    check_name(name)
    groups = None if config is None else server_config.load(config).groups_file
    making: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if ca is not None and public is None:
        bundles.read_common(ca)
        fresh = bundles.new_group(SystemRng())
        making = new_files(ca, bundles.group_files(name, fresh))
        halves = {right: key.public for right, key in fresh.items()}
    elif ca is None and public is not None and groups is not None:
        halves = _halves(name, public)
    else:
        raise BadConfig("give --config and --public, or --ca")
    rates = {Right.ASK: questions, Right.ENROL: enrolments, Right.ERASE: erasures}
    with making:
        if groups is not None:
            add_group(groups, name, halves, rates)
    if ca is not None:
        _tell_keys(ca, name)
    if groups is not None:
        click.echo(f"{name}: {questions} questions, {enrolments} enrolments and {erasures} erasures an hour")


@group.command("renew")
@click.argument("name")
@_s2_config
@_public
@_ca
@one_line_errors
def group_renew(name: str, config: Path | None, public: Path | None, ca: Path | None) -> None:
    """Give a group new keys, after one of its clients was lost; or let S2 take no others any more.

    Without --config, in the folder ca: new keys in the place of the old ones, for the bundles of the clients that stay.
    On S2: `group add --public` to take the new ones too, and when all clients have them, this, to take no older ones.
    """
    from pura_server import bundles

    check_name(name)
    groups = None if config is None else server_config.load(config).groups_file
    if ca is not None and public is None:
        bundles.read_group(ca, name)
        fresh = bundles.new_group(SystemRng())
        halves = {right: key.public for right, key in fresh.items()}
        if groups is not None:
            renew_group(groups, name, halves)
        bundles.replace_group(ca, name, fresh)
        _tell_keys(ca, name)
    elif ca is None and public is not None and groups is not None:
        old = renew_group(groups, name, _halves(name, public))
        click.echo(f"{name}: {old} older keys do not count any more")
    else:
        raise BadConfig("give --config and --public, or --ca")


@group.command("list")
@click.option("--config", type=path_type(), required=True, help="The configuration file of S2.")
@one_line_errors
def group_list(config: Path) -> None:
    """All groups: the head of each key, its right, and how often it counts in an hour."""
    for key in read_groups(server_config.load(config).groups_file):
        click.echo(f"{key.name:<24} {key.id.hex()}  since {day(key.added)}  {key.right:<5}  {key.per_hour} an hour")


def _halves(name: str, public: Path) -> dict[Right, VerifyKey]:
    from pura_server import bundles

    called, halves = bundles.read_public_group(public)
    if called != name:
        raise BadConfig(f"{public} is of the group {called}")
    return halves


def _tell_keys(ca: Path, name: str) -> None:
    from pura_server import bundles

    folder = ca / bundles.GROUPS / name
    click.echo(f"{folder}: the group's keys, for the bundles of its clients; {bundles.GROUP_PUBLIC} there is for S2")

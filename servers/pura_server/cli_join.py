"""`pura-server request`, `join` and `ca`: two operators join their servers without carrying a secret."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pura.crypto import vault
from pura.crypto.keys import PUBLIC_NAME, SHARE_NAMES, load_public, load_share
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import SystemRng
from pura.crypto.sign import SigningKey
from pura.errors import BadConfig, StorageFull, WrongKey
from pura.files import PRIVATE, PUBLIC, new_files, replace_file, write_new
from pura.ids import Engine, Party
from pura_server.authority import CERT_DAYS
from pura_server.cli_collection import budget_from, budget_options, collection_from, collection_options, tell_budget
from pura_server.cli_common import one_line_errors, path_type
from pura_server.lists import check_name

if TYPE_CHECKING:
    from pura_server.joining import ServerRequest

PORTS = {Party.S1: 7701, Party.S2: 7702}

_folder = click.argument("folder", type=path_type(folder=True))
_days = click.option(
    "--days", type=click.IntRange(1, CERT_DAYS), default=CERT_DAYS, show_default=True, help="How long it is valid."
)


@click.command()
@_folder
@click.option("--host", help="Host name or address at which this server is reached.")
@click.option("--port", type=click.IntRange(1, 65535), help="And the port.  [default: 7701 for S1, 7702 for S2]")
@click.option("--cert", type=path_type(), help="Later: the certificate that somebody signed for the request there.")
@_days
@collection_options
@one_line_errors
def request(folder: Path, host: str | None, port: int | None, cert: Path | None, days: int, **collection: Any) -> None:
    """Make one server's own keys in FOLDER, and the small file for the other operator: s1.request or s2.request.

    FOLDER holds public.key and this server's share. The file has no secret in it. The certificate is signed by its own
    key; to have it signed by an authority, bring s1.csr or s2.csr there and name the answer with --cert. On S1 the
    options of the collection count for both servers.
    """
    from pura_server import authority, joining, tls
    from pura_server.deploy import SIGN_NAME, names_of
    from pura_server.hosts import host_of

    pk = load_public(folder / PUBLIC_NAME)
    party = _own_share(folder, pk)
    name = party.name.lower()
    if cert is not None:
        old = _read_request(folder / f"{name}.request")
        pem = tls.read(cert)
        tls.refuse_unfit(pem)
        if not authority.fits(pem, tls.read(folder / f"{name}.key")):
            raise BadConfig(f"{cert} is not for the key in {folder / f'{name}.key'}")
        fresh = joining.ServerRequest(party, pk.key_id, pem, old.host, old.port, old.collection, old.sign_key)
        _replace(folder / f"{name}.crt", pem)
        _replace(folder / f"{name}.request", fresh.dump())
        click.echo(f"{folder / f'{name}.request'}: with this certificate, for the other operator")
        return
    if host is None:
        raise BadConfig("--host is missing: where the other machines reach this server")
    where = host_of(host)
    said, chosen = "", None
    if party is Party.S1:
        chosen, said = collection_from(pk.engine, **collection)
        chosen.params(pk)
    sign = SigningKey.new(SystemRng()) if party is Party.S2 and pk.engine is not Engine.PUBLISHED else None
    key, csr, pem = joining.new_certificate(party, names_of(where), days)
    made = joining.ServerRequest(
        party, pk.key_id, pem, where, port or PORTS[party], chosen, None if sign is None else sign.public
    )
    files = {
        f"{name}.key": (key, PRIVATE),
        f"{name}.csr": (csr, PUBLIC),
        f"{name}.crt": (pem, PUBLIC),
        f"{name}.request": (made.dump(), PUBLIC),
    }
    if sign is not None:
        files[SIGN_NAME] = sign.dump(), PRIVATE
    write_new(folder, files)
    click.echo(said, nl=bool(said))
    click.echo(f"{folder / f'{name}.request'}: for the operator of {party.other.name}; it holds no secret")
    click.echo(f"{folder / f'{name}.csr'}: if an authority is to sign the certificate; then again with --cert")


@click.command()
@_folder
@click.option("--peer", type=path_type(), required=True, help="The other operator's file, s1.request or s2.request.")
@click.option("--clients-ca", type=path_type(), help="On S1: the certificate of the authority of the clients.")
@budget_options
@one_line_errors
def join(folder: Path, peer: Path, clients_ca: Path | None, questions_a_day: int | None, enrolments_a_day: int) -> None:
    """Take the other operator's file, write this server's configuration, and print the code that both compare.

    FOLDER is the one that `request` was given. Compare the code by telephone, with somebody whose voice you know,
    before the server is started: it covers both certificates, where both are reached, all parameters, the key, and the
    key that S2 signs with.
    """
    from pura_server import joining, tls
    from pura_server.deploy import CLIENTS_CA

    pk = load_public(folder / PUBLIC_NAME)
    party = _own_share(folder, pk)
    name = party.name.lower()
    both = joining.joined(_read_request(folder / f"{name}.request"), _read_request(peer), pk)
    budget, authority_pem = None, None
    if party is Party.S1:
        if clients_ca is not None:
            authority_pem = tls.read(clients_ca)
            tls.fingerprint(authority_pem)
        elif not (folder / CLIENTS_CA).exists():
            raise BadConfig("--clients-ca is missing: S1 must know who signs its clients' certificates")
        budget = budget_from(questions_a_day, enrolments_a_day)
    elif clients_ca is not None:
        raise BadConfig("--clients-ca is for S1: S2 meets no client")
    config = folder / f"{name}.toml"
    with new_files(folder, joining.server_files(both, party, budget, authority_pem)):
        code = both.code()
    chosen = both.collection
    click.echo(f"{config}: engine {chosen.engine}, {chosen.dimension} numbers of {chosen.embedder}")
    matches = f"a cosine of {chosen.threshold}" if chosen.threshold is not None else f"a distance of {chosen.tau}"
    click.echo(f"  what matches: {matches}; key {pk.key_id.hex()}; S1 at {both.hosts.of(Party.S1)}, "
               f"S2 at {both.hosts.of(Party.S2)}")  # fmt: skip
    if budget is not None:
        tell_budget(budget, config)
    click.echo(f"code: {code}")
    click.echo(f"Compare it by telephone with the operator of {party.other.name}. If it differs, somebody changed a "
               "file on its way: do not start.")  # fmt: skip


@click.group()
def ca() -> None:
    """The organisation's folder: what signs clients' certificates and makes their bundles. Keep it off the servers."""


@ca.command("new")
@click.option("--out", type=path_type(folder=True), required=True, help="The folder to make.")
@click.option("--name", default="Pura clients", show_default=True, help="What the authority is called.")
@one_line_errors
def ca_new(out: Path, name: str) -> None:
    """Make the folder: an authority for clients' certificates, and the keys of a first group of clients.

    Into it belong, when the servers are joined, public.key and the client.toml that `join` wrote on S1.
    """
    from pura_server import authority, bundles

    made = authority.make_ca(name)
    group = bundles.new_group(SystemRng())
    files = {bundles.CA_CERT: (made.cert, PUBLIC), bundles.CA_KEY: (made.key, PRIVATE)}
    write_new(out, files | bundles.group_files(bundles.FIRST_GROUP, group))
    click.echo(f"{out / bundles.CA_CERT}: for S1, as --clients-ca")
    click.echo(f"{out / bundles.GROUPS / bundles.FIRST_GROUP / bundles.GROUP_PUBLIC}: for S2, with `group add`")


@ca.command("sign")
@click.argument("csr", type=path_type())
@click.option("--ca", "folder", type=path_type(folder=True), required=True, help="The organisation's folder.")
@click.option("--name", required=True, help="Of the server: s1 or s2.")
@click.option("--out", type=path_type(), required=True, help="The certificate to write.")
@_days
@one_line_errors
def ca_sign(csr: Path, folder: Path, name: str, out: Path, days: int) -> None:
    """Sign a server's request for a certificate, for the hosts that it names."""
    from pura_server import authority, bundles, tls

    check_name(name)
    pem = authority.sign(bundles.read_authority(folder), tls.read(csr), name, server=True, days=days)
    write_new(out.parent, {out.name: (pem, PUBLIC)})
    click.echo(f"{out}: {', '.join(tls.names_in(out))}")


def _own_share(folder: Path, pk: PublicKey) -> Party:
    """Whose folder this is, by the share in it; a sealed one stays sealed. Raises `BadConfig`, `WrongKey`."""
    found = [party for party, name in SHARE_NAMES.items() if (folder / name).exists()]
    if len(found) != 1:
        raise BadConfig(f"{folder} must hold {PUBLIC_NAME} and one server's share, {' or '.join(SHARE_NAMES.values())}")
    path = folder / SHARE_NAMES[found[0]]
    said = vault.about(path)
    if said is None:
        load_share(path, pk, found[0])
    elif (said.get("party"), said.get("key_id")) != (found[0].name, pk.key_id.hex()):
        raise WrongKey(f"{path.name} is not the share of {found[0].name} of this public key")
    return found[0]


def _read_request(path: Path) -> ServerRequest:
    from pura_server import joining

    try:
        return joining.parse(path.read_text("ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} cannot be read", detail=str(error)) from error
    except BadConfig as error:
        raise BadConfig(f"{path}: {error}") from error


def _replace(path: Path, body: bytes) -> None:
    try:
        replace_file(path, body, PUBLIC)
    except OSError as error:
        raise StorageFull(f"{path} could not be written ({error.strerror})", detail=str(error)) from error

"""`pura-server renew`: a server's certificate is replaced while both servers run."""

from __future__ import annotations

from pathlib import Path

import click

from pura.errors import BadConfig, StorageFull
from pura.files import PRIVATE, PUBLIC, replace_file
from pura_server import config as server_config
from pura_server.authority import CERT_DAYS
from pura_server.cli_common import one_line_errors, path_type


@click.command()
@click.option("--config", type=path_type(), required=True, help="The configuration file of this server.")
@click.option("--cert", type=path_type(), help="Of the next key: the certificate that somebody signed for its request.")
@click.option("--accept", type=path_type(), help="What the other operator's `renew` wrote: take both from now on.")
@click.option("--use", is_flag=True, help="Use the next key and certificate from now on; the other server takes both.")
@click.option("--prune", is_flag=True, help="Take none of the other server's older certificates any more.")
@click.option("--days", type=click.IntRange(1, CERT_DAYS), default=CERT_DAYS, show_default=True, help="How long the "
              "next certificate is valid.")  # fmt: skip
@one_line_errors
def renew(config: Path, cert: Path | None, accept: Path | None, use: bool, prune: bool, days: int) -> None:
    """Replace this server's certificate, without a stop and without a gap, in four steps.

    1. Here, without an option: make the next key and certificate. If an authority is to sign it, bring the request
    s1.next.csr there, and give the answer by --cert. 2. The other operator gives the file s1.renewal to --accept: the
    old key vouches for the new certificate. 3. Here, --use. 4. The other operator, --prune. Both servers see changed
    files by themselves; what is open goes on.
    """
    if (cert is not None) + (accept is not None) + use + prune > 1:
        raise BadConfig("give one of --cert, --accept, --use and --prune")
    settings = server_config.load(config)
    if accept is not None:
        _accept(settings, accept)
    elif prune:
        _prune(settings)
    elif use:
        _use(settings)
    else:
        _next(settings, cert, days)


def _next(settings: server_config.ServerConfig, cert: Path | None, days: int) -> None:
    from pura_server import authority, joining, renewals, tls

    own = settings.require_tls()
    key, pem, csr, told = _places(settings)
    if cert is not None:
        signed = tls.read(cert)
        tls.refuse_unfit(signed)
        if not authority.fits(signed, tls.read(key)):
            raise BadConfig(f"{cert} is not for the key in {key}")
    else:
        fresh, request, signed = joining.new_certificate(settings.party, tls.hosts_of(own.cert), days)
        _write(key, fresh, PRIVATE)
        _write(csr, request, PUBLIC)
    _write(pem, signed, PUBLIC)
    _write(told, renewals.vouch(signed, tls.read(own.key)), PUBLIC)
    click.echo(f"{told}: for the other operator, to --accept; then here: --use")
    if cert is None:
        click.echo(f"{csr}: if an authority is to sign the certificate; then first again with --cert")


def _accept(settings: server_config.ServerConfig, path: Path) -> None:
    from pura_server import renewals, tls

    pinned = _pinned(settings)
    try:
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} cannot be read", detail=str(error)) from error
    fresh = renewals.vouched(text, pinned)
    if tls.fingerprint(fresh) not in tls.pinned(pinned):
        _write(pinned, tls.read(pinned).rstrip() + b"\n" + fresh, PUBLIC)
    click.echo(f"{pinned}: {len(tls.pinned(pinned))} certificates are taken from now on; now there: --use")


def _prune(settings: server_config.ServerConfig) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    from pura_server import tls

    pinned = _pinned(settings)
    there = tls.certificates(pinned)
    if len(there) > 1:
        _write(pinned, there[-1].public_bytes(Encoding.PEM), PUBLIC)
    click.echo(f"{pinned}: {len(there) - 1} older certificates are not taken any more")


def _use(settings: server_config.ServerConfig) -> None:
    from pura_server import authority, tls

    own = settings.require_tls()
    key, pem, csr, told = _places(settings)
    fresh_key, fresh = tls.read(key), tls.read(pem)
    tls.refuse_unfit(fresh)
    if not authority.fits(fresh, fresh_key):
        raise BadConfig(f"{pem} is not for the key in {key}")
    _write(own.key, fresh_key, PRIVATE)  # a server that looks now finds two that do not fit, and looks again
    _write(own.cert, fresh, PUBLIC)
    for path in (key, pem, csr, told):
        path.unlink(missing_ok=True)
    click.echo(f"{own.cert}: used for every connection that is opened from now on; now there: --prune")


def _places(settings: server_config.ServerConfig) -> tuple[Path, Path, Path, Path]:
    """The next private key, certificate and request, and the file for the other operator."""
    own = settings.require_tls()
    name = own.cert.with_suffix("")
    return (
        own.key.with_name(f"{own.key.stem}.next{own.key.suffix}"),
        own.cert.with_name(f"{own.cert.stem}.next{own.cert.suffix}"),
        name.with_suffix(".next.csr"),
        name.with_suffix(".renewal"),
    )


def _pinned(settings: server_config.ServerConfig) -> Path:
    settings.require_tls()
    assert settings.peer.certificate is not None
    return settings.peer.certificate


def _write(path: Path, body: bytes, mode: int) -> None:
    try:
        replace_file(path, body, mode)
    except OSError as error:
        raise StorageFull(f"{path} could not be written ({error.strerror})", detail=str(error)) from error

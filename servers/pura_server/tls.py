"""Who is at the other end of a connection: mTLS between all, the other server pinned to the very certificate.

A pinned certificate is the only root that its side of a connection trusts, so that no authority can make another one.
"""

from __future__ import annotations

import datetime
import hashlib
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pura.crypto.pem import private_key
from pura.errors import BadConfig, NotAuthorised, PeerRefused
from pura.ids import Fingerprint, Party
from pura.transport import reach
from pura_server import authority
from pura_server.config import ServerConfig
from pura_server.remade import Remade

T = TypeVar("T")

SHOWN_DIGITS = 16
"""How many digits of a fingerprint logs show."""

SHOWN: ContextVar[Fingerprint | None] = ContextVar("SHOWN", default=None)
"""What the caller of this call showed at the door, behind which gRPC sees no TLS."""

_DIAGNOSIS_S = 3.0
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which Python's ssl has no name for."""


def fingerprint(pem: bytes) -> Fingerprint:
    """The fingerprint of one certificate in PEM. Raises `BadConfig`."""
    return Fingerprint(hashlib.sha256(_parsed(pem).public_bytes(Encoding.DER)).hexdigest())


def _parsed(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise BadConfig("this is not a certificate") from error


def read(path: Path) -> bytes:
    """The bytes of a certificate or key file. Raises `BadConfig` that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadConfig(f"{path.name} cannot be read", detail=str(error)) from error


def pinned(path: Path) -> frozenset[Fingerprint]:
    """The fingerprints of all certificates in a PEM file. Raises `BadConfig`."""
    return frozenset(
        Fingerprint(hashlib.sha256(cert.public_bytes(Encoding.DER)).hexdigest()) for cert in certificates(path)
    )


def expiry(path: Path) -> float:
    """When the last of the certificates in a file ends, by which the others have been replaced: seconds since 1970."""
    return max(cert.not_valid_after_utc.timestamp() for cert in certificates(path))


def ends(config: ServerConfig) -> dict[str, Callable[[], float]]:
    """When this server's own certificate and the pinned one end, as of now. Raises `BadConfig`."""
    if config.tls is None or config.peer.certificate is None:
        return {}
    own, pinned = config.tls.cert, config.peer.certificate
    return {"own": Remade([own], lambda: expiry(own)), "peer": Remade([pinned], lambda: expiry(pinned))}


def certificates(path: Path) -> list[x509.Certificate]:
    """All certificates in a PEM file. Raises `BadConfig`."""
    try:
        return x509.load_pem_x509_certificates(read(path))
    except ValueError as error:
        raise BadConfig(f"{path.name} holds no certificate") from error


def remade(config: ServerConfig, make: Callable[[], T]) -> Remade[T]:
    """What is made from this server's certificate and key and the pinned one, as they are by then. Raises what `make`
    raises now."""
    tls = config.require_tls()
    files = (tls.cert, tls.key, tls.clients_ca, config.peer.certificate)
    return Remade([path for path in files if path is not None], make)


def refuse_misfits(cert: Path, key: Path) -> None:
    """Raises `BadConfig` unless these are a certificate and its private key."""
    try:
        private = private_key(read(key))
    except ValueError as error:
        raise BadConfig(f"{key.name} is not a private key") from error
    if certificates(cert)[0].public_key() != private.public_key():
        raise BadConfig("the tls files do not fit each other")


def door_context(config: ServerConfig) -> ssl.SSLContext:
    """Who gets through the handshake of a server's door: at S1 whom its clients' authority signed, at S2 the pinned S1,
    at both the server itself, for health checks.

    S1 does not check dates here: an expired certificate is turned away by the door, which can say whose it is. Raises
    `BadConfig`.
    """
    tls = config.require_tls()
    trusted = tls.clients_ca if config.party is Party.S1 else config.peer.certificate
    assert trusted is not None
    if config.party is Party.S2:
        refuse_authorities(trusted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if config.party is Party.S1:
        context.verify_flags |= _NO_CHECK_TIME
    context.set_alpn_protocols(["h2"])
    for path in (tls.cert, tls.key, trusted):
        read(path)  # names the one that is missing
    try:
        context.load_cert_chain(tls.cert, tls.key)
        for path in (trusted, tls.cert):
            context.load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise BadConfig("the tls files do not fit each other", detail=str(error)) from error
    return context


def peer_credentials(config: ServerConfig) -> tuple[grpc.ChannelCredentials, str]:
    """S1's side towards S2: credentials, and the name to expect, taken from the pinned certificate itself."""
    tls = config.require_tls()
    assert config.peer.certificate is not None
    refuse_authorities(config.peer.certificate)
    refuse_misfits(tls.cert, tls.key)
    credentials = grpc.ssl_channel_credentials(read(config.peer.certificate), read(tls.key), read(tls.cert))
    return credentials, name_in(config.peer.certificate)


def own_credentials(config: ServerConfig) -> tuple[grpc.ChannelCredentials, str]:
    """For asking this server itself about its health."""
    tls = config.require_tls()
    return grpc.ssl_channel_credentials(read(tls.cert), read(tls.key), read(tls.cert)), name_in(tls.cert)


def refuse_authorities(path: Path) -> None:
    """Raises `BadConfig` when a pinned certificate is an authority's: whatever it signed would be let in."""
    if any(_is_authority(cert) for cert in certificates(path)):
        raise BadConfig(f"{path.name} is the certificate of an authority; pin the other server's own")


def _is_authority(cert: x509.Certificate) -> bool:
    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def refuse_unfit(pem: bytes, now: datetime.datetime | None = None) -> None:
    """Raises `BadConfig` that says why, for a certificate with which no client could connect, or too many could."""
    cert = _parsed(pem)
    now = now or datetime.datetime.now(datetime.UTC)
    if _is_authority(cert):
        raise BadConfig("this is the certificate of an authority; a client's own is needed")
    if cert.not_valid_after_utc < now:
        raise BadConfig(f"this certificate expired on {cert.not_valid_after_utc:%Y-%m-%d}; the client needs a new one")
    if cert.not_valid_before_utc > now:
        raise BadConfig(
            f"this certificate is not valid before {cert.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; compare the clocks"
        )


def hosts_of(path: Path) -> list[str]:
    """The hosts and addresses in a certificate, for the next one of the same server. Raises `BadConfig`."""
    return [host for host in authority.hosts_in(certificates(path)[0]) if not host.endswith(".pura.invalid")]


def names_in(path: Path) -> list[str]:
    """The host names that a certificate is made for, or else the addresses. Raises `BadConfig` when there is none."""
    cert = certificates(path)[0]
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise BadConfig(f"{path.name} names no host") from error
    found = names.get_values_for_type(x509.DNSName) or [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
    if not found:
        raise BadConfig(f"{path.name} names no host")
    return found


def name_in(path: Path) -> str:
    """One of `names_in`. Raises `BadConfig`."""
    return names_in(path)[-1]


def caller() -> Fingerprint:
    """The fingerprint of the certificate that a caller showed. Raises `NotAuthorised`."""
    shown = SHOWN.get()
    if shown is None:
        raise NotAuthorised(detail="no certificate")
    return shown


def diagnose(config: ServerConfig) -> PeerRefused | None:
    """Why S2 cannot be spoken to, if that is because of a certificate: gRPC does not tell. Blocks for some seconds."""
    tls = config.require_tls()
    assert config.peer.certificate is not None
    assert config.peer.address is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    refused = PeerRefused("the other server does not accept this server's certificate")
    try:
        context.load_verify_locations(cafile=str(config.peer.certificate))
        context.load_cert_chain(str(tls.cert), str(tls.key))
        said = reach.first_words(config.peer.address, context, None, _DIAGNOSIS_S)
        # a connection that just ends may be cut, or S2's last moment
        return refused if isinstance(reach.reason_in(said), NotAuthorised) else None
    except ssl.SSLCertVerificationError as error:
        return PeerRefused("the other server did not show the pinned certificate", detail=error.verify_message)
    except ssl.SSLError as error:
        return refused if "ALERT" in (error.reason or "") else None
    except OSError:
        return None

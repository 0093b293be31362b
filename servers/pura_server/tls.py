"""Who is at the other end of a connection: mTLS between all, the other server pinned to the very certificate.

A pinned certificate is the only root that its side of a connection trusts, so that no authority can make another one.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from pathlib import Path
from typing import Any, NewType

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pura.errors import BadConfig, NotAuthorised, PeerRefused
from pura_server.config import ServerConfig

Fingerprint = NewType("Fingerprint", str)
"""SHA-256 of a certificate, 64 hexadecimal digits."""

_DIAGNOSIS_S = 3.0


def fingerprint(pem: bytes) -> Fingerprint:
    """The fingerprint of one certificate in PEM. Raises `BadConfig`."""
    try:
        cert = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise BadConfig("this is not a certificate") from error
    return Fingerprint(hashlib.sha256(cert.public_bytes(Encoding.DER)).hexdigest())


def read(path: Path) -> bytes:
    """The bytes of a certificate or key file. Raises `BadConfig` that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadConfig(f"{path.name} cannot be read", detail=str(error)) from error


def pinned(path: Path) -> frozenset[Fingerprint]:
    """The fingerprints of all certificates in a PEM file. Raises `BadConfig`."""
    return frozenset(
        Fingerprint(hashlib.sha256(cert.public_bytes(Encoding.DER)).hexdigest()) for cert in _certificates(path)
    )


def expiry(path: Path) -> float:
    """When the first of the certificates in a file ends: seconds since 1970."""
    return min(cert.not_valid_after_utc.timestamp() for cert in _certificates(path))


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(read(path))
    except ValueError as error:
        raise BadConfig(f"{path.name} holds no certificate") from error


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials:
    """What a server shows and whom it lets in: S1 its clients' authority, S2 the pinned S1; both themselves, for health
    checks. Raises `BadConfig`."""
    tls = config.require_tls()
    roots = tls.clients_ca or config.peer.certificate
    assert roots is not None
    _certificates(tls.cert)
    if config.peer.certificate is not None:
        refuse_authorities(config.peer.certificate)
    own = read(tls.cert)
    try:
        return grpc.ssl_server_credentials([(read(tls.key), own)], read(roots) + b"\n" + own, require_client_auth=True)
    except ValueError as error:
        raise BadConfig("the tls files do not fit each other") from error


def peer_credentials(config: ServerConfig) -> tuple[grpc.ChannelCredentials, str]:
    """S1's side towards S2: credentials, and the name to expect, taken from the pinned certificate itself."""
    tls = config.require_tls()
    assert config.peer.certificate is not None
    credentials = grpc.ssl_channel_credentials(read(config.peer.certificate), read(tls.key), read(tls.cert))
    return credentials, name_in(config.peer.certificate)


def own_credentials(config: ServerConfig) -> tuple[grpc.ChannelCredentials, str]:
    """For asking this server itself about its health."""
    tls = config.require_tls()
    return grpc.ssl_channel_credentials(read(tls.cert), read(tls.key), read(tls.cert)), name_in(tls.cert)


def refuse_authorities(path: Path) -> None:
    """Raises `BadConfig` when a pinned certificate is an authority's: whatever it signed would be let in."""
    for cert in _certificates(path):
        try:
            constraints = cert.extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            continue
        if constraints.ca:
            raise BadConfig(f"{path.name} is the certificate of an authority; pin the other server's own")


def name_in(path: Path) -> str:
    """A host name that a certificate is made for. Raises `BadConfig` when there is none."""
    cert = _certificates(path)[0]
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise BadConfig(f"{path.name} names no host") from error
    found = names.get_values_for_type(x509.DNSName) or [str(ip) for ip in names.get_values_for_type(x509.IPAddress)]
    if not found:
        raise BadConfig(f"{path.name} names no host")
    return found[-1]


def caller(context: grpc.aio.ServicerContext[Any, Any]) -> Fingerprint:
    """The fingerprint of the certificate that a caller showed. Raises `NotAuthorised`."""
    shown = context.auth_context().get("x509_pem_cert")
    if not shown:
        raise NotAuthorised(detail="no certificate")
    return fingerprint(bytes(next(iter(shown))))


def diagnose(config: ServerConfig) -> PeerRefused | None:
    """Why S2 cannot be spoken to, if that is because of a certificate: gRPC does not tell. Blocks for some seconds."""
    tls = config.require_tls()
    assert config.peer.certificate is not None
    assert config.peer.address is not None
    host, _, port = config.peer.address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    refused = PeerRefused("the other server does not accept this server's certificate")
    try:
        context.load_verify_locations(cafile=str(config.peer.certificate))
        context.load_cert_chain(str(tls.cert), str(tls.key))
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_DIAGNOSIS_S) as raw,
            context.wrap_socket(raw) as secured,
        ):
            secured.settimeout(_DIAGNOSIS_S)
            # in TLS 1.3 a client's certificate is judged after the handshake; an HTTP/2 server speaks first
            try:
                return refused if not secured.recv(1) else None
            except (ssl.SSLError, ConnectionError):
                return refused
    except ssl.SSLCertVerificationError as error:
        return PeerRefused("the other server did not show the pinned certificate", detail=error.verify_message)
    except OSError:
        return None

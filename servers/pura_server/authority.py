"""Certificates of small deployments: a private CA and what it signs, requests to be signed, and certificates that
nobody signed but their own key, which is enough where the very certificate is pinned.

A deployment with a PKI of its own needs nothing of this: a server takes any certificate files.
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes, CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pura.crypto.pem import private_key
from pura.errors import BadConfig

CA_DAYS = 3650
CERT_DAYS = 825
_PEM = serialization.Encoding.PEM
_CLOCK_SKEW = datetime.timedelta(hours=1)


@dataclasses.dataclass(frozen=True, repr=False)
class Credential:
    """A certificate and its private key, as the texts of PEM files. Never printed."""

    cert: bytes
    key: bytes


def make_ca(name: str) -> Credential:
    """A self-signed authority that may sign end certificates only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    cert = (
        _builder(subject, subject, key.public_key(), CA_DAYS, _by(key.public_key()))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Credential(cert.public_bytes(serialization.Encoding.PEM), _dump(key))


def issue(ca: Credential, name: str, hosts: Sequence[str] = ()) -> Credential:
    """A certificate for one end of a connection. A server's names its hosts; a client's none.

    Raises `BadConfig` when the authority's files are not a certificate and its key.
    """
    key = new_key()
    return Credential(sign(ca, request(key, name, hosts), name, server=bool(hosts)), key)


def new_key() -> bytes:
    """A private key, as the text of a PEM file."""
    return _dump(ec.generate_private_key(ec.SECP256R1()))


def request(key: bytes, name: str, hosts: Sequence[str] = ()) -> bytes:
    """A request for a certificate (CSR, PEM) for a key of `new_key`, signed by that key."""
    made = x509.CertificateSigningRequestBuilder().subject_name(_name(name))
    names = x509.SubjectAlternativeName([_host(host) for host in (*hosts, _own_name(name))])
    return made.add_extension(names, critical=False).sign(_load(key), hashes.SHA256()).public_bytes(_PEM)


def self_signed(key: bytes, name: str, hosts: Sequence[str], days: int = CERT_DAYS) -> bytes:
    """A server's certificate that its own key signs: for whoever pins this very certificate."""
    own = _load(key)
    public = own.public_key()
    builder = _end(_name(name), _name(name), public, (*hosts, _own_name(name)), days, _by(public), server=True)
    return builder.sign(own, hashes.SHA256()).public_bytes(_PEM)


def sign(ca: Credential, csr: bytes, name: str, *, server: bool, days: int = CERT_DAYS) -> bytes:
    """The certificate for a request, under the name that the authority has for it. A server's keeps the hosts that it
    asks for; of a client's request only the key is taken.

    Raises `BadConfig` when the authority's files are not a certificate and its key, or this is no request that the key
    in it signed.
    """
    try:
        authority = x509.load_pem_x509_certificate(ca.cert)
        ca_key = private_key(ca.key)
    except (ValueError, TypeError) as error:
        raise BadConfig("the authority's files are not a certificate and its private key") from error
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise BadConfig("the authority's key is not of the kind that this command makes")
    asked, key = _parsed(csr)
    hosts = hosts_in(asked) if server else ()
    if server and not hosts:
        raise BadConfig("this request names no host; a server's does")
    names = tuple(dict.fromkeys((*hosts, _own_name(name))))
    builder = _end(_name(name), authority.subject, key, names, days, _by_authority(authority), server=server)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(_PEM)


def hosts_in(shown: x509.CertificateSigningRequest | x509.Certificate) -> tuple[str, ...]:
    """The hosts and addresses that a request or a certificate names."""
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))


def fits(cert: bytes, key: bytes) -> bool:
    """Whether a certificate is for this private key. Raises `BadConfig` for what is neither."""
    try:
        shown = x509.load_pem_x509_certificate(cert).public_key()
    except ValueError as error:
        raise BadConfig("this is not a certificate") from error
    return shown == _load(key).public_key()


def _parsed(csr: bytes) -> tuple[x509.CertificateSigningRequest, CertificatePublicKeyTypes]:
    try:
        asked = x509.load_pem_x509_csr(csr)
        key = asked.public_key()
        good = asked.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadConfig("this is not a request for a certificate") from error
    if not good or not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise BadConfig("this request is not signed by the key in it, or its key is of an unknown kind")
    return asked, key


def _end(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    names: Sequence[str],
    days: int,
    by: x509.AuthorityKeyIdentifier,
    *,
    server: bool,
) -> x509.CertificateBuilder:
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if server:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    return (
        _builder(subject, issuer, key, days, by)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in names]), critical=False)
    )


def _own_name(name: str) -> str:
    """A name that no host has: by it the other server expects this one, wherever it is reached."""
    return f"{name}.pura.invalid"


def _load(key: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        loaded = private_key(key)
    except (ValueError, TypeError) as error:
        raise BadConfig("this is not a private key in PEM form") from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise BadConfig("this private key is not of the kind that this command makes")
    return loaded


def _name(name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Pura"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, days: int, by: x509.AuthorityKeyIdentifier
) -> x509.CertificateBuilder:
    """With the identifiers of both keys, which RFC 5280 asks for, and Python from 3.13 on."""
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(by, critical=False)
    )


def _dump(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _by(key: CertificateIssuerPublicKeyTypes) -> x509.AuthorityKeyIdentifier:
    """Whose key signs, where that is no other certificate's."""
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _by_authority(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Whose key signs; by the authority's own word for it if it has one."""
    try:
        said = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return _by(authority.public_key())  # type: ignore[arg-type]  # it signs, so its key can
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(said)

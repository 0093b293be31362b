"""Certificates for development and small deployments: a private CA, and what it signs.

A deployment with a PKI of its own needs nothing of this: a server takes any certificate files.
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pura.errors import BadConfig

CA_DAYS = 3650
CERT_DAYS = 825
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
        _builder(subject, subject, key, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Credential(cert.public_bytes(serialization.Encoding.PEM), _dump(key))


def issue(ca: Credential, name: str, hosts: Sequence[str] = ()) -> Credential:
    """A certificate for one end of a connection. A server's names its hosts; a client's none.

    Raises `BadConfig` when the authority's files are not a certificate and its key.
    """
    try:
        authority = x509.load_pem_x509_certificate(ca.cert)
        ca_key = serialization.load_pem_private_key(ca.key, None)
    except (ValueError, TypeError) as error:
        raise BadConfig("the authority's files are not a certificate and its private key") from error
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise BadConfig("the authority's key is not of the kind that this command makes")
    key = ec.generate_private_key(ec.SECP256R1())
    names = (*hosts, f"{name}.pura.invalid")
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if hosts:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    cert = (
        _builder(_name(name), authority.subject, key, CERT_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName([_host(host) for host in names]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return Credential(cert.public_bytes(serialization.Encoding.PEM), _dump(key))


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
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _dump(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

"""A server's next certificate, vouched for by its last one: nobody has to telephone for a renewal.

    FILE = the new certificate, and a signature of it by the private key of the certificate that the other server pins

The new key lies beside the old one until it is used. In between the other server takes both.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pura.crypto import keyfile
from pura.crypto.hashing import framed
from pura.crypto.pem import private_key
from pura.errors import BadConfig, BadKeyFile, NotAuthorised
from pura_server import tls

_KIND = "pura renewal"
_TAG = b"pura renewal v1"
_SHA256 = hashes.SHA256()
_PSS = padding.PSS(padding.MGF1(_SHA256), padding.PSS.DIGEST_LENGTH)


def vouch(cert: bytes, old_key: bytes) -> bytes:
    """The file for the other operator: a certificate (PEM), signed by the old private key (PEM). Raises `BadConfig`."""
    text = _signed(cert)
    try:
        key = private_key(old_key)
    except (ValueError, TypeError) as error:
        raise BadConfig("the private key that is used now cannot be read") from error
    signature: bytes
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(text, ec.ECDSA(_SHA256))
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(text)
    elif isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(text, _PSS, _SHA256)
    else:
        raise BadConfig("the private key that is used now is of a kind that signs nothing here")
    body = {"format": _KIND, "certificate": cert.decode("ascii"), "signature": signature.hex()}
    return keyfile.seal(body).encode()


def vouched(text: str, pinned: Path) -> bytes:
    """The new certificate in a file, when one that is pinned vouches for it. Raises `BadConfig`, `NotAuthorised`."""
    try:
        body = keyfile.unseal(text, _KIND)
        cert, signature = str(body["certificate"]).encode("ascii"), bytes.fromhex(body["signature"])
        signed = _signed(cert)
    except (BadKeyFile, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadConfig("this is not a file that `pura-server renew` wrote") from error
    tls.refuse_unfit(cert)
    if not any(_made(one, signature, signed) for one in tls.certificates(pinned)):
        raise NotAuthorised(f"no certificate in {pinned.name} vouches for this one: somebody else made the file")
    return cert


def _signed(cert: bytes) -> bytes:
    try:
        return framed(_TAG, x509.load_pem_x509_certificate(cert).public_bytes(Encoding.DER))
    except ValueError as error:
        raise BadConfig("this is not a certificate") from error


def _made(cert: x509.Certificate, signature: bytes, text: bytes) -> bool:
    key = cert.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, text, ec.ECDSA(_SHA256))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, text)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, text, _PSS, _SHA256)
        else:
            return False
    except InvalidSignature:
        return False
    return True

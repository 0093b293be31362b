"""Private keys in PEM form, as files hold them; whatever is none is one kind of error."""

from __future__ import annotations

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes


def private_key(pem: bytes) -> PrivateKeyTypes:
    """The key, which has no password. Raises `ValueError` for what is none: also for what OpenSSL takes apart and then
    cannot use, of which it says no more than that."""
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except (TypeError, UnsupportedAlgorithm, InternalError) as error:
        raise ValueError("not a private key without a password") from error

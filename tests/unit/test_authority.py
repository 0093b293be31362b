"""Certificates that `init` and `join` make, before verifiers that want all of RFC 5280, as Python from 3.13 on does."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from pura_server import authority
from pura_server.authority import Credential


def files(folder: Path, name: str, made: Credential) -> tuple[Path, Path]:
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    cert.write_bytes(made.cert)
    key.write_bytes(made.key)
    return cert, key


def context(side: int, own: tuple[Path, Path], trusted: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(side)
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    made.load_verify_locations(cafile=str(trusted))
    made.load_cert_chain(*map(str, own))
    return made


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """The whole handshake, in memory. Raises `SSLError`."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(down, up, server_hostname=name)
    two = server.wrap_bio(up, down, server_side=True)
    left = [one, two]
    while left:
        for each in list(left):
            try:
                each.do_handshake()
                left.remove(each)
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize("host", ["localhost", "s1.example"])
def test_strict_verifiers_take_what_an_authority_issues(tmp_path: Path, host: str) -> None:
    ca = authority.make_ca("test")
    trusted, _ = files(tmp_path, "ca", ca)
    server = files(tmp_path, "s1", authority.issue(ca, "s1", [host]))
    client = files(tmp_path, "desk", authority.issue(ca, "desk"))
    two = context(ssl.PROTOCOL_TLS_SERVER, server, trusted)
    shake_hands(context(ssl.PROTOCOL_TLS_CLIENT, client, trusted), two, host)
    stranger = files(tmp_path, "x", authority.issue(authority.make_ca("test"), "desk"))
    with pytest.raises(ssl.SSLError):
        shake_hands(context(ssl.PROTOCOL_TLS_CLIENT, stranger, trusted), two, host)


def test_strict_verifiers_take_a_pinned_certificate(tmp_path: Path) -> None:
    """That of S1 or S2 in a deployment of two organisations, which its own key signs."""
    keys = {name: authority.new_key() for name in ("s1", "s2")}
    own = {
        name: files(tmp_path, name, Credential(authority.self_signed(key, name, ["localhost"]), key))
        for name, key in keys.items()
    }
    one = context(ssl.PROTOCOL_TLS_CLIENT, own["s1"], own["s2"][0])
    two = context(ssl.PROTOCOL_TLS_SERVER, own["s2"], own["s1"][0])
    shake_hands(one, two, "localhost")

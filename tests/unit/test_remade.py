"""Files that are replaced while a server runs; certificates that end soon; who vouches for the next one."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pura.crypto import keyfile
from pura.errors import BadConfig, NotAuthorised
from pura_server import authority, renewals
from pura_server.endings import SOON_DAYS, Endings
from pura_server.remade import Remade

DAY = 86_400.0


class Number:
    """A file with a number in it; anything else is damage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made = 0

    def __call__(self) -> int:
        self.made += 1
        try:
            return int(self.path.read_text())
        except (OSError, ValueError) as error:
            raise BadConfig("no number") from error


def test_made_anew_when_a_file_changes_and_only_then(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    make = Number(path)
    now = Remade([path], make)
    assert [now(), now()] == [1, 1]
    assert make.made == 1
    path.write_text("22")
    assert [now(), now()] == [22, 22]
    assert make.made == 2


def test_what_is_damaged_is_not_used_and_told_once(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    make = Number(path)
    now = Remade([path], make)
    with structlog.testing.capture_logs() as lines:
        path.write_text("half of")
        assert [now(), now()] == [1, 1]
        path.unlink()
        assert [now(), now()] == [1, 1]
        path.write_text("333")
        assert now() == 333
    assert [line["event"] for line in lines] == ["files not used", "files not used", "files read anew"]
    with pytest.raises(BadConfig):
        Remade([tmp_path / "none"], Number(tmp_path / "none"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000 * DAY

    def __call__(self) -> float:
        return self.now


def test_a_certificate_that_ends_soon_is_told_once_a_day() -> None:
    clock = Clock()
    endings = Endings(clock)
    ends = clock.now + (SOON_DAYS + 1) * DAY
    with structlog.testing.capture_logs() as lines:
        assert not endings.look("own", ends)
        clock.now += 2 * DAY
        assert endings.look("own", ends)
        assert not endings.look("own", ends)
        assert endings.look("0123", ends, "desk")
        clock.now += DAY
        assert endings.look("own", ends)
        clock.now = ends + DAY
        assert endings.look("own", ends)
    assert [line["certificate"] for line in lines] == ["own", "0123", "own", "own"]
    assert [line.get("client") for line in lines] == [None, "desk", None, None]
    assert "29 days" in lines[0]["message"]
    assert "has ended" in lines[-1]["message"]


# --- vouching ---------------------------------------------------------------------------------------

KEY = authority.new_key()
PINNED = authority.self_signed(KEY, "s2", ["localhost"])
NEXT = authority.self_signed(authority.new_key(), "s2", ["localhost"])


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    (tmp_path / "s2.crt").write_bytes(PINNED)
    return tmp_path / "s2.crt"


def test_the_old_key_vouches_for_the_new_certificate(pinned: Path) -> None:
    text = renewals.vouch(NEXT, KEY).decode()
    assert "PRIVATE" not in text
    assert renewals.vouched(text, pinned) == NEXT


def test_nobody_else_does(pinned: Path) -> None:
    other = authority.new_key()
    with pytest.raises(NotAuthorised):
        renewals.vouched(renewals.vouch(NEXT, other).decode(), pinned)
    body = keyfile.unseal(renewals.vouch(NEXT, KEY).decode(), "pura renewal")
    del body["version"]
    mine = authority.self_signed(other, "s2", ["localhost"]).decode()
    with pytest.raises(NotAuthorised):  # the signature of another certificate
        renewals.vouched(keyfile.seal({**body, "certificate": mine}), pinned)
    for change in ({"certificate": "x"}, {"certificate": 1}, {"signature": "zz"}, {"signature": None}):
        with pytest.raises(BadConfig):
            renewals.vouched(keyfile.seal({**body, **change}), pinned)
    with pytest.raises(BadConfig, match="authority"):
        renewals.vouched(renewals.vouch(authority.make_ca("x").cert, KEY).decode(), pinned)
    with pytest.raises(BadConfig):
        renewals.vouched("{}", pinned)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_keys_of_ones_own_pki_vouch_as_well(
    tmp_path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = x509.Name([])
    start = x509.load_pem_x509_certificate(PINNED)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(start.not_valid_before_utc).not_valid_after(start.not_valid_after_utc)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    pem = made.sign(key, digest).public_bytes(Encoding.PEM)
    (tmp_path / "pinned").write_bytes(PINNED + pem)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert renewals.vouched(renewals.vouch(NEXT, private).decode(), tmp_path / "pinned") == NEXT

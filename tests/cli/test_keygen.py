"""The ceremony as a person runs it: a real process, files that work, and nothing overwritten or left half-made."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pura.bigint import Z
from pura.crypto.keys import load_public, load_share
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import combine
from pura.ids import Party
from pura_client import cli


def keygen(out: Path, *more: str, first: str = "") -> subprocess.CompletedProcess[str]:
    code = first + "import sys; from pura_client import cli; sys.argv[0] = 'pura'; cli.main()"
    args = [sys.executable, "-c", code, "keygen", "--out", str(out), *more]
    return subprocess.run(args, capture_output=True, text=True, check=False, umask=0)


@pytest.mark.parametrize("bits", [None, 2048])
def test_a_ceremony(tmp_path: Path, bits: int | None) -> None:
    """3072 bits unless asked otherwise; both shares together open, with an empty umask too."""
    out = tmp_path / "new" / "keys"
    done = keygen(out, *(["--bits", str(bits)] if bits else []))
    assert done.returncode == 0, done.stderr
    pk = load_public(out / "public.key")
    assert pk.n_bits == (bits or 3072)
    assert pk.key_id.hex() in done.stdout
    s1, s2 = (load_share(out / f"{party.name.lower()}.share", pk, party) for party in Party)
    for name in ("s1.share", "s2.share"):
        assert stat.S_IMODE((out / name).stat().st_mode) == 0o600
    cs: list[tuple[int, Z]] = [(m, pk.encrypt(m, SystemRng())) for m in (0, 7, -7)]
    for m, c in cs:
        assert combine(pk, c, s1.partial_decrypt(pk, c), s2.partial_decrypt(pk, c)) == m
    # neither output shows a share
    for share in (s1, s2):
        for text in (f"{abs(int(share.t)):x}", str(abs(int(share.t)))):
            assert text[:20] not in done.stdout + done.stderr

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again = keygen(out)
    assert again.returncode == cli.ERROR
    assert "[would_overwrite]" in again.stdout + again.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_two_ceremonies_have_nothing_in_common(tmp_path: Path) -> None:
    keys = []
    for name in ("a", "b"):
        assert CliRunner().invoke(cli.cli, ["keygen", "--out", str(tmp_path / name), "--bits", "2048"]).exit_code == 0
        keys.append(load_public(tmp_path / name / "public.key"))
    assert keys[0].key_id != keys[1].key_id
    assert keys[0].n != keys[1].n


@pytest.mark.parametrize("bits", ["1024", "4096", "0", "many", "2048.0"])
def test_other_key_lengths(tmp_path: Path, bits: str) -> None:
    result = CliRunner().invoke(cli.cli, ["keygen", "--out", str(tmp_path / "keys"), "--bits", bits])
    assert result.exit_code == 2
    assert not (tmp_path / "keys").exists()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("mine")
    for out in (tmp_path / "keys", tmp_path / "keys" / "below"):
        done = keygen(out, "--bits", "2048")
        assert done.returncode == cli.ERROR
        assert "Traceback" not in done.stderr
    assert (tmp_path / "keys").read_text() == "mine"


@pytest.mark.parametrize("room", [0, 100, 1300])
def test_no_room_for_the_files(tmp_path: Path, room: int) -> None:
    """The system refuses to write more than `room` bytes into a file: as a full disk does, in the real process."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); "
    done = keygen(tmp_path / "keys", "--bits", "2048", first=limit)
    if room < 1300:  # the public key takes 1200 bytes
        assert done.returncode == cli.ERROR
        assert "[storage_full]" in done.stdout + done.stderr
        assert "nothing was left behind" in done.stdout + done.stderr
        assert not (tmp_path / "keys").exists()
    else:
        assert done.returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = keygen(tmp_path / "keys", "--bits", "2048")
    tmp_path.chmod(0o700)
    assert done.returncode == cli.ERROR
    assert "Permission denied" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr

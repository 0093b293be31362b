"""Key files: all or none, never overwritten, readable by their owner only, refused when a single byte differs."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pura.bigint import Z
from pura.crypto import keyfile
from pura.crypto.keys import dump_public, dump_share, load_public, load_share, parse_public, write_keys
from pura.crypto.rng import SeededRng
from pura.crypto.threshold import KeySet, _structured_prime, combine, generate
from pura.errors import BadKeyFile, PuraError, StorageFull, WouldOverwrite, WrongKey
from pura.ids import Engine, KeyId, Party

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOLDER = FIXTURES / "test-keys-2048"
PK = load_public(FOLDER / "public.key")
OTHER = load_public(FIXTURES / "test-keys-3072" / "public.key")
KEYS = KeySet(PK, load_share(FOLDER / "s1.share", PK), load_share(FOLDER / "s2.share", PK))
NAMES = ["public.key", "s1.share", "s2.share"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sealed(**changes: object) -> str:
    """The text of a share file with some fields changed and a checksum that fits."""
    body = json.loads(dump_share(KEYS.s1))
    del body["checksum"]
    for name, value in changes.items():
        if value is None:
            del body[name]
        else:
            body[name] = value
    return keyfile._text(body)


# --- writing ----------------------------------------------------------------------------------------


def test_three_files_that_work(tmp_path: Path) -> None:
    paths = write_keys(KEYS, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == NAMES
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o644, 0o600, 0o600]
    pk = load_public(paths[0])
    assert pk == PK
    shares = [load_share(path, pk, party) for path, party in zip(paths[1:], Party, strict=True)]
    assert [share.t for share in shares] == [KEYS.s1.t, KEYS.s2.t]
    c = pk.encrypt(-3, SeededRng(1))
    assert combine(pk, c, *(share.partial_decrypt(pk, c) for share in shares)) == -3
    # what is read is what was written
    assert [path.read_text() for path in paths] == [dump_public(pk), *map(dump_share, shares)]


def test_a_share_is_never_readable_by_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        paths = write_keys(KEYS, tmp_path)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths[1:]] == [0o600, 0o600]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_nothing_is_overwritten(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(WouldOverwrite):
        write_keys(KEYS, tmp_path)
    assert names(tmp_path) == [name]
    assert kind != "file" or path.read_text() == "mine"


def test_a_second_ceremony_changes_nothing(tmp_path: Path) -> None:
    write_keys(KEYS, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in NAMES}
    with pytest.raises(WouldOverwrite):
        write_keys(generate(2048, SeededRng("second")), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in NAMES} == before


def test_a_second_ceremony_at_the_same_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one's file appears after the look and before the writing."""
    really = os.open

    def late(path: Path, flags: int, mode: int = 0o777) -> int:
        if Path(path).name == "s2.share":
            Path(path).write_text("theirs")
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(WouldOverwrite):
        write_keys(KEYS, tmp_path)
    assert names(tmp_path) == ["s2.share"]
    assert (tmp_path / "s2.share").read_text() == "theirs"


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_leaves_no_key_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    done = []

    def fsync(fd: int) -> None:
        if len(done) == after:
            no_space()
        done.append(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageFull, match="No space left"):
        write_keys(KEYS, tmp_path)
    assert names(tmp_path) == []
    monkeypatch.undo()
    assert len(write_keys(KEYS, tmp_path)) == 3


def test_no_room_for_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", no_space)
    with pytest.raises(StorageFull):
        write_keys(KEYS, tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError, SystemExit])
def test_giving_up_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    def give_up(_: int) -> None:
        raise interruption

    monkeypatch.setattr(os, "fsync", give_up)
    with pytest.raises(interruption):
        write_keys(KEYS, tmp_path)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(PuraError) as caught:
            write_keys(KEYS, folder)
        assert caught.value.code in ("storage_full", "would_overwrite")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_no_factor_is_in_any_file(tmp_path: Path) -> None:
    keys, rng = generate(2048, SeededRng("factors")), SeededRng("factors")
    parts: list[Z] = []
    while True:
        parts = [*_structured_prime(224, 1024, rng), *_structured_prime(224, 1024, rng)]
        if parts[2] * parts[5] == keys.public.n:
            break
    n = keys.public.n
    # with t or alpha or phi(N) anybody opens everything
    t = keys.s1.t + keys.s2.t
    secrets = [*parts, parts[0] * parts[3], parts[1] * parts[4], (parts[2] - 1) * (parts[5] - 1), t]
    for path in write_keys(keys, tmp_path):
        body = path.read_text()
        held = [int(v, 16) for v in json.loads(body).values() if isinstance(v, str) and _is_hex(v)]
        for secret in secrets:
            assert f"{int(secret):x}" not in body
            assert str(int(secret)) not in body
        for value in held:
            assert value not in map(int, secrets)
            assert value == n or value == 0 or n % value != 0


def _is_hex(text: str) -> bool:
    with contextlib.suppress(ValueError):
        int(text, 16)
        return True
    return False


# --- reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_one_byte_changed_anywhere(tmp_path: Path, name: str) -> None:
    raw = (FOLDER / name).read_bytes()
    path = tmp_path / name
    for at, byte in enumerate(raw):
        others = b" \n\r\t" if chr(byte).isspace() else bytes([byte ^ 1, byte ^ 0x20])  # 0x20: the other case
        for other in {*others} - {byte}:
            path.write_bytes(raw[:at] + bytes([other]) + raw[at + 1 :])
            with pytest.raises(BadKeyFile):
                load_public(path) if name == "public.key" else load_share(path, PK)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_lost_or_added_anywhere(tmp_path: Path, name: str) -> None:
    raw = (FOLDER / name).read_bytes()
    path = tmp_path / name
    changed = [raw[:at] for at in range(len(raw))]
    changed += [raw[:at] + raw[at + 1 :] for at in range(len(raw) - 1) if raw[at] != raw[at + 1]]
    changed += [raw + b"\n", raw + b" ", b" " + raw, b"\xef\xbb\xbf" + raw, raw + raw, raw.replace(b"\n", b"\r\n")]
    for body in changed:
        path.write_bytes(body)
        with pytest.raises(BadKeyFile):
            load_public(path) if name == "public.key" else load_share(path, PK)


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "1", '"x"', "{}", "{" * 50, "[" * 200_000, '{"format": "pura key share"}', "\x00", "not json"],
    ids=lambda text: repr(text[:12]),
)
def test_what_is_no_key_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s1.share"
    path.write_text(text)
    with pytest.raises(BadKeyFile):
        load_share(path, PK)
    with pytest.raises(BadKeyFile):
        parse_public(text)


def test_files_that_are_not_there_or_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.share").mkdir()
    (tmp_path / "latin.share").write_bytes("Schlüssel".encode("latin-1"))
    for name in ("none.share", "folder.share", "latin.share"):
        with pytest.raises(BadKeyFile, match=name):
            load_share(tmp_path / name, PK)


def test_the_wrong_kind_of_file() -> None:
    with pytest.raises(BadKeyFile, match="not a pura key share"):
        load_share(FOLDER / "public.key", PK)
    with pytest.raises(BadKeyFile, match="not a pura public key"):
        load_public(FOLDER / "s1.share")


@pytest.mark.parametrize("version", [0, 1, "2", [2]])
def test_another_version_says_so(tmp_path: Path, version: object) -> None:
    path = tmp_path / "s1.share"
    path.write_text(sealed(version=version))
    with pytest.raises(BadKeyFile, match="another version"):
        load_share(path, PK)


def test_another_party_and_another_key(tmp_path: Path) -> None:
    with pytest.raises(WrongKey, match="share of S1, not of S2"):
        load_share(FOLDER / "s1.share", PK, Party.S2)
    with pytest.raises(WrongKey):
        load_share(FOLDER / "s1.share", OTHER)
    path = tmp_path / "s1.share"
    path.write_text(sealed(key_id=OTHER.key_id.hex()))
    with pytest.raises(WrongKey):
        load_share(path, PK)


@pytest.mark.parametrize(
    "changes",
    [
        {"t": None},
        {"t": 5},
        {"t": ""},
        {"t": "five"},
        {"t": "-"},
        {"party": None},
        {"party": "S3"},
        {"party": 1},
        {"key_id": None},
        {"key_id": "zz"},
        {"key_id": 7},
        {"format": None},
        {"version": None},
    ],
    ids=str,
)
def test_fields_that_are_missing_or_wrong(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "s1.share"
    path.write_text(sealed(**changes))
    with pytest.raises(BadKeyFile):
        load_share(path, PK)


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "other"},
        {"engine": None},
        {"engine": 1},
        {"collection": "00"},
        {"collection": "zz"},
        {"collection": None},
        {"collection": 7},
    ],
    ids=str,
)
def test_a_public_key_names_its_engine_and_its_collection(changes: dict[str, object]) -> None:
    body = json.loads(dump_public(PK))
    assert (body["engine"], body["collection"]) == ("prepared", PK.collection.hex())
    del body["checksum"]
    with pytest.raises(BadKeyFile, match="collection"):
        parse_public(keyfile._text({**body, **changes}))


def test_a_key_of_an_engine_that_is_gone_says_what_to_do() -> None:
    body = json.loads(dump_public(PK))
    del body["checksum"]
    with pytest.raises(BadKeyFile, match="packed is gone: make keys"):
        parse_public(keyfile._text({**body, "engine": "packed"}))


def test_the_same_modulus_for_another_engine_or_collection_is_another_key() -> None:
    twin = load_public(FIXTURES / "test-keys-2048-published" / "public.key")
    assert (twin.n, twin.h, twin.engine) == (PK.n, PK.h, Engine.PUBLISHED)
    assert twin.key_id != PK.key_id
    with pytest.raises(WrongKey):
        load_share(FIXTURES / "test-keys-2048-published" / "s1.share", PK)
    body = json.loads(dump_public(PK))
    del body["checksum"]
    for change in ({"engine": "published"}, {"collection": twin.collection.hex()}):
        with pytest.raises(BadKeyFile, match="id that its file names"):
            parse_public(keyfile._text({**body, **change}))


def test_each_ceremony_makes_a_collection_of_its_own() -> None:
    one, two = generate(2048, SeededRng("one")), generate(2048, SeededRng("two"), Engine.PUBLISHED)
    assert one.public.collection != two.public.collection
    assert (one.public.engine, two.public.engine) == (Engine.PREPARED, Engine.PUBLISHED)


def test_a_public_key_must_have_the_id_that_it_names() -> None:
    body = json.loads(dump_public(PK))
    del body["checksum"]
    with pytest.raises(BadKeyFile, match="id that its file names"):
        parse_public(keyfile._text({**body, "key_id": OTHER.key_id.hex()}))
    with pytest.raises(BadKeyFile):
        parse_public(keyfile._text({**body, "n": f"{int(PK.n) + 1:x}"}))
    with pytest.raises(BadKeyFile):
        parse_public(keyfile._text({**body, "h": "1"}))


@pytest.mark.parametrize("t", [0, 1, -1, (1 << 577) - 1, -(1 << 577)])
def test_shares_of_any_sign_survive(tmp_path: Path, t: int) -> None:
    share = dataclasses.replace(KEYS.s2, t=Z(t))
    path = tmp_path / "s2.share"
    path.write_text(dump_share(share))
    assert load_share(path, PK, Party.S2).t == t


Reader = Callable[[Path], object]


@pytest.mark.parametrize("read", [load_public, lambda path: load_share(path, PK)], ids=["public", "share"])
def test_errors_hold_nothing_of_the_file(tmp_path: Path, read: Reader) -> None:
    secret = f"{int(KEYS.s1.t):x}"
    path = tmp_path / "s1.share"
    for text in (dump_share(KEYS.s1)[:-3], sealed(t=secret + "z"), sealed(version=1), sealed(party=secret), secret):
        path.write_text(text)
        with pytest.raises(PuraError) as caught:
            read(path)
        shown = f"{caught.value!r} {caught.value} {caught.value.detail}"
        assert secret[:16] not in shown
        assert KeyId(PK.key_id).hex() not in shown

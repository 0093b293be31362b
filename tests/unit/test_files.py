"""New files: all or none, whatever goes wrong and whatever the umask is."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pura.errors import StorageFull, WouldOverwrite
from pura.files import PRIVATE, PUBLIC, new_files, replace_file, write_new

FILES = {"a.txt": (b"a", PUBLIC), "deep/er/b.key": (b"b", PRIVATE), "c.key": (b"c", PRIVATE)}


@pytest.fixture
def umask() -> Iterator[None]:
    """None at all."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    write_new(tmp_path / "new" / "out", FILES, mode=0o755)
    modes = {str(p.relative_to(tmp_path)): stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    assert modes == {
        "new": 0o755, "new/out": 0o755, "new/out/deep": 0o700, "new/out/deep/er": 0o700, "new/out/a.txt": 0o644,
        "new/out/c.key": 0o600, "new/out/deep/er/b.key": 0o600,
    }  # fmt: skip
    replace_file(tmp_path / "new" / "out" / "a.txt", b"other", PRIVATE)
    assert stat.S_IMODE((tmp_path / "new" / "out" / "a.txt").stat().st_mode) == 0o600


@pytest.mark.parametrize("there", FILES)
def test_nothing_is_overwritten_and_nothing_left(tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_bytes(b"mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WouldOverwrite, match=Path(there).name):
        write_new(tmp_path, FILES)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / there).read_bytes() == b"mine"


@pytest.mark.parametrize("after", range(len(FILES)))
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    left = iter(range(after))
    really = os.fsync

    def full(fd: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match="No space left"):
        write_new(tmp_path / "out", FILES)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "old", b"new", PRIVATE)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old", b"old")]


@pytest.mark.parametrize("kind", [StorageFull, KeyboardInterrupt, FileExistsError])
def test_what_comes_after_may_fail(tmp_path: Path, kind: type[BaseException]) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(kind), new_files(tmp_path / "out", FILES):
        raise kind if (tmp_path / "out" / "c.key").exists() else AssertionError
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]

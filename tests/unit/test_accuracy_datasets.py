"""Data sets as people have them: LFW's layouts, pairs files, InsightFace's pickles, ORL."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pura.errors import DownloadFailed
from pura_bench.accuracy import datasets
from pura_bench.accuracy.datasets import BadDataSet

SHARED = Path(os.environ.get("PURA_SHARED", Path(__file__).parents[3] / "shared"))


def photo(folder: Path, name: str, grey: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 20), grey, np.uint8)).save(folder / name)


def lfw(folder: Path) -> Path:
    for p, person in enumerate(("Ann_Lee", "Bo", "Cy")):
        for i in (1, 2, 3):
            photo(folder / "photos" / person, f"{person}_{i:04d}.png", 40 * p + i)
    return folder


def test_view_1_has_a_half_to_fit_on(tmp_path: Path) -> None:
    lfw(tmp_path)
    (tmp_path / "pairsDevTrain.txt").write_text("1\nAnn_Lee\t1\t3\nAnn_Lee\t1\tBo\t2\n")
    (tmp_path / "pairsDevTest.txt").write_text("2\nBo\t1\t2\nCy\t1\t2\nBo\t1\tCy\t2\nCy\t1\tBo\t2\n")
    train, test = datasets.load(f"lfw1:{tmp_path}")
    assert train is not None
    assert [Path(str(path)).stem for path in train.photos] == ["Ann_Lee_0001", "Ann_Lee_0003", "Bo_0002"]
    assert train.people.tolist() == [0, 0, 1]
    assert train.pairs.tolist() == [[0, 1], [0, 2]]
    assert test.same.tolist() == [True, True, False, False]
    assert test.digest != train.digest
    assert test.digest == datasets.lfw_view1(tmp_path)[1].digest


def test_view_2_has_its_own_folds(tmp_path: Path) -> None:
    lfw(tmp_path)
    rows = ["Bo\t1\t2", "Bo\t1\tCy\t2"] * 2
    (tmp_path / "pairs.txt").write_text("2\t1\n" + "\n".join(rows) + "\n")
    _, data = datasets.load(f"lfw2:{tmp_path}")
    assert data.fold.tolist() == [0, 0, 1, 1]


def test_a_folder_with_any_file_names(tmp_path: Path) -> None:
    photo(tmp_path / "ann", "b.png", 2)
    photo(tmp_path / "ann", "a.jpg", 1)
    photo(tmp_path / "bob", "x.bmp", 3)
    (tmp_path / "ann" / "notes.txt").write_text("no photo")
    (tmp_path / "pairs.txt").write_text("ann 1 2\nann 2 bob 1\n")
    _, data = datasets.load(f"pairs:{tmp_path}:{tmp_path / 'pairs.txt'}")
    assert [Path(str(path)).name for path in data.photos] == ["a.jpg", "b.png", "x.bmp"]
    assert datasets.shown(f"pairs:{tmp_path}:{tmp_path / 'pairs.txt'}") == f"pairs:{tmp_path.name}:pairs.txt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 pairs"),
        ("2\nBo\t1\n", "line 2"),
        ("2\nBo\tone\t2\n", "line 2"),
        ("10\t300\nBo\t1\t2\n", "10 equal folds"),
        ("Bo\t1\t9\n", "photo 9 of Bo"),
        ("Bo\t0\t1\n", "photo 0 of Bo"),
        ("Nobody\t1\t2\n", "of Nobody"),
    ],
)
def test_what_is_wrong_with_a_pairs_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    lfw(tmp_path)
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(BadDataSet, match=message):
        datasets.load(f"lfw2:{tmp_path}")


def test_unknown_forms() -> None:
    for text in ("", "orl:x", "lfw1", "lfw1:", "pairs:a", "what:ever"):
        with pytest.raises(BadDataSet, match="lfw1:FOLDER"):
            datasets.load(text)
    with pytest.raises(BadDataSet, match="cannot be read"):
        datasets.load("lfw1:/nowhere")


def jpeg(grey: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((112, 112, 3), grey, np.uint8)).save(out, "jpeg")
    return out.getvalue()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_insightface_s_format(tmp_path: Path, protocol: int) -> None:
    bins = [jpeg(i) for i in range(40)]
    stored = [np.frombuffer(body, np.uint8) for body in bins] if protocol == 4 else bins
    flags = [np.bool_(i % 2 == 0) for i in range(20)] if protocol == 4 else [i % 2 == 0 for i in range(20)]
    (tmp_path / "agedb_30.bin").write_bytes(pickle.dumps((stored, flags), protocol))
    _, data = datasets.load(f"bin:{tmp_path / 'agedb_30.bin'}")
    assert (data.name, data.aligned, data.people) == ("agedb_30", True, None)
    assert list(data.photos) == bins
    assert data.pairs[3].tolist() == [6, 7]
    assert data.same.tolist() == [True, False] * 10
    assert data.fold.tolist() == [i // 2 for i in range(20)]


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    "body",
    [b"", b"no pickle", pickle.dumps(([jpeg(1)], [True])), pickle.dumps([1, 2, 3]), pickle.dumps(([Evil()], [True]))],
)
def test_a_pickle_that_is_something_else_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.bin").write_bytes(body)
    with pytest.raises(BadDataSet, match=r"x\.bin"):
        datasets.insightface_bin(tmp_path / "x.bin")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.network
def test_orl_has_all_genuine_pairs() -> None:
    try:
        data = datasets.orl()
    except DownloadFailed as error:
        pytest.skip(str(error))
    assert len(data.photos) == 400
    assert data.same.sum() == 40 * 45 == (~data.same).sum()
    assert (data.people[data.pairs[:, 0]] == data.people[data.pairs[:, 1]]).tolist() == data.same.tolist()
    assert np.bincount(data.fold).tolist() == [360] * 10


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "data" / "lfw_view1").is_dir(), reason="the LFW photos are not here")
def test_lfw_s_halves_share_no_person() -> None:
    train, test = datasets.lfw_view1(SHARED / "data" / "lfw_view1")
    assert (train.same.sum(), (~train.same).sum()) == (1100, 1100)
    assert (test.same.sum(), (~test.same).sum()) == (500, 500)
    names = [{Path(str(path)).parent.name for path in half.photos} for half in (train, test)]
    assert not names[0] & names[1]

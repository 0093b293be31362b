"""What embeddings have in common, taken out: the arithmetic, the file, the specification, covering probes."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_file import mean_network
from pydantic import ValidationError

from pura.errors import BadConfig, BadEmbedding, BadWeights, ParameterMismatch, StorageFull, WouldOverwrite
from pura.face import centre
from pura.face.centre import Mean
from pura.face.download import sha256_of
from pura.face.embed import Embedder
from pura.face.pipeline import FacePipeline
from pura.face.spec import (
    BUILT_IN,
    SFACE,
    SFACE_CENTRED,
    SFACE_MIRRORED,
    DetectorSpec,
    EmbedderSpec,
    for_collection,
    read,
)
from pura.ids import KeyId
from pura.params import Params
from pura_bench.accuracy import covering
from pura_bench.accuracy.datasets import DataSet
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.templates import with_centre
from pura_bench.accuracy.topic import models
from pura_client import config as client_config
from pura_server import deploy

D = 16


def crowd(people: int, seed: int, common: float = 0.6, dimension: int = D) -> np.ndarray:
    """Embeddings (people, dimension) with something in common along the first axis."""
    rows = np.random.default_rng(seed).normal(0, 1, (people, dimension))
    rows[:, 0] += common * np.sqrt(dimension)
    return rows


def file(tmp_path: Path, *numbers: np.ndarray) -> Path:
    path = tmp_path / "centre.toml"
    centre.write(path, [Mean(f"people {i}", 400, each) for i, each in enumerate(numbers)])
    return path


# --- arithmetic ---------------------------------------------------------------------------------


def test_nothing_in_common_is_left() -> None:
    known, others = crowd(2000, 1), crowd(500, 2)
    basis = centre.basis([centre.mean_of(known, "known")])
    found = centre.centred(others, basis)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert np.allclose(found @ basis.T, 0)
    plain = centre.unit(others)
    strangers = ~np.eye(len(others), dtype=bool)
    assert (plain @ plain.T)[strangers].mean() > 0.2
    assert abs((found @ found.T)[strangers].mean()) < 0.01
    # a second time changes nothing; the length of an embedding does not matter
    assert np.allclose(centre.centred(found, basis), found)
    assert np.allclose(centre.centred(7 * others, basis), found)


def test_a_population_without_it_does_not_get_it() -> None:
    """What subtracting would do: everybody would have minus the mean in common."""
    basis = centre.basis([centre.mean_of(crowd(2000, 1), "known")])
    found = centre.centred(crowd(500, 2, common=0), basis)
    assert abs(found.mean(0)).max() < 0.05


@pytest.mark.parametrize("bad", [np.zeros(D), np.full(D, np.nan), np.full(D, np.inf), np.eye(D)[0] * 3])
def test_what_has_no_direction_of_its_own(bad: np.ndarray) -> None:
    rows = crowd(3, 1)
    rows[1] = bad
    with pytest.raises(BadEmbedding):
        centre.centred(rows, centre.basis([Mean("x", 1, np.eye(D)[0] / 2)]))


# --- the file -----------------------------------------------------------------------------------


def test_a_file_is_written_once_and_read(tmp_path: Path) -> None:
    one, two = (centre.mean_of(crowd(500, seed), "x").numbers for seed in (1, 2))
    path = file(tmp_path, one, two)
    basis = centre.read(path, sha256_of(path), D)
    assert basis.shape == (2, D)
    assert np.allclose(basis @ basis.T, np.eye(2))
    assert np.allclose((np.stack([one, two]) @ basis.T) @ basis, [one, two], atol=1e-5)
    with pytest.raises(WouldOverwrite):
        file(tmp_path, one)
    assert len(tomllib.loads(path.read_text())["mean"]) == 2
    with pytest.raises(StorageFull):
        centre.write(tmp_path / "none" / "x.toml", [])


HALF = np.eye(D)[0] / 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda body: body[: len(body) // 2], "not a TOML file"),
        (lambda body: "", "not a centre"),
        (lambda body: "\udcff", "not a TOML file"),
        (lambda body: body + "more = 1\n", "not a centre"),
        (lambda body: body.replace("photos = 400", "photos = 0"), "not a centre"),
        (lambda body: body.replace("0.500000", '"0.5"'), "not a centre"),
        (lambda body: body.replace("  0.500000,\n", ""), "15 numbers"),
        (lambda body: body.replace("  0.500000,\n", "  0.5,\n  0.5,\n"), "17 numbers"),
        (lambda body: body.replace("0.500000", "nan"), "no mean"),
        (lambda body: body.replace("0.500000", "inf"), "no mean"),
        (lambda body: body.replace("0.500000", "12.5"), "no mean"),
        (lambda body: body.replace("0.500000", "0.0"), "no mean"),
        (lambda body: body + body, "directions of their own"),
        (lambda body: body * 9, "not a centre"),
        (lambda body: body + "#" * centre.MAX_BYTES, "too long"),
    ],
)
def test_a_file_that_is_no_centre(tmp_path: Path, spoil: Callable[[str], str], message: str) -> None:
    path = file(tmp_path, HALF)
    path.write_bytes(spoil(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(BadWeights, match=message):
        centre.read(path, None, D)


def test_a_centre_that_is_missing_or_another(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="missing"):
        centre.read(tmp_path / "none", None, D)
    with pytest.raises(BadWeights, match="SHA-256"):
        centre.read(file(tmp_path, HALF), "0" * 64, D)


# --- in an embedder -----------------------------------------------------------------------------


def test_an_embedder_with_a_centre(tmp_path: Path) -> None:
    network = mean_network(tmp_path, [0, 3, 32, 32], [2, 3])
    spec = EmbedderSpec(name="mean", path=network, dimension=3, input_size=32)
    faces = np.random.default_rng(1).integers(0, 256, (19, 32, 32, 3)).astype(np.uint8)
    path = file(tmp_path, np.array([0.3, 0.3, 0.3]))
    with_centre = spec.model_copy(update={"centre": path, "centre_sha256": sha256_of(path)})
    plain, got = FacePipeline(spec).embed_aligned(faces), FacePipeline(with_centre).embed_aligned(faces)
    assert got.dtype == np.float32
    assert np.allclose(got, centre.centred(plain, centre.read(path, None, 3)), atol=1e-5)
    assert np.allclose(got.sum(1), 0, atol=1e-5)
    with pytest.raises(BadEmbedding):
        FacePipeline(with_centre).embed_aligned(np.full((1, 32, 32, 3), 90, np.uint8))  # grey is all in common
    path.write_text(path.read_text() + "\n")
    with pytest.raises(BadWeights, match="SHA-256"):
        Embedder(with_centre, network)


@pytest.mark.parametrize(
    "fields",
    [
        {"centre_sha256": "0" * 64},
        {"centre": "c.toml", "centre_sha256": "12"},
        {"name": "sface-centred"},
        {"name": "sface-mirrored"},
    ],
)
def test_a_specification_that_cannot_be(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        EmbedderSpec.model_validate({"name": "m", "dimension": 3, **fields})


def test_the_built_in_centre() -> None:
    assert BUILT_IN == {"sface": SFACE, "sface-centred": SFACE_CENTRED, "sface-mirrored": SFACE_MIRRORED}
    assert set(deploy.THRESHOLDS) == set(BUILT_IN)
    assert SFACE_CENTRED.centre is not None
    assert centre.read(SFACE_CENTRED.centre, SFACE_CENTRED.centre_sha256, SFACE_CENTRED.dimension).shape == (2, 128)
    same = SFACE_CENTRED.model_copy(update={"name": "sface", "centre": None, "centre_sha256": None})
    assert same == SFACE


# --- which one ----------------------------------------------------------------------------------


def test_the_collection_s_name_chooses_among_the_built_in() -> None:
    params = Params(KeyId(b"k" * 32), 3072)
    assert for_collection(None, params) is SFACE
    centred = Params(KeyId(b"k" * 32), 3072, embedder="sface-centred")
    assert for_collection(None, centred) is SFACE_CENTRED
    mine = EmbedderSpec(name="mine", dimension=128)
    assert for_collection(mine, Params(KeyId(b"k" * 32), 3072, embedder="mine")) is mine
    for configured, other in [
        (None, Params(KeyId(b"k" * 32), 3072, embedder="mine")),
        (None, Params(KeyId(b"k" * 32), 3072, embedder="sface-centred", dimension=512)),
        (mine, centred),
        (SFACE, centred),
        (SFACE_CENTRED, params),
    ]:
        with pytest.raises(ParameterMismatch):
            for_collection(configured, other)


def test_files_that_name_a_centre(tmp_path: Path) -> None:
    table = '[embedder]\nname = "mine"\npath = "mine.onnx"\ndimension = 512\ncentre = "mine.toml"\n'
    client = tmp_path / "client.toml"
    client.write_text(f'server = "localhost:1"\npublic_key = "p"\nlabel_key = "{"ab" * 32}"\n')
    assert client_config.load(client).embedder is None
    client.write_text(client.read_text() + table)
    spec = client_config.load(client).embedder
    assert spec is not None
    assert (spec.path, spec.centre) == (tmp_path / "mine.onnx", tmp_path / "mine.toml")
    (tmp_path / "model.toml").write_text(table)
    assert read(tmp_path / "model.toml") == models(str(tmp_path / "model.toml")) == (spec, DetectorSpec())
    (tmp_path / "model.toml").write_text(table + "colour = 1\n")
    with pytest.raises(BadConfig, match="colour"):
        read(tmp_path / "model.toml")


def test_the_benchmark_takes_a_built_in_embedder_by_name() -> None:
    assert models("sface-centred") == (SFACE_CENTRED, DetectorSpec())
    assert models("sface") == (SFACE, DetectorSpec())


# --- covering probes ----------------------------------------------------------------------------


def test_covering_probes_live_on_what_is_common() -> None:
    def embedded(seed: int) -> Embedded:
        rows = crowd(600, seed, 0.35, 128)
        people = np.arange(len(rows)) // 2
        pairs = np.array([[0, 1], [0, 2]])
        same = np.array([True, False])
        data = DataSet("made", (b"",) * len(rows), people, pairs, same, np.arange(2))
        return Embedded(data, centre.unit(rows))

    attacker, victims = embedded(1), embedded(2)
    basis = centre.basis([centre.mean_of(attacker.vectors, "attacker's")])
    plain = list(covering.against(attacker, victims, 1))
    centred = list(covering.against(with_centre(attacker, basis), with_centre(victims, basis), 1))
    assert [row["FMR"] for row in plain] == [f"{fmr:g}" for fmr in covering.FMRS for _ in range(2)]
    for photos, probes, other in zip(plain[::2], plain[1::2], centred[1::2], strict=True):
        assert (photos["asked"], probes["asked"]) == ("photos of strangers", "covering probes")
        accepted = [probes[f"{n} questions"]["k"] for n in covering.QUESTIONS]
        assert accepted == sorted(accepted)
        ten = probes["10 questions"]["k"]
        assert ten > 5 * photos["10 questions"]["k"]
        assert ten > 10
        assert 5 * other["10 questions"]["k"] < ten


def test_covering_needs_names_and_a_training_half() -> None:
    pairs = DataSet("made", (b"",) * 2, None, np.array([[0, 1]]), np.array([True]), np.arange(1))
    with pytest.raises(covering.datasets.BadDataSet, match="who"):
        list(covering.against(*[Embedded(pairs, centre.unit(crowd(2, 1)))] * 2, seed=1))


@pytest.mark.parametrize("name", ["🙂", 'a "b" \\ c', "\udcff", "a\x7fb", "山田"])
def test_a_folder_of_any_name_gives_a_file_that_is_read(tmp_path: Path, name: str) -> None:
    centre.write(tmp_path / "centre.toml", [centre.mean_of(crowd(500, 1), name)])
    assert centre.read(tmp_path / "centre.toml", None, crowd(2, 1).shape[1]).shape[0] == 1

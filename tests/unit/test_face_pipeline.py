"""Detect, align, embed: the geometry, the choice of the face, any ONNX embedder. No weights needed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx_file import mean_network

from pura.errors import BadWeights, FaceTooBlurred, FaceTooSmall, NoFace, ParameterMismatch, SeveralFaces
from pura.face import align
from pura.face.detect import Detector, Face
from pura.face.embed import Embedder
from pura.face.pipeline import FacePipeline, choose
from pura.face.spec import SFACE, DetectorSpec, EmbedderSpec, Runtime
from pura.ids import KeyId
from pura.params import Params
from pura_client import config as client_config

# --- geometry -----------------------------------------------------------------------------------


@given(
    st.floats(-np.pi, np.pi),
    st.floats(0.1, 10),
    hnp.arrays(np.float64, 2, elements=st.floats(-1000, 1000)),
)
def test_a_similarity_is_found_exactly(angle: float, scale: float, shift: np.ndarray) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = align.similarity(align.TEMPLATE, align.TEMPLATE @ turn.T + shift)
    assert np.allclose(found[:, :2], turn, atol=1e-6)
    assert np.allclose(found[:, 2], shift, atol=1e-6)


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    found = align.similarity(align.TEMPLATE * [-1, 1], align.TEMPLATE)
    assert np.linalg.det(found[:, :2]) > 0


@pytest.mark.parametrize("scale", [0.6, 1.0, 2.0, 4.3])
def test_the_crop_puts_landmarks_on_the_template(scale: float) -> None:
    size = int(400 * scale)
    rows, columns = np.mgrid[:size, :size]
    landmarks = (align.TEMPLATE + 100) * scale
    image = np.zeros((size, size, 3), np.uint8)
    for x, y in landmarks:
        spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * (2.5 * scale) ** 2))
        image = np.maximum(image, (255 * spot[..., None]).astype(np.uint8))
    crop = align.crop(image, landmarks)
    assert crop.shape == (112, 112, 3)
    for x, y in align.TEMPLATE:
        near = crop[round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7, 0].astype(float)
        dy, dx = np.mgrid[-6:7, -6:7]
        centre = np.array([(near * dx).sum(), (near * dy).sum()]) / near.sum() + [round(x), round(y)]
        assert np.allclose(centre, [x, y], atol=0.35)


def test_another_crop_size_scales_the_template() -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    assert np.array_equal(align.crop(image, align.TEMPLATE * 2, 224), image)


def test_sharpness_sees_blur_and_not_light() -> None:
    fine = np.random.default_rng(0).integers(0, 256, (112, 112, 1)).astype(np.uint8).repeat(3, 2)
    coarse = np.kron(fine[::8, ::8], np.ones((8, 8, 1))).astype(np.uint8)
    assert align.sharpness(fine) > 5 * align.sharpness(coarse)
    assert align.sharpness((fine * 0.4).astype(np.uint8)) == pytest.approx(align.sharpness(fine), rel=0.05)
    assert align.sharpness(np.zeros((112, 112, 3), np.uint8)) == 0


# --- which face ---------------------------------------------------------------------------------


def face(side: float) -> Face:
    return Face((0, 0, side, side * 1.3), align.TEMPLATE * side / 60, 0.9)


def test_choosing_a_face() -> None:
    with pytest.raises(NoFace):
        choose([], largest=True)
    assert choose([face(90), face(44), face(20)], largest=False).side == 90
    with pytest.raises(SeveralFaces, match="2 faces"):
        choose([face(90), face(45), face(20)], largest=False)
    assert choose([face(90), face(89)], largest=True).side == 90


class Finder:
    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def find(self, image: np.ndarray) -> list[Face]:
        return self.faces

    def quarter_turns(self, image: np.ndarray, face: Face) -> int:
        return 0

    def refine(self, image: np.ndarray, face: Face) -> Face:
        return face


def test_what_is_refused_and_what_is_not() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    pipeline = FacePipeline()
    pipeline.__dict__["detector"] = Finder(face(60))
    assert pipeline.aligned(image).shape == (112, 112, 3)
    with pytest.raises(FaceTooBlurred):
        pipeline.aligned(np.linspace(0, 255, 300).astype(np.uint8)[None].repeat(300, 0))
    pipeline.__dict__["detector"] = Finder(face(20))
    with pytest.raises(FaceTooSmall, match="20 pixels"):
        pipeline.aligned(image)
    lenient = FacePipeline(SFACE, DetectorSpec(min_face=10, min_sharpness=0))
    lenient.__dict__["detector"] = Finder(face(20))
    assert lenient.aligned(image).shape == (112, 112, 3)


# --- any ONNX network ---------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", list(Runtime))
@pytest.mark.parametrize("batch", [0, 1])
def test_an_embedder_by_configuration(tmp_path: Path, runtime: Runtime, batch: int) -> None:
    path = mean_network(tmp_path, [batch, 3, 32, 32], [2, 3])
    spec = EmbedderSpec(
        name="mean", path=path, dimension=3, input_size=32, channels="bgr", mean=127, std=128, runtime=runtime
    )
    faces = np.random.default_rng(1).integers(0, 256, (19, 32, 32, 3)).astype(np.uint8)
    got = Embedder(spec, path).embed_aligned(faces)
    assert got.dtype == np.float32
    assert np.allclose(got, (faces[..., ::-1].mean((1, 2)) - 127) / 128, atol=1e-5)
    assert FacePipeline(spec).embed_aligned(faces[:1]).shape == (1, 3)


def test_channels_last(tmp_path: Path) -> None:
    path = mean_network(tmp_path, [0, 32, 32, 3], [1, 2])
    spec = EmbedderSpec(name="mean", path=path, dimension=3, input_size=32, layout="nhwc")
    faces = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    assert np.allclose(Embedder(spec, path).embed_aligned(faces), faces.mean((1, 2)), atol=1e-3)


@pytest.mark.parametrize("runtime", list(Runtime))
def test_a_network_that_is_not_what_was_said(tmp_path: Path, runtime: Runtime) -> None:
    path = mean_network(tmp_path, [1, 3, 32, 32], [2, 3])
    faces = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(BadWeights, match="does not give 4 numbers"):
        Embedder(EmbedderSpec(name="m", dimension=4, input_size=32, runtime=runtime), path).embed_aligned(faces)
    with pytest.raises(ValueError, match="32 x 32"):
        Embedder(EmbedderSpec(name="m", dimension=3, input_size=32), path).embed_aligned(faces[:, :16])
    (tmp_path / "no.onnx").write_bytes(b"no network")
    with pytest.raises(BadWeights, match="can read"):
        Embedder(EmbedderSpec(name="m", dimension=3, runtime=runtime), tmp_path / "no.onnx")
    with pytest.raises(BadWeights, match="YuNet"):
        Detector(tmp_path / "no.onnx")


def test_files_by_path_are_checked(tmp_path: Path) -> None:
    path = mean_network(tmp_path, [1, 3, 32, 32], [2, 3])
    for spec, message in [
        (EmbedderSpec(name="m", dimension=3, path=path, sha256="0" * 64), "SHA-256"),
        (EmbedderSpec(name="m", dimension=3, path=tmp_path / "none.onnx"), "missing"),
        (EmbedderSpec(name="m", dimension=3), "needs the path"),
    ]:
        with pytest.raises(BadWeights, match=message):
            _ = FacePipeline(spec).embedder
    with pytest.raises(BadWeights, match="missing"):
        _ = FacePipeline(SFACE, DetectorSpec(path=tmp_path / "none.onnx")).detector


def test_the_collection_s_embedder_is_checked() -> None:
    params = Params(KeyId(b"k" * 32), 3072)
    SFACE.check(params)
    for other in (
        SFACE.model_copy(update={"name": "other"}),
        SFACE.model_copy(update={"dimension": 512}),
    ):
        with pytest.raises(ParameterMismatch, match="sface"):
            other.check(params)


def test_client_toml_names_an_embedder(tmp_path: Path) -> None:
    file = tmp_path / "client.toml"
    file.write_text(
        f'server = "localhost:1"\npublic_key = "p"\nlabel_key = "{"ab" * 32}"\n'
        '[embedder]\nname = "mine"\npath = "mine.onnx"\ndimension = 512\nchannels = "bgr"\nmean = 127\nstd = 128\n'
        '[detector]\npath = "/opt/yunet.onnx"\nmin_face = 50\n'
    )
    config = client_config.load(file)
    assert config.embedder.path == tmp_path / "mine.onnx"
    assert (config.embedder.dimension, config.embedder.std, config.embedder.runtime) == (512, 128, "onnxruntime")
    assert (config.detector.path, config.detector.min_face) == (Path("/opt/yunet.onnx"), 50)

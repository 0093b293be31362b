"""The real models on real photos: SFace, YuNet and the ORL faces, fetched from the package index on first use."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pura.crypto.encoding import distance2, quantise
from pura.errors import DownloadFailed, FaceTooBlurred, FaceTooSmall, NoFace, SeveralFaces
from pura.face import centre
from pura.face.photos import orl_faces
from pura.face.pipeline import FacePipeline
from pura.face.spec import SFACE, SFACE_CENTRED, EmbedderSpec, Runtime
from pura.ids import KeyId
from pura.params import Params, tau_from_cosine
from pura_client.demo import PLANS, load_photos
from pura_server.deploy import THRESHOLDS

pytestmark = pytest.mark.network

PEOPLE = 8
THRESHOLD = THRESHOLDS["sface"]


@pytest.fixture(scope="module")
def pipeline() -> FacePipeline:
    pipeline = FacePipeline()
    try:
        pipeline.load()
    except DownloadFailed as error:
        pytest.skip(str(error))
    return pipeline


@pytest.fixture(scope="module")
def faces() -> NDArray[np.uint8]:
    try:
        return orl_faces()
    except DownloadFailed as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def embeddings(pipeline: FacePipeline, faces: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(8, 5, 128), unit length."""
    out = np.array([[pipeline.embed(photo) for photo in person[:5]] for person in faces[:PEOPLE]], np.float64)
    return out / np.linalg.norm(out, axis=2, keepdims=True)


def test_same_and_different_people_are_told_apart(embeddings: NDArray[np.float64]) -> None:
    flat = embeddings.reshape(-1, 128)
    who = np.repeat(np.arange(PEOPLE), 5)
    cosine = flat @ flat.T
    same = (who[:, None] == who) & ~np.eye(len(who), dtype=bool)
    assert cosine[same].min() > THRESHOLD > cosine[who[:, None] != who].max()


def test_the_centred_embedder_tells_them_apart_too(embeddings: NDArray[np.float64], faces: NDArray[np.uint8]) -> None:
    common = centre.read(SFACE_CENTRED.centre, SFACE_CENTRED.centre_sha256, 128)
    flat = centre.centred(embeddings.reshape(-1, 128), common)
    assert np.allclose(FacePipeline(SFACE_CENTRED).embed(faces[1, 2]), flat[7], atol=1e-5)
    who = np.repeat(np.arange(PEOPLE), 5)
    cosine = flat @ flat.T
    same = (who[:, None] == who) & ~np.eye(len(who), dtype=bool)
    assert cosine[same].min() > THRESHOLDS["sface-centred"] > cosine[who[:, None] != who].max()


def test_decisions_survive_quantisation(embeddings: NDArray[np.float64]) -> None:
    flat = embeddings.reshape(-1, 128)
    cosine = flat @ flat.T
    for scale in (64, 512, 1024):
        params = Params(KeyId(b"k" * 32), 3072, scale=scale)
        tau = tau_from_cosine(THRESHOLD, scale)
        templates = np.array([quantise(e, params) for e in flat])
        for x, row in zip(templates, cosine, strict=True):
            assert np.array_equal(distance2(x, templates) <= tau, row >= THRESHOLD)
            assert np.allclose(1 - distance2(x, templates) / (2 * scale**2), row, atol=8 / scale)


def test_the_demo_s_photos_come_with_names() -> None:
    try:
        photos, _ = load_photos()
    except DownloadFailed as error:
        pytest.skip(str(error))
    assert list(photos)[::13] == ["Person 01", "Person 14", "Person 27", "Person 40"]
    assert all(plan.enrolled + plan.strangers <= len(photos) for plan in PLANS.values())
    assert all(len(each) == 10 for each in photos.values())


def test_a_batch_gives_what_single_faces_give(pipeline: FacePipeline, faces: NDArray[np.uint8]) -> None:
    crops = np.stack([pipeline.aligned(faces[0, i % 10]) for i in range(18)])
    batch = pipeline.embed_aligned(crops)
    singles = np.concatenate([pipeline.embed_aligned(crop[None]) for crop in crops])
    assert np.array_equal(batch, singles)
    assert np.array_equal(batch[3], pipeline.embed(faces[0, 3]))


def test_onnxruntime_gives_the_same(pipeline: FacePipeline, faces: NDArray[np.uint8]) -> None:
    other = FacePipeline(SFACE.model_copy(update={"runtime": Runtime.ONNXRUNTIME}))
    assert np.allclose(other.embed(faces[1, 0]), pipeline.embed(faces[1, 0]), atol=1e-4)


def test_weights_given_by_path(pipeline: FacePipeline, faces: NDArray[np.uint8]) -> None:
    from pura.face import weights

    path = weights.locate(weights.SFACE_FILE)
    mine = EmbedderSpec(name="mine", path=path, sha256=SFACE.sha256, dimension=128, runtime=Runtime.OPENCV)
    assert np.array_equal(FacePipeline(mine).embed(faces[2, 0]), pipeline.embed(faces[2, 0]))


def canvas(faces: NDArray[np.uint8], *sizes: int) -> NDArray[np.uint8]:
    """Faces of different people side by side on grey, each this many pixels high."""
    out = np.full((400, 400 * len(sizes), 3), 128, np.uint8)
    for i, size in enumerate(sizes):
        photo = np.asarray(Image.fromarray(faces[i, 0]).resize((size * 92 // 112, size)))
        out[100 : 100 + size, 400 * i + 100 : 400 * i + 100 + photo.shape[1]] = photo[..., None]
    return out


def test_two_faces(pipeline: FacePipeline, faces: NDArray[np.uint8]) -> None:
    both = canvas(faces, 180, 224)
    with pytest.raises(SeveralFaces):
        pipeline.embed(both)
    got, want = pipeline.embed(both, largest=True), pipeline.embed(faces[1, 0])
    assert got @ want / np.linalg.norm(got) / np.linalg.norm(want) > 0.9


def test_a_passer_by_is_background(pipeline: FacePipeline, faces: NDArray[np.uint8]) -> None:
    got, want = pipeline.embed(canvas(faces, 224, 70)), pipeline.embed(faces[0, 0])
    assert got @ want / np.linalg.norm(got) / np.linalg.norm(want) > 0.9


def test_no_face(pipeline: FacePipeline) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    for image in (noise, np.zeros((20, 3000), np.uint8), np.full((2000, 2000, 3), 128, np.uint8)):
        with pytest.raises(NoFace):
            pipeline.embed(image)


def test_a_tiny_face(pipeline: FacePipeline, faces: NDArray[np.uint8]) -> None:
    with pytest.raises(FaceTooSmall, match="pixels"):
        pipeline.embed(canvas(faces, 44))


def test_a_blurred_face(pipeline: FacePipeline, faces: NDArray[np.uint8]) -> None:
    photo = Image.fromarray(faces[2, 0]).resize((276, 336), Image.Resampling.BICUBIC)
    assert pipeline.embed(np.asarray(photo)).shape == (128,)
    with pytest.raises(FaceTooBlurred):
        pipeline.embed(np.asarray(photo.filter(ImageFilter.GaussianBlur(8))))


def test_a_large_photo_and_a_small_face_in_it(pipeline: FacePipeline, faces: NDArray[np.uint8], tmp_path: Path) -> None:
    want = pipeline.embed(faces[0, 0])
    huge = Image.fromarray(faces[0, 0]).resize((92 * 30, 112 * 30), Image.Resampling.BICUBIC)
    huge.save(tmp_path / "huge.png")
    wide = np.full((2400, 3200, 3), 90, np.uint8)
    wide[1000:1112, 1500:1592] = faces[0, 0][..., None]
    for photo in (tmp_path / "huge.png", wide):
        got = pipeline.embed(photo)
        assert got @ want / np.linalg.norm(got) / np.linalg.norm(want) > 0.9


def test_a_tilted_head_is_looked_at_again(pipeline: FacePipeline, faces: NDArray[np.uint8]) -> None:
    framed = Image.fromarray(np.pad(faces[3, 0], 40, mode="edge"))
    want = pipeline.embed(np.asarray(framed))
    for degrees in (-30, 30):
        turned = np.asarray(framed.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=90))
        got = pipeline.embed(turned)
        assert got @ want / np.linalg.norm(got) / np.linalg.norm(want) > 0.75


def test_a_sideways_photo(pipeline: FacePipeline, faces: NDArray[np.uint8], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(np.rot90(faces[0, 0], -1)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pipeline.embed(tmp_path / "a.png"), pipeline.embed(faces[0, 0]))


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_photo_that_lies_on_its_side_or_its_head_is_turned(
    quarter: int, pipeline: FacePipeline, faces: NDArray[np.uint8]
) -> None:
    for person in faces[:PEOPLE]:
        photo = np.asarray(Image.fromarray(person[0]).resize((276, 336)))
        upright, turned = (pipeline.embed(np.rot90(photo, turns).copy()) for turns in (0, quarter))
        cosine = float(upright @ turned / np.linalg.norm(upright) / np.linalg.norm(turned))
        assert cosine > THRESHOLD


def test_a_line_has_no_face(pipeline: FacePipeline) -> None:
    with pytest.raises(NoFace):
        pipeline.embed(np.zeros((16, 40_000, 3), np.uint8))

"""Photos and embeddings to templates: what an embedding says it is, what is refused, and several photos of a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pura.crypto.encoding import quantise
from pura.errors import BadEmbedding, NoFace, ParameterMismatch, PhotosDisagree, PuraError, UnreadableImage
from pura.face import centre, several
from pura.face.spec import SFACE, SFACE_CENTRED, SFACE_MIRRORED, EmbedderSpec
from pura.ids import KeyId
from pura.params import Params
from pura_client import Raw, Ready
from pura_client.templates import Templates, one_of, vector_of

D = 128
E = np.random.default_rng(3).standard_normal((6, D))


def params(embedder: str, dimension: int = D) -> Params:
    return Params(KeyId(bytes(16)), 2048, dimension=dimension, scale=128, embedder=embedder)


def of(name: str, photo: Any, **how: Any) -> np.ndarray:
    return Templates(params(name), **how).of(photo, largest=False)


# --- what an embedding says it is -------------------------------------------------------------------


@pytest.mark.parametrize("embedder", ["sface-centred", "sface-mirrored"])
def test_a_raw_embedding_is_centred_here(embedder: str) -> None:
    common = centre.of(SFACE_CENTRED)
    ready = centre.centred(E[:1], common)[0]
    assert np.array_equal(of(embedder, Raw(E[0])), quantise(ready, params(embedder)))
    assert np.array_equal(of(embedder, Ready(ready)), of(embedder, Raw(E[0])))
    assert not np.array_equal(of(embedder, Ready(E[0])), of(embedder, Raw(E[0])))
    # done twice it is done once
    assert np.array_equal(of(embedder, Raw(ready)), of(embedder, Ready(ready)))


def test_without_a_centre_both_are_the_same() -> None:
    assert np.array_equal(of("sface", Raw(E[0])), of("sface", Ready(E[0])))
    assert np.array_equal(of("sface", E[0]), of("sface", Ready(E[0])))
    assert np.array_equal(of("none", E[0]), of("none", Ready(E[0])))


@pytest.mark.parametrize("embedder", ["sface-centred", "sface-mirrored"])
def test_a_centred_collection_takes_no_vector_that_does_not_say_what_it_is(embedder: str) -> None:
    for vector in (E[0], E[0].astype(np.float32), E[0].tolist(), tuple(E[0])):
        with pytest.raises(BadEmbedding, match="Raw"):
            of(embedder, vector)
        with pytest.raises(BadEmbedding, match="Raw"):
            one_of(None, vector)


def test_an_embedder_of_the_user_s_own(tmp_path: Path) -> None:
    centre.write(tmp_path / "centre.toml", [centre.mean_of(E[1:], "them")])
    mine = EmbedderSpec(name="mine", dimension=D, centre=tmp_path / "centre.toml")
    ready = centre.centred(E[:1], centre.of(mine))[0]
    assert np.array_equal(of("mine", Raw(E[0]), embedder=mine), quantise(ready, params("mine")))
    with pytest.raises(BadEmbedding, match="mine centres"):
        of("mine", E[0], embedder=mine)
    with pytest.raises(BadEmbedding, match="does not know the embedder 'mine'"):
        of("mine", Raw(E[0]))
    with pytest.raises(ParameterMismatch):
        of("other", Raw(E[0]), embedder=mine)


@pytest.mark.parametrize(
    "numbers",
    [
        E[0].tolist(),
        tuple(E[0]),
        [E[0].tolist()],
        E[0],
        E[0][None],
        [E[0]],
        np.asfortranarray(E[0]),
        E[::2][0],
        list(E[0]),
    ],
    ids=lambda n: type(n).__name__,
)
def test_lists_tuples_and_arrays_are_taken(numbers: Any) -> None:
    assert np.array_equal(vector_of(Ready(numbers)), E[0])


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble])
def test_floats_of_any_width_are_taken(kind: type[np.floating[Any]]) -> None:
    got = vector_of(Raw(E[0].astype(kind)))
    assert got.dtype == np.float64
    assert np.allclose(got, E[0], atol=1e-2)


def test_whole_numbers_in_a_list_are_numbers() -> None:
    assert vector_of(Ready([1, -2, *[0] * (D - 2)])).tolist() == [1, -2, *[0] * (D - 2)]


@pytest.mark.parametrize(
    "numbers",
    [
        E[0].astype(complex),
        (E[0] * 100).astype(np.uint8),
        (E[0] * 100).astype(np.int64),
        E[0] > 0,
        np.array(list(E[0]), dtype=object),
        np.where(np.arange(D) == 3, np.nan, E[0]),
        np.where(np.arange(D) == 3, np.inf, E[0]),
        [*E[0][:-1], float("nan")],
        [*E[0][:-1], 1j],
        [*E[0][:-1], "1"],
        [*E[0][:-1], True],
        [*E[0][:-1], None],
        [*E[0][:-1], 10**400],
        E[0][:-1],
        [*E[0], 0.0],
        E[:2],
        E[0][:, None],
        E[0][None, None],
        [],
        [[]],
        None,
        "numbers",
        b"numbers",
        3.0,
        {"a": 1},
        object(),
    ],
    ids=lambda n: repr(n).partition(" at 0x")[0][:30],
)
@pytest.mark.parametrize("kind", [Raw, Ready])
def test_anything_else_is_a_typed_error(kind: type[Raw] | type[Ready], numbers: Any) -> None:
    with pytest.raises(BadEmbedding):
        of("sface-centred", kind(numbers))


def test_numbers_do_not_print() -> None:
    assert "0." not in repr(Raw([0.25, 0.5])) + repr(Ready(E[0]))


def test_one_of_a_photo_and_an_embedding() -> None:
    assert one_of("photo.jpg", None) == "photo.jpg"
    raw = Raw(E[0])
    assert one_of(None, raw) is raw
    for photo, embedding in ((None, None), ("photo.jpg", Raw(E[0]))):
        with pytest.raises(UnreadableImage):
            one_of(photo, embedding)


# --- several photos of a person ---------------------------------------------------------------------


class Faces:
    """A pipeline whose photos are names of vectors."""

    spec = SFACE

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self.vectors = vectors

    def embed(self, photo: str, *, largest: bool) -> np.ndarray:
        if photo not in self.vectors:
            raise NoFace()
        return self.vectors[photo].astype(np.float32)


def near(e: np.ndarray, seed: int) -> np.ndarray:
    return e + 0.6 * np.random.default_rng([7, seed]).standard_normal(D)


@pytest.fixture
def templates() -> Templates:
    people = {f"ada {i}": near(E[0], i) for i in range(4)} | {f"bob {i}": near(E[1], 10 + i) for i in range(4)}
    return Templates(params("sface"), faces=Faces(people))  # type: ignore[arg-type]


def test_the_template_of_several_photos_is_their_mean(templates: Templates) -> None:
    photos = [f"ada {i}" for i in range(4)]
    template, left_out = templates.of_person(photos, largest=False, strict=True)
    assert left_out == []
    assert template is not None
    rows = centre.unit([near(E[0], i).astype(np.float32) for i in range(4)])
    assert np.array_equal(template, quantise(rows.mean(0), params("sface")))
    cosine = float(template @ E[0]) / 128 / np.linalg.norm(E[0])
    assert cosine > max(float(templates.of(p, largest=False) @ E[0]) / 128 / np.linalg.norm(E[0]) for p in photos)


def test_one_photo_is_itself(templates: Templates) -> None:
    template, _ = templates.of_person(["ada 0"], largest=False, strict=True)
    assert template is not None
    assert float(template @ templates.of("ada 0", largest=False)) / 128**2 > 0.9999


def test_a_photo_of_somebody_else_is_named(templates: Templates) -> None:
    photos = ["ada 0", "bob 0", "ada 1", "ada 2"]
    with pytest.raises(PhotosDisagree, match=r"not like the other photos: bob 0$"):
        templates.of_person(photos, largest=False, strict=True)
    template, left_out = templates.of_person(photos, largest=False, strict=False)
    assert [(photo, error.code) for photo, error in left_out] == [("bob 0", "photos_disagree")]
    only, _ = templates.of_person(["ada 0", "ada 1", "ada 2"], largest=False, strict=True)
    assert np.array_equal(template, only)  # type: ignore[arg-type]


def test_of_two_that_disagree_both_are_named(templates: Templates) -> None:
    with pytest.raises(PhotosDisagree, match=r"do not show one person: ada 0, bob 0$"):
        templates.of_person(["ada 0", "bob 0"], largest=False, strict=True)
    template, left_out = templates.of_person(["ada 0", "bob 0"], largest=False, strict=False)
    assert template is None
    assert len(left_out) == 2
    odd = Raw(E[2]), Raw(E[3])
    with pytest.raises(PhotosDisagree, match="photo 1, photo 2"):
        templates.of_person(odd, largest=False, strict=True)


def test_a_photo_that_cannot_be_used_is_named_or_left_out(templates: Templates) -> None:
    with pytest.raises(NoFace, match=r"^wall: No face"):
        templates.of_person(["ada 0", "wall"], largest=False, strict=True)
    with pytest.raises(NoFace, match=r"^No face"):
        templates.of_person(["wall"], largest=False, strict=True)
    template, left_out = templates.of_person(["wall", "ada 0", "bob 1", "ada 1"], largest=False, strict=False)
    assert template is not None
    assert [photo for photo, _ in left_out] == ["wall", "bob 1"]
    assert templates.of_person([], largest=False, strict=False) == (None, [])


def test_an_embedder_says_how_alike_photos_of_one_person_are() -> None:
    strict = EmbedderSpec(name="mine", dimension=D, agreement=0.99)
    pair = [Ready(near(E[0], 1)), Ready(near(E[0], 2))]
    Templates(params("mine"), embedder=strict.model_copy(update={"agreement": 0.2})).of_person(
        pair, largest=False, strict=True
    )
    with pytest.raises(PhotosDisagree):
        Templates(params("mine"), embedder=strict).of_person(pair, largest=False, strict=True)


def test_strangers_among_photos() -> None:
    ada, bob = [near(E[0], i) for i in range(4)], [near(E[1], i) for i in range(4)]
    assert several.strangers(np.stack(ada), 0.25) == []
    assert several.strangers(np.stack(ada[:1]), 0.25) == []
    assert several.strangers(np.stack([bob[0], *ada]), 0.25) == [0]
    assert several.strangers(np.stack([*ada[:3], *bob[:1], E[2]]), 0.25) == [3, 4]
    assert several.strangers(np.stack([ada[0], bob[0]]), 0.25) == [0, 1]
    assert several.strangers(E, 0.25) == list(range(6))
    two = several.strangers(np.stack([*ada[:2], *bob[:2]]), 0.25)
    assert two in ([0, 1], [2, 3])
    same = several.strangers(np.stack([ada[0]] * 3 + [bob[0]] * 3), 0.25)
    assert same in ([0, 1, 2], [3, 4, 5])
    assert several.strangers(np.stack([1000 * ada[0], ada[1] / 1000]), 0.25) == []


def test_embeddings_that_have_no_mean() -> None:
    for rows in (np.zeros((0, D)), np.stack([E[0], -E[0]]), np.zeros((2, D))):
        with pytest.raises(PuraError):
            several.mean(rows)


def test_mirrored_faces_are_a_model_of_their_own() -> None:
    assert SFACE_MIRRORED.mirror
    assert not SFACE_CENTRED.mirror
    assert (SFACE_MIRRORED.sha256, SFACE_MIRRORED.centre) == (SFACE_CENTRED.sha256, SFACE_CENTRED.centre)

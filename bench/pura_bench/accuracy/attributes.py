"""The invariance table: what light, blur, weather and the like do to embeddings and decisions.

For a photo, its embedding e, and e' of the same photo altered: the displacement ||e' - e|| is set against the distance
between different people, E ||e_i - e_j||. An attribute that moves faces all in one direction, rather than each in its
own, shows as a consistency ||E (e' - e)|| / E ||e' - e|| near 1; such a shift could be taken out again.

The attributes are synthetic: they vary one thing at a time on photos that are good, which real weather does not.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pura.attack.oracle import unit
from pura.errors import NoFace
from pura.face import align, images
from pura.face.detect import Face
from pura.face.images import Pixels
from pura.face.pipeline import FacePipeline
from pura_bench.accuracy.datasets import DataSet
from pura_bench.accuracy.embeddings import Embedded, Vectors, central_crop, central_face
from pura_bench.accuracy.evaluate import similarities
from pura_bench.accuracy.metrics import Rate
from pura_bench.accuracy.report import Row
from pura_bench.accuracy.topic import Photos

Draw = np.random.Generator
Change = Callable[[Pixels, Face, float, Draw], NDArray[Any]]


def brightness(image: Pixels, face: Face, factor: float, draw: Draw) -> NDArray[Any]:
    """All values times a factor."""
    return image * factor


def contrast(image: Pixels, face: Face, factor: float, draw: Draw) -> NDArray[Any]:
    """Distances from the picture's mean times a factor."""
    mean = float(image.mean())
    return np.asarray(mean + (image.astype(np.float64) - mean) * factor)


def blur(image: Pixels, face: Face, share: float, draw: Draw) -> NDArray[Any]:
    """Gaussian, sigma as a percentage of the face's width."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), share / 100 * face.side))


def noise(image: Pixels, face: Face, sigma: float, draw: Draw) -> NDArray[Any]:
    """Gaussian noise in each channel, sigma in grey levels."""
    return image + draw.normal(0, sigma, image.shape)


def jpeg(image: Pixels, face: Face, quality: float, draw: Draw) -> NDArray[Any]:
    """Encoded at a quality and decoded again."""
    _, body = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return np.asarray(cv2.imdecode(body, cv2.IMREAD_COLOR))[:, :, ::-1]


def rotation(image: Pixels, face: Face, degrees: float, draw: Draw) -> NDArray[Any]:
    """The whole photo turned about the face, to either side."""
    x, y, w, h = face.box
    turn = cv2.getRotationMatrix2D((x + w / 2, y + h / 2), degrees * draw.choice([-1, 1]), 1.0)
    return np.asarray(cv2.warpAffine(image, turn, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE))


def keystone(image: Pixels, face: Face, share: float, draw: Draw) -> NDArray[Any]:
    """Seen from the left (below 0) or from the right: one side of the photo is lower, by a percentage at either end."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved, rise = corners.copy(), np.float32(abs(share) / 100 * height)
    for corner, sign in ((1, 1), (2, -1)) if share > 0 else ((0, 1), (3, -1)):
        moved[corner, 1] += sign * rise
    turn = cv2.getPerspectiveTransform(corners, moved)
    return np.asarray(cv2.warpPerspective(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE))


def hue(image: Pixels, face: Face, degrees: float, draw: Draw) -> NDArray[Any]:
    """All hues turned."""
    hsv = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)).astype(np.int64)
    hsv[..., 0] = (hsv[..., 0] + round(degrees / 360 * 256)) % 256
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB_FULL))


def glasses(image: Pixels, face: Face, width: float, draw: Draw) -> NDArray[Any]:
    """A dark frame around both eyes, with a bridge; its lines so wide, in % of the distance of the eyes."""
    out = image.copy()
    one, two = face.landmarks[0], face.landmarks[1]
    apart = float(np.linalg.norm(two - one))
    line, radius = max(1, round(width / 100 * apart)), round(0.36 * apart)
    across = (two - one) / apart
    for eye in (one, two):
        cv2.circle(out, np.rint(eye).astype(int).tolist(), radius, (20, 20, 25), line, cv2.LINE_AA)
    left, right = (np.rint(at).astype(int).tolist() for at in (one + across * radius, two - across * radius))
    cv2.line(out, left, right, (20, 20, 25), line, cv2.LINE_AA)
    return out


def occlusion(image: Pixels, face: Face, share: float, draw: Draw) -> NDArray[Any]:
    """A grey square at a random place on the face, of a percentage of the area of its box."""
    x, y, w, h = face.box
    side = np.sqrt(share / 100 * w * h)
    left, top = x + draw.uniform(0, max(0.0, w - side)), y + draw.uniform(0, max(0.0, h - side))
    return _covered(image, left, top, left + side, top + side)


def mask(image: Pixels, face: Face, share: float, draw: Draw) -> NDArray[Any]:
    """A grey cover from the chin up to a percentage of the way from the mouth to the eyes, like a face mask."""
    x, y, w, h = face.box
    eyes, mouth = face.landmarks[:2, 1].mean(), face.landmarks[3:, 1].mean()
    top = mouth - share / 100 * (mouth - eyes)
    return _covered(image, x, top, x + w, y + h)


def _covered(image: Pixels, left: float, top: float, right: float, bottom: float) -> Pixels:
    out = image.copy()
    out[max(0, int(top)) : max(0, int(bottom)), max(0, int(left)) : max(0, int(right))] = 128
    return out


def haze(image: Pixels, face: Face, share: float, draw: Draw) -> NDArray[Any]:
    """Scattered light: a percentage of each value is replaced by pale grey, more in some places than in others."""
    clouds = cv2.resize(draw.uniform(0.8, 1.2, (6, 6)), image.shape[1::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    veil = np.clip(share / 100 * clouds, 0, 1)
    return np.asarray(image * (1 - veil) + 225 * veil)


def rain(image: Pixels, face: Face, streaks: float, draw: Draw) -> NDArray[Any]:
    """Bright slanted streaks, so many for each 10,000 pixels, with the dullness of a wet day."""
    height, width = image.shape[:2]
    layer: NDArray[Any] = np.zeros((height, width), np.float32)
    slant = draw.uniform(-0.25, 0.25)
    for _ in range(int(streaks * height * width / 1e4)):
        x, y = draw.uniform(0, width), draw.uniform(-0.1 * height, height)
        length = draw.uniform(0.06, 0.14) * height
        cv2.line(layer, (int(x), int(y)), (int(x + slant * length), int(y + length)), float(draw.uniform(0.3, 0.8)), 1)
    layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), 0.7))[..., None]
    return image * 0.9 * (1 - layer) + 230 * layer


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A way to alter photos, at levels of growing strength."""

    name: str
    unit: str
    change: Change
    levels: tuple[float, ...]

    def apply(self, image: Pixels, face: Face, level: float, draw: Draw) -> Pixels:
        """The altered photo, of the same size."""
        out: Pixels = np.rint(np.clip(self.change(image, face, level, draw), 0, 255)).astype(np.uint8)
        return out


ATTRIBUTES = (
    Attribute("darker", "factor", brightness, (0.6, 0.3, 0.15)),
    Attribute("brighter", "factor", brightness, (1.4, 1.8, 2.5)),
    Attribute("less contrast", "factor", contrast, (0.6, 0.3, 0.15)),
    Attribute("blur", "sigma, % of the face's width", blur, (1.0, 2.0, 4.0)),
    Attribute("noise", "sigma, grey levels", noise, (10, 25, 50)),
    Attribute("JPEG", "quality", jpeg, (50, 20, 8)),
    Attribute("rotation", "degrees", rotation, (10, 25, 45)),
    Attribute("occlusion", "% of the face", occlusion, (5, 15, 30)),
    Attribute("mask", "% of mouth to eyes", mask, (20, 50, 75)),
    Attribute("haze", "% veil", haze, (30, 60, 80)),
    Attribute("rain", "streaks in 10,000 pixels", rain, (10, 30, 80)),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Genuine pairs, both photos with a face: the first is enrolled, the second is altered and asks.

    gallery: (n, D), of the first photos; asked: (n,), places of the second ones; others: (n, n), which of those that
    ask and of those enrolled are different people.
    """

    embedded: Embedded
    gallery: Vectors
    asked: NDArray[np.int64]
    others: NDArray[np.bool_]

    @classmethod
    def of(cls, embedded: Embedded, size: int, seed: int) -> Sample:
        """Up to `size` pairs, drawn by a seed."""
        pairs = embedded.data.pairs[embedded.data.same]
        pairs = pairs[embedded.found[pairs].all(1)]
        drawn = np.random.default_rng(seed).permutation(len(pairs))[:size]
        enrolled, asked = pairs[np.sort(drawn)].T
        people = embedded.people_or_pairs
        return cls(embedded, embedded.vectors[enrolled], asked, people[asked][:, None] != people[enrolled][None])

    def judge(self, moved: Vectors, threshold: float) -> Row:
        """Of the photos that ask, altered, (n, D): faces not found, false non-matches (those included), false matches
        with the enrolled photos of all other people of the sample."""
        hit = similarities(moved, self.gallery) >= threshold
        genuine = np.diagonal(hit)
        return {
            "not_found": int(np.isnan(moved[:, 0]).sum()),
            "fnmr": Rate(int((~genuine).sum()), len(genuine)).as_dict(),
            "fmr": Rate(int(hit[self.others].sum()), int(self.others.sum())).as_dict(),
        }


def invariance(embedded: Embedded, photos: Photos, threshold: float, size: int, seed: int) -> Row:
    """The table. threshold: the least cosine."""
    sample = Sample.of(embedded, size, seed)
    gallery, plain = sample.gallery, embedded.vectors[sample.asked]
    between = float(np.linalg.norm(gallery[:, None] - plain[None], axis=2)[sample.others.T].mean())
    rows = []
    steps = [(attribute, level) for attribute in ATTRIBUTES for level in attribute.levels]
    with photos.bar("altering photos", len(plain) * len(steps)) as advance:
        for attribute, level in steps:
            # each row draws for itself: one can be run again alone
            draw = np.random.default_rng([seed, zlib.crc32(attribute.name.encode()), int(level * 1000)])
            crops = []
            for place in sample.asked:
                crops.append(altered_crop(embedded.data, place, [(attribute, level)], draw, photos.faces))
                advance(1)
            moved = embed_crops(crops, photos.faces)
            about = {"attribute": attribute.name, "unit": attribute.unit, "level": level}
            rows.append(about | _moved(plain, moved, between) | sample.judge(moved, threshold))
    return {
        "pairs": len(plain),
        "threshold": threshold,
        "distance_between_people": between,
        "distance_within_people": float(np.linalg.norm(gallery - plain, axis=1).mean()),
        "unaltered": sample.judge(plain, threshold),
        "rows": rows,
    }


def altered_crop(
    data: DataSet,
    place: int,
    changes: Iterable[tuple[Attribute, float]],
    draw: Draw,
    faces: FacePipeline,
    *,
    after: Callable[[Pixels], Pixels] = lambda pixels: pixels,
    where: Face | None = None,
) -> Pixels | None:
    """The aligned face of a photo after changes, each at a level, and after what is then done to the whole photo; None
    when the face is not found (any more). where: the face of the photo as it is, if that is known."""
    image = images.read(data.photos[place])
    if data.aligned:
        size = float(faces.spec.input_size)
        where = Face((0.0, 0.0, size, size), align.TEMPLATE * (size / align.TEMPLATE_SIZE), 1.0)
    try:
        for attribute, level in changes:
            where = where or central_face(image, faces)
            image = attribute.apply(image, where, level, draw)
    except NoFace:
        return None
    image = after(image)
    return image if data.aligned else central_crop(image, faces)


def embed_crops(crops: Sequence[Pixels | None], faces: FacePipeline) -> Vectors:
    """Embeddings (n, D) of unit length; NaN where there is no face."""
    out = np.full((len(crops), faces.spec.dimension), np.nan)
    places = [i for i, crop in enumerate(crops) if crop is not None]
    if places:
        out[places] = faces.embed_aligned(np.stack([crop for crop in crops if crop is not None]))
    return np.asarray(unit(out), np.float64)


def _moved(plain: Vectors, moved: Vectors, between: float) -> Row:
    shift = (moved - plain)[~np.isnan(moved[:, 0])]
    if not len(shift):
        return {"displacement": None, "relative": None, "consistency": None}
    length = float(np.linalg.norm(shift, axis=1).mean())
    return {
        "displacement": length,
        "relative": length / between,
        "consistency": float(np.linalg.norm(shift.mean(0))) / length if length else 0.0,
    }

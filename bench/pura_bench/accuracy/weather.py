"""Whether restoring a photo before it is embedded helps: haze, rain and noise, and classical remedies.

Genuine pairs; the second photo is altered, then restored, then embedded, and judged at a threshold that was fixed on
unaltered photos. What a remedy does to photos that need none is told as well. Remedies are OpenCV's, and the dark
channel prior; there are no weights of learned restorers to be had, but `--restorer FILE.onnx` tries one (input and
output (1, 3, H, W), RGB, 0..1).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from pura.errors import BadWeights
from pura.face.images import Pixels
from pura_bench.accuracy.attributes import ATTRIBUTES, Attribute, Sample, altered_crop, embed_crops
from pura_bench.accuracy.evaluate import threshold
from pura_bench.accuracy.report import Row, Table
from pura_bench.accuracy.topic import Photos, topic

Remedy = Callable[[Pixels], Pixels]
FMR = 1e-4
PATCH, KEPT, LEAST, RADIUS, SMOOTH = 15, 0.95, 0.1, 40, 1e-3


def dark_channel(image: Pixels) -> Pixels:
    """He, Sun and Tang, "Single image haze removal using dark channel prior" (2009), with their guided filter (2010).

    t = 1 - 0.95 min_patch min_c I_c / A_c, A the mean colour of the 0.1 % of pixels whose dark channel is brightest;
    J = (I - A) / max(t, 0.1) + A.
    """
    x = image.astype(np.float32) / 255
    patch = np.ones((PATCH, PATCH), np.uint8)
    dark = np.asarray(cv2.erode(x.min(2), patch))
    top = np.argsort(dark, axis=None)[-max(1, dark.size // 1000) :]
    air = np.maximum(x.reshape(-1, 3)[top].mean(0), 1e-3)
    t = 1 - KEPT * np.asarray(cv2.erode((x / air).min(2).astype(np.float32), patch))
    t = np.maximum(_guided(x.mean(2), t.astype(np.float32)), LEAST)[..., None]
    return _pixels(((x - air) / t + air) * 255)


def _guided(guide: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """He, Sun and Tang, "Guided image filtering" (2010): values smoothed where the guide is."""

    def mean(of: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.blur(of, (2 * RADIUS + 1, 2 * RADIUS + 1)))

    a = (mean(guide * values) - mean(guide) * mean(values)) / (mean(guide * guide) - mean(guide) ** 2 + SMOOTH)
    return np.asarray(mean(a) * guide + mean(mean(values) - a * mean(guide)))


def opening(image: Pixels) -> Pixels:
    """What is brighter than its surroundings and narrower than three pixels is taken away, as streaks of rain are."""
    return np.asarray(cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((1, 3), np.uint8)))


def median(image: Pixels) -> Pixels:
    """The median of 3 x 3 pixels."""
    return np.asarray(cv2.medianBlur(image, 3))


def non_local(image: Pixels) -> Pixels:
    """Buades, Coll and Morel's non-local means, for the noise that it estimates."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).astype(np.float64)
    # Immerkaer (1996): the mean absolute response to a mask that ordinary edges cancel in
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)
    sigma = float(np.abs(cv2.filter2D(grey, -1, mask)).mean() * np.sqrt(np.pi / 2) / 6)
    return np.asarray(cv2.fastNlMeansDenoisingColored(image, None, sigma, sigma, 5, 15))


def _pixels(values: NDArray[Any]) -> Pixels:
    out: Pixels = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return out


def learned(file: Path) -> Remedy:
    """A user's network. Raises `BadWeights`, also when it gives another shape than it got."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadWeights(f"{file.name} is not an ONNX model that onnxruntime can read", detail=str(error)) from error

    def restored(image: Pixels) -> Pixels:
        x = np.ascontiguousarray(image.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        try:
            y = np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])
        except Exception as error:
            raise BadWeights(f"{file.name} does not take this input", detail=str(error)) from error
        if y.shape != x.shape:
            raise BadWeights(f"{file.name} gives {y.shape} for {x.shape}")
        return _pixels(y[0].transpose(1, 2, 0) * 255)

    return restored


REMEDIES: dict[str, tuple[str, Remedy]] = {
    "none": ("", lambda image: image),
    "dark channel": ("haze", dark_channel),
    "opening": ("rain", opening),
    "median": ("rain", median),
    "non-local means": ("noise", non_local),
}
"""Name -> (against what, "" being anything, the remedy). Photos that need none get all of them."""


@topic(
    "weather",
    click.option("--pairs", default=150, show_default=True, type=click.IntRange(2)),
    click.option("--policy", type=click.Path(path_type=Path), help="Take the threshold from here."),
    click.option("--restorer", type=click.Path(path_type=Path), help="An ONNX network to try as a remedy."),
)
def weather(photos: Photos, seed: int, pairs: int, policy: Path | None, restorer: Path | None) -> list[Table]:
    """Whether restoring photos helps: FNMR at a fixed threshold in haze, rain and noise, with remedies and without."""
    held, fitted = photos.embed(photos.reported), photos.embed(photos.fitted_on)
    at = threshold(fitted, FMR, policy)
    remedies = REMEDIES | ({restorer.name: ("", learned(restorer))} if restorer else {})
    sample = Sample.of(held, pairs, seed)
    work: list[tuple[str, list[tuple[Attribute, float]], float, list[str]]] = [("as they are", [], 0.0, list(remedies))]
    for attribute in ATTRIBUTES:
        if attribute.name in ("haze", "rain", "noise"):
            tried = [name for name, (what, _) in remedies.items() if what in ("", attribute.name)]
            for level in attribute.levels:
                work.append((f"{attribute.name}, {level:g} {attribute.unit}", [(attribute, level)], level, tried))
    rows: list[Row] = []
    with photos.bar("altering and restoring", sum(len(tried) for *_, tried in work) * len(sample.asked)) as advance:
        for what, changes, level, tried in work:
            without: NDArray[np.bool_] | None = None
            for name in tried:
                crops = []
                for place in sample.asked:
                    draw = np.random.default_rng([seed, zlib.crc32(str(level).encode()), int(place)])
                    after = remedies[name][1]
                    crops.append(altered_crop(held.data, place, changes, draw, photos.faces, after=after))
                    advance(1)
                moved = embed_crops(crops, photos.faces)
                judged = sample.judge(moved, at)
                missed = ~(np.einsum("nd,nd->n", moved, sample.gallery) >= at)
                without = missed if without is None else without
                rows.append(
                    {
                        "photos": what,
                        "remedy": name,
                        "fnmr": judged["fnmr"],
                        "fmr": judged["fmr"],
                        "mended": int((without & ~missed).sum()),
                        "spoiled": int((missed & ~without).sum()),
                        "faces not found": judged["not_found"],
                    }
                )
    return [Table(f"restoring, {held.data.name}, {len(sample.asked)} pairs, threshold {at:.4f}", rows)]

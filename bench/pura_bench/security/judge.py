"""Whether a reconstruction is the victim: by the network that was attacked, and by one that was not.

The critic is dlib's ResNet (pip install 'pura-match[critic]'). It was trained by others on other photos, so an image
that only exploits the first network does not fool it. Thresholds are set on the attacker's people, each network its
own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pura.attack.metrics import Band, Rate, impostor_scores, threshold_at, verification_accuracy
from pura.attack.oracle import Floats, cosines, unit
from pura.face.pipeline import FacePipeline
from pura_bench.security.photos import Cast, Crops, Photos

Row = dict[str, Any]
FMRS = (1e-2, 1e-3)
CRITIC_PHOTOS = 400
CRITIC_SIDE = 150
CRITIC_PLACE = np.array([[1.59, 0, -14], [0, 1.59, -31]])
"""From the ArcFace crop to the chip that dlib's network is trained on: eyes 56 pixels apart, a third from the top.
99 % of 100 DevTrain pairs of LFW are told apart; merely enlarged, 87 %."""


class Network(Protocol):
    """Aligned crops (n, 112, 112, 3) to vectors that are compared by cosine, or by distance if `euclidean`."""

    name: str
    euclidean: bool

    def __call__(self, crops: Crops) -> Floats: ...


class Target:
    """The network that clients of the product use."""

    euclidean = False

    def __init__(self, faces: FacePipeline) -> None:
        self.name, self._faces = faces.spec.name, faces

    def __call__(self, crops: Crops) -> Floats:
        return unit(self._faces.embed_aligned(crops))


class Dlib:
    """dlib's face recognition ResNet v1 (Davis King; public domain)."""

    name = "dlib"
    euclidean = True

    def __init__(self, folder: Path) -> None:
        import dlib

        self._net: Any = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))

    def __call__(self, crops: Crops) -> Floats:
        import cv2

        out = []
        for crop in crops:
            chip = cv2.warpAffine(
                crop, CRITIC_PLACE, (CRITIC_SIDE, CRITIC_SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
            out.append(np.array(self._net.compute_face_descriptor(chip)))
        return np.array(out)


class Kept:
    """A network whose embeddings are kept in a folder, so that a run that goes on need not make them again."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.name, self.euclidean, self._network, self._folder = network.name, network.euclidean, network, folder

    def __call__(self, crops: Crops) -> Floats:
        key = hashlib.sha256(np.ascontiguousarray(crops).tobytes()).hexdigest()[:24]
        file = self._folder / f"embedded-{self.name}-{key}.npy"
        if not file.exists():
            np.save(file, self._network(crops))
        out: Floats = np.load(file)
        return out


def critic() -> Dlib | None:
    """The critic, if it is installed."""
    # the package's own module cannot be imported where setuptools is missing; only its files are wanted
    found = importlib.util.find_spec("face_recognition_models")
    if found is None or importlib.util.find_spec("dlib") is None or not found.submodule_search_locations:
        return None
    return Dlib(Path(found.submodule_search_locations[0]) / "models")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One set of reconstructions as one network sees it."""

    network: str
    similarity: Band
    sar1: dict[float, Rate]
    sar2: dict[float, Rate]
    accuracy: float

    def as_json(self) -> Row:
        """For the report's JSON."""
        return {
            "network": self.network,
            "similarity": dataclasses.asdict(self.similarity),
            "sar1": {f"{fmr:g}": rate_json(rate) for fmr, rate in self.sar1.items()},
            "sar2": {f"{fmr:g}": rate_json(rate) for fmr, rate in self.sar2.items()},
            "accuracy": round(self.accuracy, 4),
        }


def rate_json(rate: Rate) -> Row:
    """k, n and the interval."""
    return {"k": rate.k, "n": rate.n, "low": round(rate.low, 4), "high": round(rate.high, 4)}


def attempts(
    arm: str, attacker: str, deployment: str, attack: str, succeeded: Sequence[bool], told: str, control: Row | None
) -> Row:
    """A line about an attack that was tried so often: how often it worked, what the client was told meanwhile, and how
    often the control did."""
    return {
        "arm": arm,
        "attacker": attacker,
        "deployment": deployment,
        "attack": attack,
        "tries": len(succeeded),
        "succeeded": rate_json(Rate.of(succeeded)),
        "told": told,
        "control": control,
    }


class Judge:
    """One network with its thresholds and what it makes of the victims' photos."""

    def __init__(self, network: Network, cast: Cast, known: Photos, embedded: Floats | None = None) -> None:
        """Thresholds are set on `known`; `embedded`: what the network makes of it, if that is known already."""
        self.network = network
        embeddings = network(known.crops) if embedded is None else embedded
        impostors = impostor_scores(self._ready(embeddings), known.people, euclidean=network.euclidean)
        self.thresholds = {fmr: threshold_at(impostors, fmr) for fmr in FMRS}
        self.pairs = len(impostors)
        self._enrolled, self._mates = network(cast.enrolled.crops), network(cast.mates.crops)
        one, other = cast.strangers
        self._strangers = self._scores(network(one.crops), network(other.crops))

    def _ready(self, embeddings: Floats) -> Floats:
        return embeddings if self.network.euclidean else unit(embeddings)

    def _scores(self, a: Floats, b: Floats) -> Floats:
        """The cosine, or minus the distance, of each row of a with the same row of b."""
        if self.network.euclidean:
            out: Floats = -np.linalg.norm(a - b, axis=1)
            return out
        return cosines(a, b)

    def verdict(self, pictures: Crops) -> Verdict:
        """Of one reconstruction for each victim, or for each of the first ones."""
        got, count = self.network(pictures), len(pictures)
        first, second = self._scores(got, self._enrolled[:count]), self._scores(got, self._mates[:count])
        return Verdict(
            self.network.name,
            Band.of(first),
            {fmr: Rate.of(first >= t) for fmr, t in self.thresholds.items()},
            {fmr: Rate.of(second >= t) for fmr, t in self.thresholds.items()},
            verification_accuracy(second, self._strangers[: max(2, count)])[0],
        )

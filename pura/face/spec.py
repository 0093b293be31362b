"""Which model embeds faces: the default, or any ONNX file by configuration."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pura import settings
from pura.errors import ParameterMismatch
from pura.params import Params

CENTRED = "sface-centred"
MIRRORED = "sface-mirrored"
SFACE_SHA256 = "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79"


class Runtime(StrEnum):
    """What runs the network. OpenCV takes 11 ms a face for SFace where onnxruntime takes 32, with equal results;
    onnxruntime knows more operators."""

    OPENCV = "opencv"
    ONNXRUNTIME = "onnxruntime"


class EmbedderSpec(BaseModel):
    """An embedding network, whose embeddings are compared by cosines, and how it wants its input.

    The network takes a batch of aligned faces, `input_size` pixels square (112: the usual ArcFace crop; other sizes
    scale the template), each value (v - mean) / std for v in 0..255, and gives `dimension` floats for each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=64)
    """Must be the collection's `embedder`: embeddings of different models cannot be compared."""
    path: Path | None = None
    """The ONNX file; None only for the default embedder, which is fetched."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Of the file; it is checked whenever the file is loaded."""
    dimension: int = Field(ge=1, le=4096)
    input_size: int = Field(default=112, ge=16, le=1024)
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    runtime: Runtime = Runtime.ONNXRUNTIME
    mirror: bool = False
    """Whether a face and its mirror image are both embedded, and their mean taken."""
    agreement: float = Field(default=0.25, ge=-1, le=1)
    """Of several photos of one person: the least cosine of each with half of the others (docs/accuracy.md)."""
    # neither is in the repr, by which benchmarks name what they keep: embeddings without a centre stay known
    centre: Path | None = Field(default=None, repr=False)
    """A file that `pura centre` wrote: what is taken out of every embedding."""
    centre_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$", repr=False)

    @model_validator(mode="after")
    def _check_centre(self) -> EmbedderSpec:
        if self.centre is None and (self.centre_sha256 is not None or self.name in (CENTRED, MIRRORED)):
            raise ValueError("the centre is missing")
        return self

    def check(self, params: Params) -> None:
        """Raises `ParameterMismatch` when a collection was made for another model."""
        if (self.name, self.dimension) != (params.embedder, params.dimension):
            raise ParameterMismatch(
                f"the collection takes {params.dimension} numbers of the embedder {params.embedder!r}, "
                f"this client has {self.dimension} of {self.name!r}"
            )


class DetectorSpec(BaseModel):
    """The YuNet file, when it is not to be fetched, and which faces are refused.

    min_face: pixels of the shorter side of the face's box; min_sharpness: see `pura.face.align.sharpness`; max_turn:
    see `pura.face.found.turn_of`. The defaults were measured: docs/face.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    min_face: float = Field(default=30.0, ge=0)
    min_sharpness: float = Field(default=0.04, ge=0)
    max_turn: float = Field(default=2.2, ge=0)


SFACE = EmbedderSpec(name="sface", sha256=SFACE_SHA256, dimension=128, runtime=Runtime.OPENCV)
"""SFace (OpenCV Zoo, 2021dec, Apache-2.0): 128 numbers, RGB 0..255, cosine. Trained on web-scraped faces."""

SFACE_CENTRED = EmbedderSpec(
    name=CENTRED,
    sha256=SFACE_SHA256,
    dimension=128,
    runtime=Runtime.OPENCV,
    centre=Path(__file__).with_name("sface-centre.toml"),
    centre_sha256="71ebc6ce7f3b86ef96e5d1eead5aada2768321802cf173ce2e9a64c34bced138",
)
"""The same network, without what the faces of LFW (DevTrain) have in common, and those of ORL."""

SFACE_MIRRORED = SFACE_CENTRED.model_copy(update={"name": MIRRORED, "mirror": True})
"""The same, each face with its mirror image: what new collections have."""

BUILT_IN = {spec.name: spec for spec in (SFACE, SFACE_CENTRED, SFACE_MIRRORED)}


def for_collection(configured: EmbedderSpec | None, params: Params) -> EmbedderSpec:
    """The embedder of a collection: the one that is configured, else the built-in one of its name.

    Raises `ParameterMismatch` when it is another model than the collection's.
    """
    spec = configured or BUILT_IN.get(params.embedder, SFACE)
    spec.check(params)
    return spec


def read(path: Path) -> tuple[EmbedderSpec | None, DetectorSpec]:
    """The tables [embedder], if there is one, and [detector] of a TOML file. Raises `BadConfig`."""
    found = settings.validated(_Models, located(settings.read(path), path.parent), path)
    return found.embedder, found.detector


def located(body: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tables of a file, with the paths in [embedder] and [detector] taken from its folder."""
    for name in ("embedder", "detector"):
        table = body.get(name)
        if isinstance(table, dict):
            for key in ("path", "centre"):
                if isinstance(table.get(key), str):
                    table[key] = str(folder / table[key])
    return body


class _Models(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    embedder: EmbedderSpec | None = None
    detector: DetectorSpec = DetectorSpec()

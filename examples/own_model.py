"""Your own ONNX embedder: `python examples/own_model.py client.toml models.toml`.

models.toml has the table [embedder] of docs/face.md: the collection's embedder name, its length, the file. Here crops
are random pixels, so that the example needs no photo; with [embedder] in client.toml, `pura.identify("photo.jpg")` does
all of it.
"""

import sys
from pathlib import Path

import numpy as np

import pura_client
from pura.face.pipeline import FacePipeline
from pura.face.spec import for_collection, read
from pura_client import Ready


def main(config: str, models: str) -> None:
    """Embed two crops, enrol one, ask about it."""
    spec, _ = read(Path(models))
    with pura_client.connect(config) as pura:
        faces = FacePipeline(for_collection(spec, pura.params))
        assert spec is not None
        size = spec.input_size
        crops = np.random.default_rng().integers(0, 256, (2, size, size, 3)).astype(np.uint8)  # RGB, aligned
        one, other = faces.embed_aligned(crops)
        # Ready: nothing has to be taken out any more. With [embedder] in client.toml it could be Raw
        pura.enroll(embedding=Ready(one), label="Crop (example)")
        try:
            print("the crop is", pura.identify(embedding=Ready(one)).label)
            print("cosine with the other crop:", round(float(one @ other), 2))
        finally:
            pura.forget("Crop (example)")


if __name__ == "__main__":
    main(*sys.argv[1:3])

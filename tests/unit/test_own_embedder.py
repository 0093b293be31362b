"""The steps of docs/face.md for an ONNX file of one's own, and for a collection of embeddings only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from click.testing import CliRunner
from onnx_file import pooled_network

from pura.crypto.keys import load_public
from pura.face.pipeline import FacePipeline
from pura.face.spec import for_collection, read
from pura_client.templates import Raw, Ready, Templates
from pura_server import config as server_config
from pura_server.cli import cli

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"


def test_an_onnx_file_of_ones_own(tmp_path: Path) -> None:
    own = ["--dimension", "48", "--embedder", "mine", "--threshold", "0.4", "--identify-threshold", "0.5"]
    made = CliRunner().invoke(cli, ["init", "--out", str(tmp_path / "o"), "--keys", str(KEYS), *own])
    assert made.exit_code == 0, made.output
    collection = server_config.load(tmp_path / "o" / "s1" / "s1.toml").collection
    params = collection.params(load_public(KEYS / "public.key"))
    network = pooled_network(tmp_path, 32, 4)
    (tmp_path / "models.toml").write_text(
        f'[embedder]\nname = "mine"\npath = "{network.name}"\ndimension = 48\ninput_size = 32\nmean = 127.0\n'
    )
    spec, _ = read(tmp_path / "models.toml")
    faces = FacePipeline(for_collection(spec, params))
    crop = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    embedding = faces.embed_aligned(crop)
    photo = Templates(params, embedder=spec).of(Raw(embedding), largest=False)
    assert int(photo @ photo) == params.norm2
    # the same numbers, from somebody who has no network at all
    assert np.array_equal(Templates(params).of(Ready(embedding[0].tolist()), largest=False), photo)


def test_a_mirrored_embedder_does_not_tell_a_face_from_its_mirror_image(tmp_path: Path) -> None:
    network = pooled_network(tmp_path, 32, 4)
    (tmp_path / "models.toml").write_text(
        f'[embedder]\nname = "mine"\npath = "{network.name}"\ndimension = 48\ninput_size = 32\nmirror = true\n'
    )
    spec, _ = read(tmp_path / "models.toml")
    assert spec is not None
    faces = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    got = FacePipeline(spec).embed_aligned(faces)
    assert np.allclose(got, FacePipeline(spec).embed_aligned(faces[:, :, ::-1]), atol=1e-6)
    once = FacePipeline(spec.model_copy(update={"mirror": False})).embed_aligned(faces)
    assert not np.allclose(once / np.linalg.norm(once), got / np.linalg.norm(got), atol=1e-3)

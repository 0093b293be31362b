"""`pura bench accuracy` from one end to the other, with a small network on made pictures: no weights needed. The last
part starts two real servers."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx_file import pooled_network
from PIL import Image

from pura.face.detect import Face
from pura.face.pipeline import FacePipeline
from pura.policy import read
from pura_bench.accuracy import attributes, report
from pura_bench.accuracy.cli import accuracy

SIZE = 32
PAIRS = 40


def picture(colour: np.ndarray, draw: np.random.Generator) -> bytes:
    """A crop whose mean colour is who is on it, more or less."""
    pixels = np.clip(colour + draw.normal(0, 4, 3) + draw.normal(0, 20, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A .bin file of 40 pairs, and the TOML file of an embedder for it; an empty cache."""
    monkeypatch.setenv("PURA_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(4)
    bins, same = [], []
    for i in range(PAIRS):
        one, other = draw.uniform(20, 235, (2, 3))
        same.append(i % 2 == 0)
        bins += [picture(one, draw), picture(one if same[-1] else other, draw)]
    (tmp_path / "made.bin").write_bytes(pickle.dumps((bins, same)))
    network = pooled_network(tmp_path, SIZE, 4)
    (tmp_path / "mean.toml").write_text(
        f'[embedder]\nname = "mean"\npath = "{network.name}"\ndimension = 48\n'
        f"input_size = {SIZE}\nmean = 127\nstd = 60\n"
    )
    return tmp_path / "made.bin", tmp_path / "mean.toml"


def run(files: tuple[Path, Path], *args: str) -> dict[str, Any]:
    out = files[0].parent / "out.json"
    command = ["--data", f"bin:{files[0]}", "--embedder", str(files[1]), "--json", str(out), *args]
    result = CliRunner().invoke(accuracy, command)
    assert result.exit_code == 0, result.output
    assert "Accuracy on made" in result.output
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_a_run_and_its_report(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    policy = files[0].parent / "policy.toml"
    found = run(files, "--fmr", "0.1", "--attributes", "6", "--write-policy", str(policy))
    assert found["data_set"]["pairs"] == PAIRS
    assert not found["held_out"]
    assert read(policy).model_dump(mode="json") == found["policy"]
    assert str(files[0].parent) not in json.dumps(found)  # no place on this machine
    floats, *quantised = found["rows"]
    assert [row["scale"] for row in quantised] == [16, 32, 64, 128, 256, 512, 1024]
    assert floats["pairs"]["accuracy"]["mean"] > 0.7
    assert quantised[-1]["changed"] <= 1
    rows = found["invariance"]["rows"]
    assert len(rows) == sum(len(each.levels) for each in attributes.ATTRIBUTES)
    sections = report.parts(found)
    assert [title.split(":")[0].split(" on ")[0] for title, _, _ in sections] == ["Accuracy", "Threshold", "Invariance"]
    for _, table, figure in sections:
        assert len(table) > 1
        assert figure.startswith("data:image/png;base64,")
    # again, from the cache and with the threshold given: the same figures
    monkeypatch.setattr(FacePipeline, "embed_aligned", lambda *_: pytest.fail("embedded again"))
    again = run(files, "--policy", str(policy), "--attributes", "0")
    assert again["rows"] == found["rows"]
    assert again["held_out"]
    assert "--policy policy.toml" in again["machine"]["command"]
    assert again["invariance"] is None


def test_long_parts_are_kept_from_an_earlier_run(files: tuple[Path, Path]) -> None:
    first = run(files, "--fmr", "0.1", "--attributes", "2")
    second = run(files, "--fmr", "0.1", "--attributes", "0", "--keep")
    assert second["invariance"]["rows"] == first["invariance"]["rows"]
    assert second["invariance"]["of_run"]["command"] == first["machine"]["command"]
    assert run(files, "--fmr", "0.1", "--attributes", "0", "--keep")["invariance"] == second["invariance"]
    assert run(files, "--fmr", "0.3", "--attributes", "0", "--keep")["invariance"] is None  # another threshold


def test_wrong_input_ends_in_one_line(files: tuple[Path, Path]) -> None:
    for args in (["--data", "bin:/nowhere.bin"], ["--embedder", "/nowhere.toml"], ["--policy", "/nowhere.toml"]):
        result = CliRunner().invoke(accuracy, ["--data", f"bin:{files[0]}", "--embedder", str(files[1]), *args])
        assert result.exit_code == 1
        assert "nowhere" in result.output
        assert "Traceback" not in result.output


def test_a_policy_of_another_model_is_refused(files: tuple[Path, Path]) -> None:
    policy = files[0].parent / "policy.toml"
    run(files, "--attributes", "0", "--write-policy", str(policy))
    policy.write_text(policy.read_text().replace('"mean"', '"other"'))
    result = CliRunner().invoke(
        accuracy, ["--data", f"bin:{files[0]}", "--embedder", str(files[1]), "--policy", str(policy)]
    )
    assert result.exit_code == 1
    assert "other" in result.output


def test_a_sample_through_two_real_servers(files: tuple[Path, Path]) -> None:
    found = run(files, "--fmr", "0.1", "--attributes", "0", "--encrypted", "6", "--bits", "2048")["encrypted"]
    assert (found["pairs"], found["of"], found["equal_to_plain_integers"]) == (6, PAIRS, 6)
    assert found["right"] + found["false_matches"] + found["false_non_matches"] == 6


# --- altering photos ----------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", attributes.ATTRIBUTES, ids=lambda each: each.name)
def test_every_attribute_alters_more_at_every_level(attribute: attributes.Attribute) -> None:
    draw = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(draw.integers(40, 200, (12, 10, 3)).astype(np.uint8)).resize((160, 192)))
    face = Face((30, 40, 100, 120), np.array([[60, 80], [100, 80], [80, 105], [65, 130], [95, 130.0]]), 0.9)
    before, moved = smooth.copy(), []
    for level in attribute.levels:
        altered = attribute.apply(smooth, face, level, np.random.default_rng(1))
        assert (altered.shape, altered.dtype) == (smooth.shape, np.uint8)
        assert np.array_equal(altered, attribute.apply(smooth, face, level, np.random.default_rng(1)))
        moved.append(np.abs(altered.astype(float) - smooth).mean())
    assert np.array_equal(smooth, before)
    assert 0 < moved[0] < moved[1] < moved[2]

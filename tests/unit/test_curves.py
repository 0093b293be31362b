"""The recorded false match rates, and the thresholds that are chosen by them."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from pura.crypto.keys import load_public
from pura.face import curves
from pura.face.spec import BUILT_IN
from pura_server import config as server_config
from pura_server.cli import cli

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"


@pytest.mark.parametrize("embedder", BUILT_IN)
def test_every_built_in_embedder_has_a_curve(embedder: str) -> None:
    curve = curves.of(embedder)
    assert curve is not None
    assert curve.embedder == embedder
    rates = [point.fmr for point in curve.point]
    assert rates == sorted(rates, reverse=True)
    assert all(point.low <= point.fmr <= point.high for point in curve.point)
    assert [point.extrapolated for point in curve.point] == sorted(point.extrapolated for point in curve.point)


def test_larger_galleries_get_higher_thresholds() -> None:
    curve = curves.of("sface-mirrored")
    assert curve is not None
    chosen = [curve.threshold_for(people, 0.01).threshold for people in (100, 1_000, 10_000, 100_000)]
    assert chosen == sorted(set(chosen))
    for people, at in zip((100, 1_000, 10_000), chosen, strict=False):
        assert curves.named(curve.at(at).high, people) <= 0.01
        assert not curve.outgrown(at, people, 0.01)
    # what was wrong: a fifth and more of strangers named among 5,749 people
    assert 0.15 < curves.named(curve.at(0.37).fmr, 5_749) < 0.4
    assert curve.outgrown(0.37, 5_749, 0.01)


def test_an_unknown_embedder_has_none() -> None:
    for name in ("mine", "../rates/sface", "sface.toml", ""):
        assert curves.of(name) is None


def init(tmp_path: Path, *options: str) -> tuple[int, str, dict[str, object]]:
    result = CliRunner().invoke(cli, ["init", "--out", str(tmp_path / "o"), "--keys", str(KEYS), *options])
    body: dict[str, object] = {}
    if result.exit_code == 0:
        body = tomllib.loads((tmp_path / "o" / "s1" / "s1.toml").read_text())["collection"]
        server_config.load(tmp_path / "o" / "s2" / "s2.toml")
    return result.exit_code, result.output, body


def test_init_chooses_the_threshold_of_identify_by_the_people(tmp_path: Path) -> None:
    status, output, body = init(tmp_path, "--people", "100000", "--fpir", "0.01")
    curve = curves.of("sface-mirrored")
    assert curve is not None
    assert status == 0
    assert body["identify_threshold"] == curve.threshold_for(100_000, 0.01).threshold
    assert body["threshold"] == 0.37
    assert "extrapolated" in output
    assert "100,000" in output


def test_init_without_a_number_of_people_says_what_it_is_for(tmp_path: Path) -> None:
    status, output, body = init(tmp_path)
    assert status == 0
    assert body["identify_threshold"] == 0.52  # what ten thousand chosen probes do not reach, not only 1,000 people
    assert "1,000 people" in output


def test_init_for_an_embedder_without_a_curve(tmp_path: Path) -> None:
    status, output, body = init(tmp_path, "--embedder", "mine", "--threshold", "0.5")
    assert (status, "identify_threshold" in body) == (0, False)
    assert "--identify-threshold" in output
    status, output, _ = init(tmp_path / "b", "--embedder", "mine", "--threshold", "0.5", "--people", "10")
    assert (status, "[bad_config]" in output) == (2, True)


def test_init_with_a_threshold_of_ones_own(tmp_path: Path) -> None:
    options = ("--embedder", "mine", "--threshold", "0.5", "--identify-threshold", "0.6")
    assert init(tmp_path, *options)[2]["identify_threshold"] == 0.6


def test_another_length_needs_an_embedder_of_its_own(tmp_path: Path) -> None:
    for options in (("--dimension", "512"), ("--dimension", "512", "--threshold", "0.5")):
        status, output, _ = init(tmp_path, *options)
        assert (status, "--embedder" in output) == (2, True)
    assert init(tmp_path, "--dimension", "512", "--embedder", "mine", "--threshold", "0.5")[0] == 0


def test_a_gallery_that_has_outgrown_its_threshold(tmp_path: Path) -> None:
    assert init(tmp_path, "--people", "1000")[0] == 0
    settings = server_config.load(tmp_path / "o" / "s1" / "s1.toml")
    params = settings.collection.params(load_public(settings.keys.public))
    assert curves.outgrown(params, 1_000, settings.limits.fpir) is False
    assert curves.outgrown(params, 100_000, settings.limits.fpir) is True
    assert curves.outgrown(dataclasses.replace(params, embedder="mine"), 100_000, 0.01) is None


def test_check_warns_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init(tmp_path, "--people", "1000")
    report = SimpleNamespace(entries=1, blocks=0, prepared=(), moment=1, problems=(), apart=None, ok=True)
    monkeypatch.setattr("pura.store.check.check_folder", lambda _: report)
    command = ["check", str(tmp_path), "--config", str(tmp_path / "o" / "s1" / "s1.toml")]
    assert "warning" not in CliRunner().invoke(cli, command).output
    report.entries = 100_000
    result = CliRunner().invoke(cli, command)
    assert (result.exit_code, "raise identify_threshold" in result.output) == (0, True)

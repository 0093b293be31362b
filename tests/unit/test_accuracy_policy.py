"""A fitted threshold reaches the servers: `pura-server init --policy`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from pura.crypto.keys import load_public
from pura.errors import StorageFull
from pura.policy import Measured, Policy
from pura_server import config as server_config
from pura_server.cli import cli

KEYS = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
MEASURED = Measured(
    data_set="made",
    impostor_pairs=1000,
    false_matches=1,
    fmr=0.001,
    fmr_interval=(0.0001, 0.006),
    fmr_interval_method="Wilson",
    genuine_pairs=10,
    fnmr=0.0,
    fnmr_interval=(0.0, 0.3),
)

POLICY = Policy(
    embedder="mine",
    dimension=64,
    scale=256,
    threshold=0.4157,
    tau=76585,
    wanted_fmr=1e-3,
    measured=MEASURED,
)


def test_servers_take_model_scale_and_threshold_from_a_policy(tmp_path: Path) -> None:
    policy = POLICY
    policy.write(tmp_path / "policy.toml")
    command = ["init", "--out", str(tmp_path / "out"), "--keys", str(KEYS), "--policy", str(tmp_path / "policy.toml")]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    for name in ("s1", "s2"):
        made = server_config.load(tmp_path / "out" / name / f"{name}.toml").collection
        params = made.params(load_public(KEYS / "public.key"))
        assert (params.tau_verify, params.scale, params.dimension, params.embedder) == (76585, 256, 64, "mine")


def test_two_thresholds_are_refused(tmp_path: Path) -> None:
    command = ["init", "--out", str(tmp_path / "o"), "--keys", str(KEYS), "--policy", "p.toml", "--threshold", "0.4"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2
    assert "either --threshold or --policy" in result.output


def test_a_policy_is_written_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "policy.toml"
    path.write_text("as it was")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFull):
        POLICY.write(path)
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]

"""The benchmarks of the lattice run, check their own results, and write what they print. Untimed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pura.crypto.rlwe.parameters import LatticeParams
from pura.errors import ProtocolError
from pura_bench import lattice, lattice_security


def test_lattice_bench(tmp_path: Path) -> None:
    file = tmp_path / "lattice.json"
    args = ["--scale", "16", "--dimension", "16", "--rows", "1", "--rows", "2", "--runs", "1", "--json", str(file)]
    done = CliRunner().invoke(lattice.main, args)
    assert done.exit_code == 0, done.output
    report = json.loads(file.read_text())
    assert [(row["rows"], row["bytes"]) for row in report["rows"]] == [(1, 17.0), (2, 17.0)]
    for row in report["rows"]:
        assert set(lattice.COLUMNS) <= set(row)
    assert report["once"]["sent"] == 16 * 13
    assert report["once"]["held"] == 16 * 32
    assert set(report["log2_loss"]) == {"1000", "10000", "1000000"}


def test_lattice_bench_notices_wrong_results(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = lattice.Bench(LatticeParams.of(11, 16), 1)
    bench.once(1)
    monkeypatch.setattr(lattice.NUMPY, "own_products", lambda w, masks, k: masks[:1, :1] + 1)
    with pytest.raises(ProtocolError):
        bench.rows(1, 1)


def test_primal_attack() -> None:
    """Block sizes that the lattice estimator gives for the same parameters; and its 2^140.7 in the same cost model."""
    b, d, bits = lattice_security.primal(4096, 100)
    assert (b, d) == (371, 8001)
    assert bits == pytest.approx(140.7, abs=0.1)
    assert lattice_security.primal(4096, 108)[0] == 332


def test_security_of_the_parameters_in_use() -> None:
    done = CliRunner().invoke(lattice_security.main, [])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("n = 4096, q = 2^100: primal attack 2^140.7")


def test_the_estimator_is_asked_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Estimator:
        """What the lattice estimator looks like."""

        class ND:
            Uniform = staticmethod(lambda a, b: (a, b))
            CenteredBinomial = staticmethod(lambda eta: eta)

        class LWE:
            Parameters = staticmethod(lambda **kw: asked.append(kw))
            primal_usvp = primal_bdd = dual_hybrid = staticmethod(lambda lwe: {"rop": 2.0**137})

    monkeypatch.setattr(lattice_security.importlib, "import_module", lambda name: Estimator)
    assert lattice_security.estimated(4096, 100) == {"usvp": 137.0, "bdd": 137.0, "dual hybrid": 137.0}
    assert asked == [{"n": 4096, "q": 2**100, "Xs": (-1, 1), "Xe": 21, "m": float("inf")}]

"""The estimate of the lattice's security says what the lattice estimator says. Untimed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pura_bench import lattice_security


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

"""Attackers that work together: what the bench records of them, at small sizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pair import FIXTURES, PK, Pair

from pura.attack import belief
from pura.attack.metrics import Rate
from pura.attack.oracle import unit
from pura.crypto.encoding import quantise_many
from pura.ids import Party
from pura_bench.report.attacks import collusion_tables
from pura_bench.security import collusion, forged
from pura_bench.security.asking import World
from pura_bench.security.collusion import Shared, granted
from pura_bench.security.deviating import Turned
from pura_bench.security.judge import rate_json
from pura_bench.security.photos import Cast, Photos
from pura_server.config import Budget

KEYS = FIXTURES / "test-keys-2048"
D = S = 16


@pytest.fixture(scope="module")
def chosen() -> list[dict[str, Any]]:
    return list(forged.rows(KEYS, 1, D, S))


def test_chosen_ciphertexts_work_on_their_control_and_not_on_the_product(chosen: list[dict[str, Any]]) -> None:
    controls = {attack.name: attack.control for attack in forged.ATTACKS}
    for row in chosen:
        if forged.PRODUCT in row["deployment"]:
            assert row["succeeded"]["k"] == 0, row
            assert row["control"]["k"] == 1, row
            assert row["told"].startswith("bad_proof")
            assert ";" not in row["told"]  # one text, whatever was inside
        elif row["deployment"] == controls[row["attack"]]:
            assert row["succeeded"]["k"] == 1, row
    assert sum(forged.PRODUCT in row["deployment"] for row in chosen) == len(forged.ATTACKS) * len(forged.LOOKING)


# --- a server that deviates ---------------------------------------------------------------------------


@pytest.fixture
def turned(tmp_path: Path) -> Iterator[Turned]:
    pair = Pair(tmp_path, dimension=D, scale=S, tau=300, packs=0, light_packs=0)
    pair.connect()
    yield Turned(pair, 1, 1)
    pair.close()


@pytest.mark.parametrize("party", Party)
def test_a_server_that_shifts_keys_and_a_client_read_a_template(turned: Turned, party: Party) -> None:
    """SECURITY.md: what a deviating server can do, and nobody notices."""
    assert turned.right(0)
    assert turned.score(party, 0)
    assert turned.template(party, 0)
    assert turned.right(0)


def test_a_server_that_shifts_keys_turns_every_answer(turned: Turned) -> None:
    rows = [row for row in turned.rows() if "halves" not in row["attack"]]
    assert len(rows) == 6
    assert all(row["succeeded"]["k"] == row["control"]["k"] == 1 and not row["told"] for row in rows)


# --- credentials --------------------------------------------------------------------------------------


def test_budgets_multiply_until_the_group_s_rate_binds() -> None:
    budget = Budget(questions=100, per_hour=100 / 24)
    assert granted(1, 24, budget, float("inf")) == 200  # a full bucket, and what flows in
    assert granted(16, 24, budget, float("inf")) == 16 * 200
    assert granted(16, 24, budget, 1e6) == 16 * 200
    assert granted(16, 24, budget, 10) == 10 + 24 * 10
    assert granted(16, 0, budget, 200) == 200


def made_up(people: int, victims: int) -> Shared:
    """Vectors in place of photos; the first probes are victims', so that some are let in."""
    rng = np.random.default_rng(3)
    known, enrolled = (unit(rng.standard_normal((n, 128))) for n in (people, victims))
    mates = unit(enrolled + 0.3 * unit(rng.standard_normal((victims, 128))))
    photos = [
        Photos(np.zeros((len(e), 1)), e, tuple(f"{i}/0" for i in range(len(e)))) for e in (known, enrolled, mates)
    ]  # type: ignore[arg-type]
    policy = collusion.defaults("sface-mirrored")
    params = policy.params(PK)
    cast = Cast(*photos, strangers=(photos[0], photos[0]), source="made")
    first = np.concatenate([mates[:1], belief.openings(known, 0.37, 9), mates[1:2]])
    probes = np.concatenate([first[:-1], mates[1:]])
    named = collusion.Named.of([probes[:5], probes[5:]], enrolled, params, params.tau_identify)
    return Shared(World("made", cast, 0.37, first), params, len(probes), named, named)


def test_who_is_named_first_is_who_the_integers_name() -> None:
    """Not only among probes that are near in floats; and whoever is named is named by that probe."""
    rng, params = np.random.default_rng(4), collusion.defaults("sface-mirrored").params(PK)
    people = unit(rng.standard_normal((30, 128)))
    known = unit(people[:20] + 1.4 * unit(rng.standard_normal((20, 128))))
    asked = list(collusion.probes(known, 0.4, 2 * len(known) + 40, seed=1))
    assert sum(map(len, asked)) == 2 * len(known) + 40
    named = collusion.Named.of(asked, people, params, params.tau_verify)
    every = quantise_many(np.concatenate(asked), params)
    apart = 2 * params.scale**2 - 2 * every @ quantise_many(people, params).T
    hit = apart <= params.tau_verify
    assert 0 < hit.any(0).sum() < len(people)
    assert np.array_equal(named.number, np.where(hit.any(0), hit.argmax(0) + 1, 0))
    found = np.flatnonzero(named.number)
    assert np.array_equal(named.probe[found], np.concatenate(asked)[named.number[found] - 1])
    assert list(np.flatnonzero(named.within(10))) == [i for i in found if named.number[i] <= 10]
    for part, them in zip(named.parted(12), (people[:12], people[12:]), strict=True):  # nobody's answer is another's
        alone = collusion.Named.of(asked, them, params, params.tau_verify)
        assert np.array_equal(part.number, alone.number)
        assert np.array_equal(part.probe, alone.probe)


def test_tries_bind_verify_over_all_credentials_and_budgets_bind_identify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collusion, "ABOUT_ONE", 30)
    monkeypatch.setattr(collusion, "READ", 10)
    shared = made_up(300, 40)
    few, many = (
        {row["attack"].split()[-1]: row for row in shared.rows(credentials, "a day")} for credentials in (1, 16)
    )
    assert few["verify"]["about_each"] == 5
    assert many["verify"]["about_each"] == 80
    assert few["verify"]["opened"] == many["verify"]["opened"] == rate_json(Rate.count(1, 40))  # the other is 11th
    assert many["verify"]["binds"] == "tries of the entry"
    assert few["identify"]["opened"]["k"] == 40  # every probe is within one credential's day
    assert few["identify"]["binds"].startswith("nothing: the attacker has 49 probes")


def test_the_report_shows_every_row(chosen: list[dict[str, Any]]) -> None:
    shared = made_up(300, 40)
    content = {"rows": chosen, "together": [], "credentials": list(shared.rows(1, "a day"))}
    tables = {table.title: table for table in collusion_tables(content)}
    assert len(tables["Chosen ciphertexts"].rows) == len(chosen)
    assert len(tables["Several credentials"].rows) == 2
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)

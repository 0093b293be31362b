"""Real processes, mTLS, and decisions that equal the plaintext integer computation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from server_pair import ENGINES, LABELS, Deployment, deploy

from pura.errors import UnknownLabel
from pura.ids import Engine, Party
from pura_server.audit import read, unmatched


def near(embedding: np.ndarray, noise: float, seed: int) -> np.ndarray:
    return (embedding + noise * np.random.default_rng(seed).normal(size=embedding.shape)).astype(np.float32)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("bits", "dimension", "entries", "probes"), [(2048, 16, 8, 6), (3072, 16, 3, 2)])
def test_decisions_equal_the_plaintext_computation(
    tmp_path: Path, engine: Engine, bits: int, dimension: int, entries: int, probes: int
) -> None:
    made = deploy(tmp_path, engine, bits=bits, dimension=dimension)
    embeddings = made.people(entries, bits)
    gallery = [(LABELS[i % len(LABELS)], e) for i, e in enumerate(embeddings)]
    asked = [near(embeddings[i % entries], 0.3 * i, i) for i in range(probes - 1)]
    asked.append(-embeddings[0])
    truth = [made.expected(probe, gallery) for probe in asked]
    assert None in truth
    assert set(truth) - {None}
    made.start()
    try:
        with made.connect() as client:
            assert not client.identify(embeddings[0]).match
            assert all(outcome.error is None for outcome in client.enroll_many([(e, label) for label, e in gallery]))
            assert [client.identify(probe).label for probe in asked] == truth
            one = client.verify(asked[0], gallery[0][0])
            other = client.verify(-embeddings[0], gallery[0][0])
            mine = [(label, e) for label, e in gallery if label == gallery[0][0]]
            assert (one.label, other.label) == (made.expected(asked[0], mine), made.expected(-embeddings[0], mine))
            with pytest.raises(UnknownLabel):
                client.verify(asked[0], "Nobody")
            assert client.list() == {
                label: sum(label == other for other, _ in gallery) for label in {g for g, _ in gallery}
            }
            assert client.forget(gallery[0][0]) == len(mine)
            left = [(label, e) for label, e in gallery if label != gallery[0][0]]
            assert client.identify(embeddings[0]).label == made.expected(embeddings[0], left)
            with pytest.raises(UnknownLabel):
                client.forget(gallery[0][0])
            status = client.status()
            assert (status.entries, status.engine, status.peer_ready) == (len(left), engine, True)
    finally:
        assert made.stop() == [0, 0]
    both_servers_wrote_down_the_same_operations(made, engine, entries=probes + 7)


def both_servers_wrote_down_the_same_operations(made: Deployment, engine: Engine, *, entries: int) -> None:
    """`entries`: how many operations there were at S1, of all kinds."""
    s1, s2 = (list(read(made.folder / party.name.lower() / "audit", party)) for party in Party)
    assert unmatched(s1, s2)[1] == []
    kinds = Counter(line.kind for line in s1)
    assert (kinds["enrol"], kinds["erase"], kinds["verify"]) == (1, 1, 2)
    assert sum(kinds.values()) == entries
    assert {line.more.get("client") for line in s1 if line.number} == {"desk"}
    seen = Counter(line.kind for line in s2)
    if engine is Engine.PREPARED:
        assert seen == kinds
        assert unmatched(s1, s2)[0] == []
    else:  # S2 takes no part in changes, and does not know how many entries a question names
        assert seen["match"] == kinds["identify"] + kinds["verify"]


@pytest.mark.parametrize("deployment", ENGINES[1:], indirect=True)
def test_it_is_all_there_after_a_restart_of_both(deployment: Deployment) -> None:
    people = deployment.people(3, 7)
    deployment.start()
    with deployment.connect() as client:
        handles = [client.enroll(e, label) for e, label in zip(people, LABELS, strict=False)]
    assert deployment.stop() == [0, 0]
    deployment.start()
    with deployment.connect() as client:
        assert sorted(client.roster()) == sorted(handles)
        assert [client.identify(e).label for e in people] == list(LABELS[:3])

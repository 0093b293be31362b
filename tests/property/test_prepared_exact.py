"""Engine prepared equals plain integers: drawn galleries with ties and extremes, in drawn slots, drawn thresholds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from faults import deal_base_ots
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair import Pair

from pura.crypto.encoding import distance2
from pura.ids import Party
from pura.protocols.prepared.correlations import SLOTS
from pura_bench import gallery

D, SCALE = 16, 16


@dataclasses.dataclass(frozen=True)
class Drawn:
    gallery: np.ndarray
    question: np.ndarray
    tau: int
    top_k: int
    places: tuple[int, ...]
    slow: bool
    named: tuple[int, ...]
    erased: tuple[int, ...]


@st.composite
def vectors(draw: st.DrawFn) -> list[int]:
    """Templates: one coordinate of S, four of S / 2, or sixteen of S / 4, near each other often."""
    parts = draw(st.sampled_from([1, 4, 16]))
    at = draw(st.permutations(range(D)))[:parts] if draw(st.booleans()) else range(parts)
    signs = draw(st.lists(st.sampled_from([-1, 1]), min_size=parts, max_size=parts))
    out = [0] * D
    for i, sign in zip(at, signs, strict=True):
        out[i] = sign * SCALE // {1: 1, 4: 2, 16: 4}[parts]
    return out


@st.composite
def cases(draw: st.DrawFn) -> Drawn:
    few = draw(st.lists(vectors(), min_size=1, max_size=4))
    gallery = np.array(draw(st.lists(st.sampled_from(few) | vectors(), min_size=1, max_size=9)))
    question = np.array(draw(st.sampled_from(few) | vectors()))
    d = int(draw(st.sampled_from(distance2(question, gallery).tolist())))  # a threshold that something lies exactly on
    tau = draw(st.sampled_from([d, max(0, d - 1), d + 1, 0, 4 * SCALE**2]))
    places = st.integers(0, 9) | st.integers(SLOTS - 3, SLOTS + 3) | st.integers(3 * SLOTS, 3 * SLOTS + 5)
    n = len(gallery)
    where = sorted(draw(st.sets(places, min_size=n, max_size=n)))
    some = st.sets(st.integers(0, n - 1), max_size=4)
    named, erased = draw(some), draw(some)
    return Drawn(
        gallery, question, min(tau, 4 * SCALE**2), draw(st.sampled_from([1, 1, 2, 10])), tuple(where),
        draw(st.booleans()), tuple(named - erased), tuple(erased),
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _dealt() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        deal_base_ots(patch)
        yield


def test_answers_equal_plain_integers(tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(cases())
    def run(case: Drawn) -> None:
        ticks = iter(range(10**9))
        clock = {"clock": lambda: 0.02 * next(ticks)} if case.slow else {}
        pair = Pair(tmp_path_factory.mktemp("exact"), dimension=D, scale=SCALE, tau=case.tau, top_k=case.top_k, **clock)
        keys = pair.mask_keys(Party.S1), pair.mask_keys(Party.S2)
        labels = ["x"] * len(case.gallery)
        both = gallery.changes(pair.params, keys, case.gallery, np.array(case.places), labels, pair.rng)
        for store, change in zip((pair.store1, pair.store2), both, strict=True):
            store.apply(change)
        pair.close()
        pair.open()
        pair.connect()
        handles = [entry.handle for entry in both[0].adds]
        pair.model = dict(zip(handles, case.gallery, strict=True))
        pair.forget([handles[i] for i in case.erased])
        found = pair.check(case.question)
        if case.top_k == 1 and found:
            d = distance2(case.question, np.array(list(pair.model.values())))
            assert found == [list(pair.model)[int(d.argmin())]], "of ties the earliest place"
        if case.named:
            pair.check(case.question, [handles[i] for i in case.named])
        pair.close()

    run()


def test_a_written_gallery_can_be_erased_enrolled_beside_and_compacted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pair = Pair(tmp_path_factory.mktemp("filled"), dimension=D, scale=SCALE, tau=0, packs=1, light_packs=0)
    ys = np.diag([SCALE] * D)
    keys = pair.mask_keys(Party.S1), pair.mask_keys(Party.S2)
    places = np.array([0, 1, 5, SLOTS, 2 * SLOTS + 7])
    both = gallery.changes(pair.params, keys, ys[:5], places, ["p"] * 5, pair.rng)
    for store, change in zip((pair.store1, pair.store2), both, strict=True):
        store.apply(change)
    pair.close()
    pair.open()
    pair.connect()
    pair.model = {entry.handle: y for entry, y in zip(both[0].adds, ys, strict=False)}
    assert pair.s1.levels()["blocks"] == 3
    pair.forget([both[0].adds[0].handle])
    pair.enroll(ys[5:7])
    pair.refill()
    assert pair.s1.levels()["blocks"] == 1
    for y in pair.model.values():
        assert pair.check(y)
    pair.close()

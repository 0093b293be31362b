"""Engine packed equals plain integers: drawn galleries with ties, zeros and extremes, in drawn slots, drawn thresholds.

The long run over large galleries is `python -m pura_bench.exactness`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed_faults import deal_base_ots
from packed_pair import Pair

from pura.crypto.encoding import distance2
from pura.params import Metric
from pura_bench.gallery import fill
from pura_server.packed import PackedGateway, PackedPeer

D = 3
SCALE = 64


@dataclasses.dataclass(frozen=True)
class Drawn:
    gallery: np.ndarray
    question: np.ndarray
    tau: int
    top_k: int
    slots: tuple[int, ...]
    slow: bool
    named: tuple[int, ...]


def vectors(metric: Metric) -> st.SearchStrategy[list[int]]:
    """Templates of three coordinates: all of a length that the metric takes, the corners often."""
    corner = st.sampled_from([[SCALE, 0, 0], [0, -SCALE, 0], [0, 0, SCALE], [0, 0, 0], [SCALE, 1, 0], [1, 0, 0]])
    any_ = st.lists(st.integers(-SCALE, SCALE), min_size=D, max_size=D)
    low = 0 if metric is Metric.EUCLIDEAN else (SCALE - 1) ** 2
    return (corner | any_).filter(lambda y: low <= sum(v * v for v in y) <= SCALE**2)


def cosine_vectors() -> st.SearchStrategy[list[int]]:
    """Rounded points of the sphere."""
    angle = st.floats(0, 2 * np.pi)

    def on_sphere(pair: tuple[float, float]) -> list[int]:
        a, b = pair
        at = SCALE * np.array([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)])
        return [int(v) for v in np.rint(at)]

    corner = st.sampled_from([[SCALE, 0, 0], [-SCALE, 0, 0], [0, -SCALE, 0], [0, 0, SCALE]])
    return corner | st.tuples(angle, angle).map(on_sphere)


@st.composite
def cases(draw: st.DrawFn, metric: Metric) -> Drawn:
    one = cosine_vectors() if metric is Metric.COSINE else vectors(metric)
    few = draw(st.lists(one, min_size=1, max_size=4))
    gallery = np.array(draw(st.lists(st.sampled_from(few) | one, min_size=1, max_size=9)))
    question = np.array(draw(st.sampled_from(few) | one))
    d = int(draw(st.sampled_from(distance2(question, gallery).tolist())))  # a threshold that something lies exactly on
    tau = draw(st.sampled_from([d, max(0, d - 1), 0, 4 * SCALE**2]))
    capacity = st.integers(0, 60)
    slots = tuple(sorted(draw(st.sets(capacity, min_size=1, max_size=6))))
    named = draw(st.sets(st.integers(0, len(gallery) - 1), max_size=4))
    return Drawn(gallery, question, tau, draw(st.sampled_from([1, 1, 2, 10])), slots, draw(st.booleans()), tuple(named))


@pytest.fixture(scope="module", autouse=True)
def _dealt() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        deal_base_ots(patch)
        yield


@pytest.mark.parametrize("metric", list(Metric))
def test_answers_equal_plain_integers(metric: Metric, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(cases(metric))
    def run(case: Drawn) -> None:
        ticks = iter(range(10**9))
        clock = {"clock": lambda: 0.02 * next(ticks)} if case.slow else {}
        policy = {"tau": case.tau, "top_k": case.top_k}
        pair = Pair(tmp_path_factory.mktemp("exact"), dimension=D, scale=SCALE, metric=metric, **policy, **clock)
        handles = fill(
            pair.store1, pair.store2, pair.pk, pair.params, case.gallery, pair.rng, slots=lambda _: case.slots
        )  # fmt: skip
        pair.model = dict(zip(handles, case.gallery, strict=True))
        pair.s1 = PackedGateway(pair.pk, pair.s1._side.share, pair.params, pair.store1, pair.rng, **clock)
        pair.s2 = PackedPeer(pair.pk, pair.s2._side.share, pair.params, pair.store2, pair.rng)
        pair.connect()
        pair.check(case.question)
        if case.named:
            pair.check(case.question, [handles[i] for i in case.named])
        pair.close()

    run()


def test_the_gallery_builder_leaves_what_enrolment_does(tmp_path: Path) -> None:
    """Entries of a written gallery can be erased and compacted, and enrolled beside."""
    pair = Pair(tmp_path, dimension=D, scale=SCALE, tau=500, packs=1, light_packs=0)
    ys = np.array([[SCALE, 0, 0], [0, SCALE, 0], [0, 0, -SCALE], [0, -SCALE, 0], [-SCALE, 0, 0]])
    handles = fill(
        pair.store1, pair.store2, pair.pk, pair.params, ys, pair.rng, slots=lambda n: [0, n - 1], rows=True
    )  # fmt: skip
    pair.close()
    pair.open()
    pair.model = dict(zip(handles, ys, strict=True))
    pair.connect()
    assert pair.s1.levels()["blocks"] == 3
    pair.forget([handles[0]])
    pair.enroll(ys[:1])
    pair.refill()
    assert pair.s1.levels()["blocks"] == 1
    for y in ys:
        pair.check(y)
    assert [label for _, label in pair.s1.roster()][:2] == [b"person 1", b"person 2"]
    pair.close()

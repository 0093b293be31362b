"""The figures of recognition, against definitions and small cases done by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pura.attack.oracle import unit
from pura.crypto.encoding import distance2, quantise
from pura.errors import BadConfig
from pura.ids import KeyId
from pura.params import Params, tau_from_cosine
from pura.policy import Policy, read
from pura_bench.accuracy import evaluate, metrics
from pura_bench.accuracy.datasets import DataSet, ten_folds
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.fit import fit
from pura_bench.accuracy.metrics import Rate, Search
from pura_bench.accuracy.people import Errors

scores = hnp.arrays(np.float64, st.integers(1, 40), elements=st.integers(-9, 9).map(float))


def test_a_rate_and_its_interval() -> None:
    rate = Rate(8, 10)
    assert rate.value == 0.8
    assert np.allclose(rate.interval, (0.4901625, 0.9433178), atol=1e-6)  # the textbook case of Wilson's interval
    assert Rate(0, 100).interval[0] == 0
    assert Rate(0, 100).interval[1] == pytest.approx(0.0369935, abs=1e-6)
    assert all(np.isnan(Rate(0, 0).interval))


@given(scores, st.floats(0, 1))
def test_the_threshold_for_a_rate_is_the_lowest_one(impostors: np.ndarray, fmr: float) -> None:
    at = metrics.threshold_for(impostors, fmr)
    allowed = int(np.floor(fmr * len(impostors) + 1e-9))
    assert metrics.matches(impostors, at).k <= allowed
    lower = impostors[impostors < at]
    if len(lower):
        assert metrics.matches(impostors, float(lower.max())).k > allowed


@given(scores, scores)
def test_the_roc_and_the_equal_error_rate(genuine: np.ndarray, impostor: np.ndarray) -> None:
    thresholds, fmr, fnmr = metrics.roc(genuine, impostor)
    for t, a, b in zip(thresholds, fmr, fnmr, strict=True):
        assert a == pytest.approx(metrics.matches(impostor, t).value)
        assert b == pytest.approx(metrics.non_matches(genuine, t).value)
    assert (fmr[0], fnmr[0], fmr[-1], fnmr[-1]) == (1, 0, 0, 1)
    error, at = metrics.eer(genuine, impostor)
    both = max(metrics.matches(impostor, at).value, metrics.non_matches(genuine, at).value)
    assert both == pytest.approx(np.maximum(fmr, fnmr).min())
    assert 0 <= error <= both + 1e-12


@given(scores.filter(lambda s: len(s) > 1), st.randoms(use_true_random=False))
def test_no_threshold_is_better_than_the_best(all_scores: np.ndarray, random: object) -> None:
    same = np.random.default_rng(len(all_scores)).random(len(all_scores)) < 0.5
    best = metrics.accuracy(all_scores, same, metrics.best_threshold(all_scores, same)).k
    for t in np.arange(-10, 11, 0.5):
        assert metrics.accuracy(all_scores, same, t).k <= best


def test_the_best_threshold_lies_in_the_middle_of_the_gap() -> None:
    same = np.array([True, True, False, False])
    assert metrics.best_threshold(np.array([0.9, 0.7, 0.3, 0.1]), same) == 0.5


def test_cross_validation_by_hand() -> None:
    all_scores = np.array([0.9, 0.1, 0.8, 0.2, 0.3, 0.35])
    same = np.array([True, False] * 3)
    fold = np.array([0, 0, 1, 1, 2, 2])
    assert metrics.cross_validated(all_scores, same, fold).tolist() == [1.0, 1.0, 0.5]


def test_photos_without_a_face_never_match() -> None:
    same = np.array([True, True, False, False])
    with_hole = np.array([0.9, -np.inf, 0.1, -np.inf])
    at = metrics.best_threshold(with_hole, same)
    assert np.isfinite(at)
    assert metrics.accuracy(with_hole, same, at) == Rate(3, 4)
    assert metrics.eer(with_hole[same], with_hole[~same])[0] <= 0.5


def test_identification_by_hand() -> None:
    people = np.array([0, 0, 0, 1, 1, 2, 3])
    found = np.array([True, True, True, False, True, True, False])
    search = Search.of(people, found)
    assert search.gallery.tolist() == [0, 4]
    assert search.mates.tolist() == [1, 2, 3]
    assert search.strangers.tolist() == [5, 6]
    mated = np.array([[0.9, 0.1], [0.2, 0.6], [-np.inf, -np.inf]])
    assert metrics.rank_one(mated, search, people) == Rate(1, 3)
    strangers = np.array([[0.3, 0.95], [-np.inf, -np.inf]])
    at, hit, false = metrics.open_set(mated, strangers, search, people, 0.5)
    assert (hit, false) == (Rate(1, 3), Rate(1, 2))
    assert at <= 0.9
    assert metrics.open_set(mated, strangers, search, people, 0.1)[1:] == (Rate(0, 3), Rate(0, 2))


# --- from embeddings ----------------------------------------------------------------------------


def made(people: int = 12, each: int = 4, dimension: int = 32, spread: float = 0.75, seed: int = 3) -> Embedded:
    """People as random directions, photos near them; one photo without a face."""
    draw = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), each)
    vectors = draw.normal(size=(people, dimension))[who] + spread * draw.normal(size=(len(who), dimension))
    vectors[5] = np.nan
    one, two = np.triu_indices(len(who), 1)
    same = who[one] == who[two]
    data = DataSet("made", tuple(b"x" for _ in who), who, np.stack([one, two], 1), same, ten_folds(same))
    return Embedded(data, unit(vectors))


@pytest.mark.parametrize("scale", [16, 100, 1024])
def test_quantised_scores_are_the_product_s_own(scale: int) -> None:
    embedded = made()
    params = Params(KeyId(b"k" * 32), 2048, dimension=32, scale=scale)
    templates = evaluate.quantised(embedded.vectors, scale)
    got = evaluate.integer_scores(templates, templates)
    kept = np.flatnonzero(embedded.found)
    rows = np.stack([quantise(embedded.vectors[i], params) for i in kept])
    for i, x in zip(kept, rows, strict=True):
        assert np.array_equal(-got[i, kept], distance2(x, rows))
    assert np.isneginf(got[5]).all()


def test_all_pairs_are_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_BLOCK", 7)
    embedded = made()
    score = evaluate.similarities
    genuine, impostor = evaluate.all_pairs(embedded.vectors, embedded.data.people, score)
    every = evaluate.of_pairs(score, embedded.vectors, embedded.data.pairs)
    assert np.allclose(np.sort(genuine), np.sort(every[embedded.data.same]))
    assert np.allclose(np.sort(impostor), np.sort(every[~embedded.data.same]))


def test_the_tables_agree_with_each_other() -> None:
    embedded = made()
    floats = evaluate.table(embedded, 0.3, None)
    fine, coarse = (evaluate.table(embedded, 0.3, scale) for scale in (1024, 16))
    # the pairs of this set are all pairs
    assert floats["pairs"]["eer"] == floats["all_pairs"]["eer"]
    assert floats["changed"] == 0
    assert fine["changed"] <= coarse["changed"]
    assert abs(fine["pairs"]["eer"] - floats["pairs"]["eer"]) < 0.02
    assert floats["pairs"]["at_threshold"]["fnmr"]["k"] >= 3  # those of the photo without a face
    assert floats["identification"]["gallery"] == 12
    assert fine["pairs"]["at_threshold"]["threshold"] == -tau_from_cosine(0.3, 1024)


# --- thresholds ---------------------------------------------------------------------------------


def test_a_policy_is_fitted_written_and_read(tmp_path: Path) -> None:
    from pura.face.spec import SFACE

    embedded = made()
    spec = SFACE.model_copy(update={"dimension": 32})
    policy = fit(embedded, spec, 0.01, 512, seed=1)
    _, impostor = evaluate.genuine_and_impostor(embedded)
    assert policy.measured.false_matches == metrics.matches(impostor, policy.threshold).k <= 0.01 * len(impostor)
    assert metrics.matches(impostor, policy.threshold - 0.02).value > 0.01
    assert policy.tau == tau_from_cosine(policy.threshold, 512)
    assert policy.measured.fmr_interval[0] <= policy.measured.fmr <= policy.measured.fmr_interval[1]
    policy.write(tmp_path / "policy.toml")
    assert read(tmp_path / "policy.toml") == policy


def test_the_interval_over_people_is_wider_than_that_over_pairs() -> None:
    embedded = made(people=30)
    # one person whose photos look like everybody's: a wolf
    vectors = embedded.vectors.copy()
    vectors[:4] = np.nanmean(vectors, axis=0)
    wolf = Embedded(embedded.data, unit(vectors))
    _, impostor = evaluate.genuine_and_impostor(wolf)
    at = metrics.threshold_for(impostor, 0.02)
    low, high = Errors.of(wolf.vectors, wolf.data.people, evaluate.similarities, at, 0).fmr().interval
    rate = metrics.matches(impostor, at)
    assert high - low > rate.interval[1] - rate.interval[0]
    assert Errors.of(wolf.vectors, wolf.data.people, evaluate.similarities, 2.0, 0).fmr().interval == (0, 0)


def test_errors_by_people_count_what_all_pairs_are() -> None:
    embedded = made()
    people = embedded.data.people
    genuine, impostor = evaluate.genuine_and_impostor(embedded)
    errors = Errors.of(embedded.vectors, people, evaluate.similarities, 0.5, 1)
    every, missed = metrics.matches(impostor, 0.5), metrics.non_matches(genuine, 0.5)
    assert (errors.fmr().k, errors.fmr().n) == (every.k, every.n)
    assert (errors.fnmr().k, errors.fnmr().n) == (missed.k, missed.n)
    one = np.arange(12) < 5
    parts = [errors.fmr(one), errors.fmr(~one), errors.fmr(one, ~one)]
    assert sum(part.k for part in parts) == every.k
    assert sum(part.n for part in parts) == every.n
    assert errors.fnmr(one).n + errors.fnmr(~one).n == missed.n
    low, high = errors.fnmr().interval
    assert low <= missed.value <= high


@pytest.mark.parametrize("text", ["", "embedder = 3\n", "colour = 'red'\n", "embedder =", "\udcff"])
def test_a_file_that_is_no_policy(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BadConfig, match=r"p\.toml"):
        read(tmp_path / "p.toml")
    with pytest.raises(BadConfig):
        read(tmp_path / "none.toml")
    assert Policy.model_fields["tau"].is_required()

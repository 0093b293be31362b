"""The attacks on an encoder whose answers are known: a linear one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pura.attack import blobs, boundary, darkerbb, dictionary, leak, linear, metrics, transcript
from pura.attack.oracle import BitAsScore, Floats, PlaintextDecisions, PlaintextScores, cosines, unit

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from pura.attack import basis as eigenfaces  # noqa: E402
from pura.attack.basis import Basis  # noqa: E402
from pura.attack.embedders import LinearEmbed  # noqa: E402
from pura.attack.invert import invert  # noqa: E402

SIDE, SIZE, D, VICTIMS = 8, 24, 16, 6
PIXELS = 3 * SIDE * SIDE


class World:
    """Photos that lie in a space of 24 eigenfaces, an encoder to 16 numbers, and six victims."""

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(5)
        scales = 0.05 * torch.linspace(2, 0.5, SIZE)
        q, _ = torch.linalg.qr(torch.randn(PIXELS, SIZE, generator=rng))
        self.basis = Basis(torch.full((PIXELS,), 0.5), q.T * scales[:, None], SIDE)
        self.embed = LinearEmbed(torch.randn(PIXELS, D, generator=rng), self.basis.mean)
        self.known = self.embed(self.basis.images(torch.randn(600, SIZE, generator=rng)))
        self.enrolled = self.embed(self.basis.images(torch.randn(VICTIMS, SIZE, generator=rng)))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_attack_linear_recovers_the_template_exactly(world: World) -> None:
    oracle = PlaintextScores(world.enrolled)
    found = linear.attack(oracle, world.known, D, np.random.default_rng(1))
    assert cosines(found, world.enrolled).min() > 0.9999
    assert (oracle.queries == D).all()


def test_attack_linear_with_fewer_scores_than_numbers_is_a_guess(world: World) -> None:
    half = linear.attack(PlaintextScores(world.enrolled), world.known, D // 2, np.random.default_rng(1))
    few = linear.attack(PlaintextScores(world.enrolled), world.known, 2, np.random.default_rng(1))
    assert 0.5 < cosines(half, world.enrolled).mean() < 0.99
    assert cosines(few, world.enrolled).mean() < cosines(half, world.enrolled).mean()


def test_attack_linear_on_rounded_scores(world: World) -> None:
    oracle = PlaintextScores(world.enrolled, step=0.1)
    found = linear.attack(oracle, world.known, 300, np.random.default_rng(1), noise=0.1 / np.sqrt(12))
    assert cosines(found, world.enrolled).min() > 0.99


def test_attack_darkerbb_rises(world: World) -> None:
    oracle = PlaintextScores(world.enrolled)
    settings = darkerbb.fast(600, gain=3.0)
    found = darkerbb.attack(oracle, world.embed, world.basis, np.arange(VICTIMS), settings, seed=3)
    at = [
        float(np.median(cosines(world.embed(world.basis.images(found.at[mark])), world.enrolled)))
        for mark in (100, 300, 600)
    ]
    assert at[0] < at[1] < at[2]
    assert at[2] > 0.95
    assert found.queries == 600
    assert (oracle.queries == 600).all()


def test_attack_darkerbb_restarts_choose_the_best(world: World) -> None:
    oracle = PlaintextScores(world.enrolled)
    settings = darkerbb.Settings(gain=3.0, restarts=3, warmup=40, steps=100, marks=(500,))
    found = darkerbb.attack(oracle, world.embed, world.basis, np.arange(VICTIMS), settings, seed=3)
    assert settings.queries == found.queries == 2 * (3 * 40 + 100)
    assert (oracle.queries == found.queries + 3).all()
    assert np.median(cosines(world.embed(world.basis.images(found.coordinates)), world.enrolled)) > 0.8


def test_attack_darkerbb_goes_on_where_it_stopped(world: World, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, planned: int) -> None:
        if done == 100:
            raise Stop

    settings, everyone = darkerbb.fast(200), np.arange(VICTIMS)
    whole = darkerbb.attack(PlaintextScores(world.enrolled), world.embed, world.basis, everyone, settings)
    file = tmp_path / "state.pt"
    with pytest.raises(Stop):
        darkerbb.attack(
            PlaintextScores(world.enrolled),
            world.embed,
            world.basis,
            everyone,
            settings,
            checkpoint=file,
            every=10,
            progress=stop,
        )
    rest = PlaintextScores(world.enrolled)
    resumed = darkerbb.attack(rest, world.embed, world.basis, everyone, settings, checkpoint=file)
    torch.testing.assert_close(resumed.coordinates, whole.coordinates, rtol=1e-3, atol=1e-3)
    assert (rest.queries <= 120).all()
    with pytest.raises(ValueError, match="another run"):
        darkerbb.attack(rest, world.embed, world.basis, everyone, darkerbb.fast(300), checkpoint=file)


def test_attack_darkerbb_learns_nothing_from_bits_that_never_change(world: World) -> None:
    oracle = BitAsScore(PlaintextDecisions(world.enrolled, 0.999))
    found = darkerbb.attack(oracle, world.embed, world.basis, np.arange(VICTIMS), darkerbb.fast(100))
    assert not found.coordinates.any()


def test_attack_blobs_never_get_worse(world: World) -> None:
    settings = blobs.Settings(queries=400, batch=10, marks=(100, 400))
    found = blobs.attack(
        PlaintextScores(world.enrolled), world.embed, world.basis.mean, SIDE, np.arange(VICTIMS), settings
    )
    early, late = (cosines(world.embed(found[mark]), world.enrolled) for mark in (100, 400))
    assert (late >= early - 1e-6).all()
    assert late.mean() > early.mean() + 0.05


def test_attack_covering_probes_are_close_to_many() -> None:
    rng = np.random.default_rng(8)
    centred = rng.standard_normal((500, D))
    shifted = unit(centred + 2.0 * np.eye(D)[0])  # people whose mean is not zero
    people, victims = shifted[:400], shifted[400:]
    probes = dictionary.covering(people, 0.6)
    counts = (people @ probes.T >= 0.6).sum(0)
    assert (people @ probes.T >= 0.6).any(1).all()
    assert counts[0] == counts.max()
    oracle = PlaintextDecisions(victims, 0.6)
    covered = dictionary.search(oracle, probes, 5)
    photos = dictionary.search(PlaintextDecisions(victims, 0.6), people, 5)
    assert len(covered.found) > 2 * len(photos.found) + 10
    assert (covered.queries <= 5).all()
    again = dictionary.search(oracle, probes, 5, np.array([3]))
    assert again.queries[3] == covered.queries[3]
    assert again.queries.sum() == covered.queries[3]


def test_attack_in_image_space_climbs_by_decisions(world: World) -> None:
    photos = world.basis.images(torch.randn(300, SIZE, generator=torch.Generator().manual_seed(9)))
    known = world.embed(photos)
    oracle = PlaintextDecisions(world.enrolled, 0.4)
    start = dictionary.search(oracle, known, 300)
    settings = boundary.ImageSettings(pairs=20, step=1.0, bits=8)
    found = boundary.image(oracle, world.embed, world.basis, photos[start.entry], start, (50, 1000), settings, seed=1)
    first, last = (cosines(world.embed(found.at[b]), world.enrolled) for b in (50, 1000))
    assert np.median(last) > np.median(first) + 0.1
    assert (oracle.queries == found.queries).all()


def test_attack_on_the_published_comparison_recovers_the_template(world: World) -> None:
    oracle = leak.SimulatedLeak(world.enrolled, 0.4, np.random.default_rng(4))
    found = leak.attack(oracle, world.known, 0.4, (60, 400), np.random.default_rng(6), first=40, batch=20)
    assert cosines(found[60], world.enrolled).mean() < cosines(found[400], world.enrolled).mean()
    assert cosines(found[400], world.enrolled).min() > 0.999


def test_attack_inverts_a_stolen_template(world: World) -> None:
    coordinates = invert(world.embed, world.basis, np.vstack([world.enrolled, np.zeros((1, D))]), steps=100, weight=0.0)
    images = world.basis.images(coordinates)
    assert cosines(world.embed(images[:VICTIMS]), world.enrolled).min() > 0.95
    assert not coordinates[VICTIMS].any()


def test_attack_basis_is_of_the_photos() -> None:
    rng = np.random.default_rng(8)
    crops = rng.integers(0, 256, (30, SIDE, SIDE, 3)).astype(np.uint8)
    got = eigenfaces.fit(crops, 12)
    assert got.size == 12
    both = np.concatenate([crops, crops[:, :, ::-1]])
    torch.testing.assert_close(got.mean, eigenfaces.vectors(both).mean(0))
    c = got.coordinates(eigenfaces.vectors(both))
    torch.testing.assert_close(c.std(0), torch.ones(12), rtol=1e-3, atol=1e-3)
    again = eigenfaces.pictures(eigenfaces.vectors(crops), SIDE)
    assert (again == crops).all()


def test_attack_basis_survives_a_file(world: World, tmp_path: Path) -> None:
    world.basis.save(tmp_path / "basis.npz")
    again = Basis.load(tmp_path / "basis.npz")
    assert torch.equal(again.components, world.basis.components)
    assert again.side == SIDE


# --- metrics -----------------------------------------------------------------------------------------


def test_attack_wilson_interval_of_known_cases() -> None:
    assert metrics.Rate.count(0, 40).low == 0.0
    assert metrics.Rate.count(0, 40).high == pytest.approx(0.0876, abs=1e-3)
    assert metrics.Rate.count(40, 40).low == pytest.approx(0.9124, abs=1e-3)
    half = metrics.Rate.count(20, 40)
    assert (half.low, half.high) == (pytest.approx(0.352, abs=1e-3), pytest.approx(0.648, abs=1e-3))
    assert metrics.Rate.count(40, 40).beats(half)
    assert not half.beats(metrics.Rate.count(15, 40))


def test_attack_threshold_keeps_its_false_match_rate() -> None:
    scores = np.random.default_rng(0).standard_normal(10_000)
    for fmr in (1e-2, 1e-3):
        assert (scores >= metrics.threshold_at(scores, fmr)).mean() == fmr
    people = ["a", "a", "b"]
    e = unit(np.array([[1.0, 0], [1, 0.1], [0, 1]]))
    assert len(metrics.impostor_scores(e, people)) == 2


def test_attack_total_failure_reads_one_half() -> None:
    rng = np.random.default_rng(1)
    impostor = rng.normal(0, 0.1, 400)
    assert metrics.verification_accuracy(rng.normal(0.6, 0.1, 400), impostor)[0] > 0.97
    assert metrics.verification_accuracy(rng.normal(0, 0.1, 400), impostor)[0] == pytest.approx(0.5, abs=0.06)


def test_attack_unlinkability_of_known_cases() -> None:
    rng = np.random.default_rng(1)
    same = metrics.unlinkability(rng.normal(size=2000), rng.normal(size=2000))
    assert same.d_sys <= 1.3 * same.floor
    far = metrics.unlinkability(rng.normal(9, 1, 500), rng.normal(size=500))
    assert far.d_sys > 0.99
    assert far.auc > 0.999
    assert same.auc == pytest.approx(0.5, abs=0.03)


def test_few_mated_scores_that_lie_apart_are_linked() -> None:
    """Forty victims among 1,560 pairs of different ones: bins of equal shares say 0.75 here."""
    rng = np.random.default_rng(4)
    apart = metrics.unlinkability(rng.normal(0.7, 0.05, 40), rng.normal(0, 0.08, 1560))
    assert apart.d_sys > 0.95
    assert apart.auc == 1.0
    assert metrics.auc(np.ones(3), np.ones(5)) == 0.5
    assert metrics.unlinkability(np.ones(3), np.ones(5)).d_sys == 0.0


def test_one_p_value_of_several() -> None:
    assert metrics.fisher(np.array([0.3])) == pytest.approx(0.3)
    # chi-square of 4 degrees of freedom: exp(-x / 2) (1 + x / 2)
    assert metrics.fisher(np.array([0.1, 0.2])) == pytest.approx(0.02 * (1 - np.log(0.02)))
    assert metrics.fisher(np.ones(7)) == 1
    p = np.random.default_rng(1).random((4000, 5))
    assert np.mean([metrics.fisher(row) < 0.1 for row in p]) == pytest.approx(0.1, abs=0.02)


def test_a_number_that_follows_the_similarity_is_found_and_not_by_chance() -> None:
    rng = np.random.default_rng(8)
    probes, t = unit(rng.standard_normal((300, 24))), unit(rng.standard_normal(24))
    numbers = rng.standard_normal((300, 40))
    reader = transcript.Reader(probes, np.eye(24))
    chance = np.abs(reader.by_chance(numbers, 40, rng) @ t)
    assert 0.05 < np.median(chance) < 0.3
    assert abs(reader.read(numbers).template @ t) < chance.max()
    numbers[:, 17] += 6 * probes @ t
    found = reader.read(numbers)
    assert found.feature == 17
    assert abs(found.template @ t) > max(chance.max(), np.abs(reader.by_chance(numbers, 10, rng) @ t).max())
    nothing = reader.read(np.ones((300, 3)))
    assert (nothing.feature, nothing.explained) == (-1, 0.0)


def test_attack_band() -> None:
    band = metrics.Band.of(np.arange(101.0))
    assert (band.low, band.median, band.high) == (25, 50, 75)


def test_attack_counts_questions() -> None:
    oracle = PlaintextScores(np.eye(3))
    got: Floats = oracle.scores(np.array([0, 0, 2]), np.eye(3))
    assert got.tolist() == [1, 0, 1]
    assert oracle.queries.tolist() == [2, 0, 1]

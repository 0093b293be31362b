"""A template from decisions alone: a Gaussian belief, and questions whose answer it cannot guess.

The attacker believes t ~ N(m, C), at first with mean and covariance of other people's embeddings. An answer says on
which side of a plane t lies: yes if <x, t> >= tau. With s^2 = x'Cx, z = (<x, m> - tau) / s, g = phi(z) / Phi(z), the
truncated normal that is left after "yes" has

    m + (g / s) Cx          and          C - (g (g + z) / s^2) Cx x'C

and after "no" the same with -x, -tau. (Moment matching, as in Minka's assumed-density filtering.) Each question is of
length 1, in the plane of m and of that direction across m in which C is largest; its angle to m gives it the z that
is wanted: 0, an even chance, as long as questions are all that is limited.

Where a deployment counts some questions and answers only so many of them (`Counter`), the attacker takes the z at which
what is left of both, questions and counts, gives the most bits.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from pura.attack.dictionary import NOT_FOUND, Start
from pura.attack.oracle import Bools, DecisionOracle, Floats, Progress, quiet, unit

WANTED = np.linspace(-3.0, 3.0, 25)
"""The z that are tried where questions are counted."""
TURNS = 3
"""Steps of the power iteration a question; it goes on from the direction of the question before."""
NEIGHBOURS, MOST_CENTRES, CLIMB = (3, 10, 30), 4000, 3
"""The first probes: of how many nearest photos means are taken, around how many photos; steps uphill."""
SPREAD = 0.5
"""By how much `more` moves a photo, of how far people differ; 0.3 to 0.7 name about as many at a high threshold."""
GRAIN = 1e-3
"""The deviation of a score by rounding to templates, about; no belief is more certain."""


@dataclasses.dataclass(frozen=True)
class Counter:
    """What the attacker knows of a limit on questions about one person: those with a score of at least `bound` count
    (`near`), or all others do; `questions` of them are answered in a window, of which there are `windows`, each with at
    most `asked` questions in all."""

    bound: float
    questions: int
    near: bool = True
    windows: int = 1
    asked: int = 1 << 30


@dataclasses.dataclass
class Template:
    """templates (V, D) after each budget, a victim that was never accepted having the row 0; queries: asked in all."""

    at: dict[int, Floats]
    queries: NDArray[np.int64]


class Belief:
    """mean (V, D), covariance (V, D, D): what is believed of each of V templates."""

    def __init__(self, mean: Floats, covariance: Floats, victims: int = 1) -> None:
        self.mean = np.repeat(np.asarray(mean, np.float64)[None], victims, 0)
        self.covariance = np.repeat(np.asarray(covariance, np.float64)[None], victims, 0)
        d = self.mean.shape[1]
        self._across = unit(np.random.default_rng(d).standard_normal((victims, d)))

    @classmethod
    def of(cls, known: Floats, victims: int = 1, shrink: float = 1e-2) -> Belief:
        """From embeddings (n, D) of other people, with a little of the identity."""
        e = unit(np.asarray(known, np.float64))
        mean = e.mean(0)
        c = (e - mean).T @ (e - mean) / len(e)
        d = len(mean)
        return cls(mean, (1 - shrink) * c + shrink * np.trace(c) / d * np.eye(d), victims)

    def score(self, rows: NDArray[np.int64], x: Floats) -> tuple[Floats, Floats]:
        """Mean and deviation of <x, t> for probes (n, D)."""
        m = np.einsum("nd,nd->n", self.mean[rows], x)
        v = np.einsum("nd,nde,ne->n", x, self.covariance[rows], x, optimize=True)
        return m, np.sqrt(np.maximum(v, 0) + GRAIN**2)

    def learn(
        self, rows: NDArray[np.int64], x: Floats, tau: float, yes: Bools
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """The truncated normals after the answers to probes (n, D); s, z, g (g + z) / s^2 and Cx."""
        sign = np.where(yes, 1.0, -1.0)
        cx = np.einsum("nde,ne->nd", self.covariance[rows], x)
        s = np.sqrt(np.maximum(np.einsum("nd,nd->n", cx, x), 0) + GRAIN**2)
        z = sign * (np.einsum("nd,nd->n", self.mean[rows], x) - tau) / s
        g = hazard(z)
        self.mean[rows] += (sign * g / s)[:, None] * cx
        shrunk = np.clip(g * (g + z), 0.0, 1.0) / s**2
        self.covariance[rows] -= (shrunk[:, None] * cx)[:, :, None] * cx[:, None, :]
        return s, z, shrunk, cx

    def aimed(self, rows: NDArray[np.int64], tau: float, wanted: Floats) -> tuple[Floats, Floats]:
        """Unit probes for each wanted z, (n, len(wanted), D), and the deviations of their scores, (n, len(wanted)).

        Where m is shorter than tau, the angle is 0 at the least.
        """
        length = np.linalg.norm(self.mean[rows], axis=1)
        e = self.mean[rows] / length[:, None]
        c, v = self.covariance[rows], self._across[rows]
        for _ in range(TURNS):
            v = unit(_across(np.einsum("nde,ne->nd", c, _across(v, e)), e))
        self._across[rows] = v
        cv, ce = np.einsum("nde,ne->nd", c, v), np.einsum("nde,ne->nd", c, e)
        vv, ev, ee = ((a * b).sum(1)[:, None] for a, b in ((v, cv), (e, cv), (e, ce)))
        # the side on which the score varies more
        side = np.where(ev < 0, -1.0, 1.0)
        cosine = np.full((len(rows), len(wanted)), min(1.0, tau)) / np.maximum(length, tau)[:, None]
        for _ in range(4):
            sine = side * np.sqrt(1 - cosine**2)
            s = np.sqrt(np.maximum(cosine**2 * ee + 2 * cosine * sine * ev + sine**2 * vv, 0) + GRAIN**2)
            cosine = np.clip((tau + wanted * s) / length[:, None], -1.0, 1.0)
        sine = side * np.sqrt(1 - cosine**2)
        return cosine[:, :, None] * e[:, None] + sine[:, :, None] * v[:, None], s


def _across(v: Floats, e: Floats) -> Floats:
    out: Floats = v - (v * e).sum(1, keepdims=True) * e
    return out


# --- what is asked first -----------------------------------------------------------------------------


def openings(known: Floats, tau: float, count: int) -> Floats:
    """Unit probes (m, D), m at most `count`, to be tried one after the other until one is accepted; `known` (n, D):
    embeddings of other people.

    Each is the likeliest to be accepted after the answer "no" to all before it: the best one of `known` and of means of
    their neighbours, moved uphill a little. Until then the answers are the same for every victim, and so is the order.
    """
    photos = unit(np.asarray(known, np.float64))
    sample = photos[:: -(-len(photos) // MOST_CENTRES)]
    nearest = np.argsort(-(sample @ photos.T), axis=1)
    pool = unit(np.concatenate([photos, *(photos[nearest[:, :k]].mean(1) for k in NEIGHBOURS if k <= len(photos))]))
    one, row, no = Belief.of(photos), np.zeros(1, np.int64), np.zeros(1, bool)
    m, v = pool @ one.mean[0], np.einsum("kd,kd->k", pool @ one.covariance[0], pool)
    out = np.zeros((min(count, len(pool)), pool.shape[1]))
    for i in range(len(out)):
        best = int(np.argmax((m - tau) / np.sqrt(np.maximum(v, GRAIN**2))))
        m[best] = -np.inf  # once each
        x, mean, c = pool[best], one.mean[0], one.covariance[0]
        for _ in range(CLIMB):  # a fixed point of this is where (<x, m> - tau) / s is at its largest
            x = unit(mean * (x @ c @ x) + max(0.0, tau - float(x @ mean)) * (c @ x))
        s, z, shrunk, cx = one.learn(row, x[None], tau, no)
        along = pool @ cx[0]
        m -= hazard(z) / s * along
        v -= shrunk * along**2
        out[i] = x
    return out


def more(known: Floats, count: int, draw: np.random.Generator) -> Floats:
    """Unit probes (count, D) for when the `openings` are spent, as many as are wanted: each is somebody of `known`,
    moved as people differ, by `SPREAD` of it."""
    photos = unit(np.asarray(known, np.float64))
    differ = np.linalg.cholesky(Belief.of(photos).covariance[0])
    whose = photos[draw.integers(0, len(photos), count)]
    return unit(whose + SPREAD * draw.standard_normal((count, photos.shape[1])) @ differ.T)


# --- the attack --------------------------------------------------------------------------------------


def template(
    oracle: DecisionOracle,
    start: Start,
    known: Floats,
    tau: float,
    budgets: tuple[int, ...],
    *,
    counter: Counter | None = None,
    renew: Progress = quiet,
    progress: Progress = quiet,
) -> Template:
    """Templates of those victims of whom a probe of `start` was accepted, at a threshold tau; `known` (n, D): other
    people's embeddings. Budgets count the questions of the start, too.

    With a `counter` the questions of the start are of the first window; `renew(w, windows)` is called when window w
    begins, and a window ends when the limit may be reached: a locked entry's "no" says nothing.
    """
    victims, spent, most = start.found, start.queries.copy(), max(budgets)
    limit = counter or Counter(-1.0, 1 << 30, near=False)
    belief = Belief.of(known, len(spent))
    counts = _replay(belief, start, known, tau, limit)
    # a start that itself took more than the budget does not count
    at = {b: np.where((start.queries <= b)[:, None], unit(belief.mean), 0.0) for b in budgets}
    for estimates in at.values():
        estimates[start.entry == NOT_FOUND] = 0.0
    before = np.zeros_like(spent)
    for window in range(limit.windows):
        if window:
            renew(window, limit.windows)
            counts, before = Counts(len(spent)), spent.copy()
        while True:
            left = np.minimum(most - spent, limit.asked - (spent - before))
            rows = victims[(left > 0)[victims] & (counts.left(limit) > 0)[victims]]
            if not len(rows):
                break
            x = _question(belief, rows, tau, limit, left[rows], counts.left(limit)[rows])
            yes = oracle.decide(rows, x)
            counts.add(rows, _counted(*belief.score(rows, x), tau, limit, yes))
            belief.learn(rows, x, tau, yes)
            spent[rows] += 1
            for budget, estimates in at.items():
                now = rows[spent[rows] <= budget]
                estimates[now] = unit(belief.mean[now])
            progress(int(spent[rows].min()), most)
    return Template(at, spent)


class Counts:
    """How many questions were counted about each victim, as far as it is believed: mean and variance."""

    def __init__(self, victims: int) -> None:
        self.mean, self.variance = np.zeros(victims), np.zeros(victims)

    def add(self, rows: NDArray[np.int64], chance: Floats) -> None:
        """A question that was counted with this chance."""
        self.mean[rows] += chance
        self.variance[rows] += chance * (1 - chance)

    def left(self, limit: Counter) -> Floats:
        """How many more may be counted, on the safe side by a deviation."""
        left = limit.questions - self.mean - np.sqrt(self.variance)
        out: Floats = np.where(left >= 1 - 1e-9, left, 0.0)
        return out


def _question(
    belief: Belief, rows: NDArray[np.int64], tau: float, limit: Counter, asked: Floats, counted: Floats
) -> Floats:
    """The probes, (n, D), which give the most bits by what may still be asked, and counted, about each victim."""
    wanted = WANTED if limit.questions < 1 << 30 else np.zeros(1)
    x, s = belief.aimed(rows, tau, wanted)
    m = np.einsum("nwd,nd->nw", x, belief.mean[rows])
    yes = normal((m - tau) / s)
    chance = np.where(limit.near, normal((m - limit.bound) / s), normal((limit.bound - m) / s))
    together = _entropy(yes) * np.minimum(asked[:, None], counted[:, None] / np.maximum(chance, 1e-9))
    best = np.argmax(together, axis=1)
    out: Floats = x[np.arange(len(rows)), best]
    return out


def _counted(m: Floats, s: Floats, tau: float, limit: Counter, yes: Bools) -> Floats:
    """The chance that a question was counted whose answer is known, by mean and deviation of its score."""
    below_bound, below_tau = normal((limit.bound - m) / s), normal((tau - m) / s)
    if limit.near:
        return np.where(yes, 1.0, 1.0 - np.minimum(1.0, below_bound / np.maximum(below_tau, TINY)))
    return np.where(yes, np.clip((below_bound - below_tau) / np.maximum(1 - below_tau, TINY), 0.0, 1.0), 1.0)


def _replay(belief: Belief, start: Start, known: Floats, tau: float, limit: Counter) -> Counts:
    """What the start has taught about each victim. Until a probe is accepted, the same about all."""
    counts, so_far, one = Counts(len(start.entry)), Counts(1), Belief.of(known)
    row, yes = np.zeros(1, np.int64), np.ones(1, bool)
    for i in range(int(start.entry.max(initial=NOT_FOUND)) + 1):
        x = unit(np.asarray(start.probes[i : i + 1], np.float64))
        score = one.score(row, x)
        here = np.flatnonzero(start.entry == i)
        if len(here):
            opened = Belief(one.mean[0], one.covariance[0])
            opened.learn(row, x, tau, yes)
            belief.mean[here], belief.covariance[here] = opened.mean[0], opened.covariance[0]
            counts.mean[here], counts.variance[here] = so_far.mean[0], so_far.variance[0]
            counts.add(here, np.repeat(_counted(*score, tau, limit, yes), len(here)))
        so_far.add(row, _counted(*score, tau, limit, ~yes))
        one.learn(row, x, tau, ~yes)
    return counts


# --- the normal distribution -------------------------------------------------------------------------

TINY = 1e-300


def normal(z: Floats) -> Floats:
    """Phi, the distribution function."""
    out: Floats = 0.5 * _erfc(-z / math.sqrt(2))
    return out


def hazard(z: Floats) -> Floats:
    """phi(z) / Phi(z), about -z far to the left."""
    z = np.asarray(z, np.float64)
    near = np.maximum(z, -30.0)
    return np.where(z < -30.0, -z, np.exp(-(near**2) / 2) / math.sqrt(2 * math.pi) / np.maximum(normal(near), TINY))


def _entropy(p: Floats) -> Floats:
    """Bits of an answer that is yes with the chance p."""
    q = np.clip(p, 1e-12, 1 - 1e-12)
    out: Floats = -(q * np.log2(q) + (1 - q) * np.log2(1 - q))
    return out


_erfc = np.vectorize(math.erfc, otypes=[np.float64])

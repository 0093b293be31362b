"""The ruler: a client that may ask and enrol measures how far a probe is from somebody else's template.

It enrols a template of its own at a known distance from the probe and asks: whose entry is nearer? Then it halves. No
cryptography stops this, for every answer is a right one; rights and budgets do (SECURITY.md, "What each right can find
out").
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from server_pair import Deployment, Embedding, deploy, server_cli

from pura.crypto.encoding import distance2, quantise
from pura.errors import BudgetSpent, NotAuthorised
from pura.ids import Engine
from pura.params import Params
from pura_client.session import Client, connect

VICTIM, OWN = "Ada Lovelace", "thief's own"
MARKS = 6000
"""Templates that the thief has made to choose from."""


@dataclasses.dataclass
class Ruler:
    """Distances from one probe: a scale of own templates, and what the answers have shown."""

    probe: Embedding
    marks: list[Embedding]
    distances: NDArray[np.int64]
    low: int
    high: int
    questions: int = 0

    @classmethod
    def make(cls, probe: Embedding, params: Params) -> Ruler:
        """Marks from the probe itself to the farthest that is accepted."""
        draw = np.random.default_rng(5)
        x = probe / np.linalg.norm(probe)
        away = draw.normal(size=(MARKS, len(probe)))
        away -= np.outer(away @ x, x)
        away /= np.linalg.norm(away, axis=1)[:, None]
        cosines = draw.uniform(0.5, 1.0, MARKS)[:, None]
        made = (cosines * x + np.sqrt(1 - cosines**2) * away).astype(np.float32)
        distances = distance2(quantise(probe, params), np.array([quantise(mark, params) for mark in made]))
        order = np.argsort(distances)
        return cls(probe, [made[i] for i in order], distances[order], -1, MARKS)

    def measure(self, thief: Client) -> None:
        """Halve until two neighbouring marks are left."""
        while self.high - self.low > 1:
            middle = (self.low + self.high) // 2
            thief.enroll(self.marks[middle], OWN)
            self.questions += 1
            if thief.identify(self.probe).label == OWN:
                self.low = middle  # its own entry is nearer than the victim's
            else:
                self.high = middle
            thief.forget(OWN)

    @property
    def bounds(self) -> tuple[int, int]:
        """The squared distance lies between these."""
        low = 0 if self.low < 0 else int(self.distances[self.low])
        return low, int(self.distances[min(self.high, MARKS - 1)])


@dataclasses.dataclass
class Scene:
    made: Deployment
    probe: Embedding
    truth: int
    numbers: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    def thief(self, *rights: str) -> Client:
        """With all keys of its group, so that its rights are what stops it."""
        out = self.made.folder / f"thief-{next(self.numbers)}"
        made_with = ("--ca", self.made.folder / "ca", "--out", out, "--may", "ask", "--may", "enrol", "--may", "erase")
        may = [word for right in rights for word in ("--may", right)]
        for options in (made_with, ("--config", self.made.s1.config, "--cert", out / "client.crt", *may)):
            done = server_cli("client", "add", out.name, *options)
            assert (done.returncode, done.stderr) == (0, "")
        return connect(out / "client.toml")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A victim, and a probe that is taken for the victim: the thief's first acceptance."""
    budget = "[budget]\nenrolments = 20\nenrolments_per_hour = 0\n"
    made = deploy(tmp_path_factory.mktemp("ruler"), Engine.PREPARED, dimension=16)
    made.edit("s1", lambda text: text + budget)
    made.start()
    victim, other = made.people(2, 1)
    probe = (victim / np.linalg.norm(victim) + 0.6 * other / np.linalg.norm(other)).astype(np.float32)
    with made.connect() as desk:
        desk.enroll(victim, VICTIM)
        assert desk.identify(probe).label == VICTIM
    truth = int(distance2(quantise(probe, made.params), quantise(victim, made.params)[None])[0])
    yield Scene(made, probe, truth)
    assert made.stop() == [0, 0]


def test_a_client_that_may_ask_and_enrol_measures_a_distance(scene: Scene) -> None:
    ruler = Ruler.make(scene.probe, scene.made.params)
    with scene.thief("ask", "enrol", "erase") as thief:
        ruler.measure(thief)
    low, high = ruler.bounds
    assert low <= scene.truth <= high
    assert high - low < scene.truth / 500
    assert ruler.questions <= 15


@pytest.mark.parametrize("rights", [("ask",), ("ask", "erase-all")])
def test_a_camera_measures_nothing(scene: Scene, rights: tuple[str, ...]) -> None:
    ruler = Ruler.make(scene.probe, scene.made.params)
    with scene.thief(*rights) as camera, pytest.raises(NotAuthorised):
        ruler.measure(camera)
    assert (ruler.questions, ruler.bounds[0]) == (0, 0)


def test_who_may_only_enrol_measures_nothing(scene: Scene) -> None:
    ruler = Ruler.make(scene.probe, scene.made.params)
    with scene.thief("enrol", "erase") as office:
        with pytest.raises(NotAuthorised):
            ruler.measure(office)
        office.forget(OWN)
    assert (ruler.low, ruler.high) == (-1, MARKS)


def test_the_budget_of_enrolments_bounds_the_ruler(scene: Scene) -> None:
    """Twenty enrolments are one distance and a part of the next, however many questions are left."""
    second = (scene.probe + 0.1 * scene.probe[::-1]).astype(np.float32)
    rulers = [Ruler.make(probe, scene.made.params) for probe in (scene.probe, second)]
    with scene.thief("ask", "enrol", "erase") as thief:
        rulers[0].measure(thief)
        with pytest.raises(BudgetSpent, match="used up its enrolments"):
            rulers[1].measure(thief)
        assert thief.identify(scene.probe).label == VICTIM  # questions there are
    assert sum(ruler.questions for ruler in rulers) == 20
    assert rulers[1].high - rulers[1].low > MARKS / 2**9

"""Engine prepared as a list of operations with faults and replays, against a dictionary.

The lists are drawn, the same ones from the same seed.
After every operation the answers are those of the dictionary; at the end both servers hold exactly that. A list that
failed once is kept in REGRESSIONS.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import Faulty, Uses, failed
from pair import templates

from pura.ids import BlockId, EnrolmentId, Party
from pura.transport.memory import Cut, End, Fault, Kill
from pura_server.backend import NewEntry

D, SCALE = 16, 16
NEAR = 256
STEPS = 14
SEEDS = range(6)
REGRESSIONS: tuple[int, ...] = ()


@pytest.fixture(autouse=True)
def uses() -> Iterator[Uses]:
    with pytest.MonkeyPatch.context() as patch:
        yield Uses(patch)


@dataclasses.dataclass
class Client:
    """What was asked for and what its outcome must be: a client repeats what was not confirmed."""

    pair: Faulty
    draw: random.Random
    ys: np.ndarray
    sent: dict[EnrolmentId, tuple[NewEntry, np.ndarray]] = dataclasses.field(default_factory=dict)
    log: list[str] = dataclasses.field(default_factory=list)

    def fault(self) -> Fault | None:
        match self.draw.randrange(4):
            case 0:
                return Kill(self.draw.choice([1, 2]), self.draw.randint(1, 24), self.draw.random() < 0.5)
            case 1:
                return Cut(self.draw.randint(1, 40))
            case _:
                return None

    def attempt(self, party: Any, fault: Fault | None) -> End[Any]:
        """One operation; whoever died comes back."""
        one, two = self.pair.attempt(party, fault)
        dead = [p for p, end in zip(Party, (one, two), strict=True) if end.killed]
        self.log.append(f"{fault}: {'done' if one.done else one.error or 'killed'}")
        for p in dead:
            self.pair.start(p)
        if dead:
            self.pair.connect()
        failed(one)
        return one

    # --- operations ---------------------------------------------------------------------------------

    def enrol(self) -> None:
        count = self.draw.randint(1, 3)
        new = [self.ys[self.draw.randrange(len(self.ys))] for _ in range(count)]
        items = [self.pair.entry(y) for y in new]
        with pytest.MonkeyPatch.context() as patch:
            if self.draw.random() < 0.3:  # in a block of its own, so that there is something to compact
                block = max(self.pair.s1._pictures.latest().blocks, default=0) + 1
                where = [(BlockId(block), i) for i in range(count)]
                patch.setattr(self.pair.s1._pictures.slots, "take", lambda _: where)
            end = self.attempt(self.pair.s1.enroll(items), self.fault())
        self.pair.settle_enrolment(items, np.array(new), end.result if end.done else None)
        for item, y in zip(items, new, strict=True):
            self.sent[item.enrolment_id] = item, y

    def repeat(self) -> None:
        """An enrolment of long ago comes again: the same handle while the entry is there."""
        if self.sent:
            item, y = self.draw.choice(list(self.sent.values()))
            known = self.pair.store1.by_enrolment_id(item.enrolment_id)
            (handle,) = self.pair.run(self.pair.s1.enroll([self.pair.again(item)]))
            assert known is None or handle == known.handle
            self.pair.model[handle] = y

    def erase(self) -> None:
        handles = self.draw.sample(list(self.pair.model), min(len(self.pair.model), self.draw.randint(1, 3)))
        end = self.attempt(self.pair.s1.forget(handles), self.fault())
        left = [h for h in handles if self.pair.store1.by_handle(h) is not None]
        assert left in ([], handles)
        assert not (end.done and left)
        assert self.pair.forget(handles) == len(left)

    def refill(self) -> None:
        while (work := self.pair.s1.refill()) is not None:
            self.attempt(work, self.fault() if self.draw.random() < 0.5 else None)

    def ask(self) -> None:
        query, _ = self.pair.query(self.ys[0])
        self.attempt(self.pair.s1.identify(query), self.fault())

    def verify(self) -> None:
        if self.pair.model:
            handles = self.draw.sample(list(self.pair.model), min(3, len(self.pair.model)))
            self.pair.check(self.ys[self.draw.randrange(len(self.ys))], handles)

    def restart(self) -> None:
        self.pair.freeze(party := self.draw.choice(list(Party)))
        self.pair.start(party)
        self.pair.connect()


OPERATIONS = ("enrol", "enrol", "repeat", "erase", "refill", "ask", "verify", "restart")


@pytest.mark.parametrize("seed", [*SEEDS, *REGRESSIONS])
def test_any_list_of_operations(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    pair = Faulty(tmp_path, dimension=D, scale=SCALE, tau=NEAR, top_k=draw.choice([1, 3]), packs=2, light_packs=1)
    pair.connect()
    client = Client(pair, draw, templates(pair.params, 8, seed=seed))
    try:
        for _ in range(STEPS):
            name = draw.choice(OPERATIONS)
            client.log.append(name)
            getattr(client, name)()
            pair.check(client.ys[draw.randrange(len(client.ys))])
        pair.run(pair.s1.enroll([]))
        pair.agree()
    except BaseException as error:
        error.add_note("\n  ".join([f"seed {seed}:", *client.log]))
        raise
    finally:
        pair.close()

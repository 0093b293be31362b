"""Every reader of bytes from outside, with some that nobody should send: a typed error, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pura_bench.fuzz.mutate import mutated
from pura_bench.fuzz.run import corpus, drawn, feed, keep
from pura_bench.fuzz.targets import Target, targets

INPUTS = 300
CORPUS = Path(__file__).parents[1] / "fixtures" / "fuzz"
"""Inputs that broke a reader once: `pura bench fuzz --keep`."""


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return {target.name: target for target in targets(tmp_path_factory.mktemp("fuzz"))}


def test_every_reader_takes_what_is_right_and_refuses_the_rest(readers: dict[str, Target]) -> None:
    for target in readers.values():
        row, broken = feed(target, drawn(target, INPUTS, "ci"))
        assert broken == [], target.name
        assert row["taken"] + row["refused"] >= INPUTS // 10
        assert row["taken"] or target.name == "server's request"  # whose sample is a client's


def test_what_broke_one_once_does_so_no_more(readers: dict[str, Target]) -> None:
    kept = {path.name for path in CORPUS.glob("*")} if CORPUS.exists() else set()
    known = {name.replace(" ", "-").replace("'", "") for name in readers}
    assert kept <= known
    for target in readers.values():
        _, broken = feed(target, iter(corpus(CORPUS, target)))
        assert broken == [], target.name


def test_a_reader_that_breaks_is_found_and_its_input_kept(tmp_path: Path) -> None:
    def take(raw: bytes) -> object:
        return raw.decode("ascii")

    target = Target("one that breaks", [b"hello, world"], take)
    row, broken = feed(target, drawn(target, 500, "ci"))
    assert row["broken"]
    keep(tmp_path, target, broken[0][0])
    assert corpus(tmp_path, target) == [broken[0][0]]


def test_mutations_follow_their_seed() -> None:
    one, other = ([mutated([b"abcdef"], random.Random(seed)) for _ in range(3)] for seed in (1, 1))
    assert one == other

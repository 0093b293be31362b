"""The lockout of engine prepared: what it counts, and that both servers count alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pair import FIXTURES, Pair

from pura.crypto.masks import MaskKeys
from pura.crypto.rng import SeededRng
from pura.errors import BadDataFolder, OutOfRange, ProtocolError
from pura.ids import Engine, Handle, Party
from pura.params import Params
from pura.protocols.prepared.lockout import Rule, counters_of
from pura.protocols.shares.ledger import Counters, Ledger
from pura.transport.memory import Cut, play
from pura_server import config, deploy, engines
from pura_server.config import Collection
from pura_server.prepared.counters import FILE, MaskedLedger

S, LIMIT = 16, 3
TAU, NEAR = S * S // 2, S * S


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pair(tmp_path: Path, clock: Clock) -> Iterator[Pair]:
    made = Pair(
        tmp_path, dimension=16, scale=S, tau=TAU, lockout_tau=NEAR, lockout_limit=LIMIT, packs=1, light_packs=0,
        clock=clock, lockout_window_s=100.0,
    )  # fmt: skip
    made.connect()
    yield made
    made.close()


def vector(*values: int) -> np.ndarray:
    return np.array([*values] + (16 - len(values)) * [0])


FAR = np.diag([S] * 16)
HALVES = vector(8, 8, 8, 8)


def counts(pair: Pair) -> dict[Handle, int]:
    """What a tester sees who has both servers' shares."""
    one, two = pair.s1._ledger.now, pair.s2._ledger.now
    assert one.epoch == two.epoch
    return dict(
        zip(one.handles.tolist(), counters_of(Rule(0, LIMIT), one.shares + two.shares)[0].tolist(), strict=True)
    )


def test_an_entry_answers_so_many_questions_near_it_and_no_more(pair: Pair) -> None:
    a, b = pair.enroll(FAR[:2])
    assert [pair.ask(FAR[0]) for _ in range(LIMIT)] == [[a]] * LIMIT
    assert counts(pair) == {a: LIMIT, b: 0}
    assert pair.ask(FAR[0]) == []
    assert pair.ask(FAR[0], [a]) == []
    assert pair.ask(FAR[1]) == [b], "a locked entry stands in nobody's way"
    pair.refill()
    assert pair.ask(FAR[0]) == []
    assert counts(pair)[a] == LIMIT, "it stays there, however often it is asked"


def test_a_near_miss_counts_and_a_stranger_does_not(pair: Pair) -> None:
    (a,) = pair.enroll(FAR[:1])
    assert pair.ask(HALVES) == [], "at a distance of S^2, not above NEAR, above TAU"
    assert pair.ask(FAR[3]) == []
    assert counts(pair) == {a: 1}


def test_a_question_of_another_length_moves_no_counter(pair: Pair) -> None:
    (a,) = pair.enroll(FAR[:1])
    for length in (S - 1, S + 1):
        refused = vector(length) if length < S else vector(S, 1)
        assert pair.ask(refused) == []
    assert counts(pair) == {a: 0}
    assert pair.ask(FAR[0]) == [a]


def test_a_new_window_begins_anew(pair: Pair, clock: Clock) -> None:
    (a,) = pair.enroll(FAR[:1])
    for _ in range(LIMIT + 1):
        pair.ask(FAR[0])
    assert pair.ask(FAR[0]) == []
    clock.now = 101.0
    assert pair.ask(FAR[0]) == [a]
    assert counts(pair)[a] == 1


def test_the_file_of_counters_is_uniform_and_outlives_a_restart(tmp_path: Path) -> None:
    keys, rng = MaskKeys({1: b"k" * 32}), SeededRng(b"file")
    ledger = MaskedLedger(tmp_path, b"c" * 32, keys, rng)
    handles, shares = np.array([3, 9], np.uint64), np.array([5, 1 << 16], np.uint64)
    first = ledger.now
    ledger.move(first.put(handles, shares, b"1" * 16), first)
    raw = (tmp_path / FILE).read_bytes()
    again = MaskedLedger(tmp_path, b"c" * 32, MaskKeys({1: b"k" * 32, 2: b"n" * 32}), rng)
    assert again.now.of(np.array([9, 4, 3], np.uint64)).tolist() == [1 << 16, 0, 5]
    assert again.go_back_to(first.epoch)
    assert b"1" * 16 not in raw
    ledger.move(first.put(handles, shares, b"1" * 16), ledger.now)
    other = (tmp_path / FILE).read_bytes()
    assert raw[4:20] != other[4:20], "a nonce of its own every time"
    assert sum(a == b for a, b in zip(raw[20:], other[20:], strict=False)) < len(raw) // 8
    for keys_now in (MaskKeys({1: b"x" * 32}), MaskKeys({2: b"k" * 32})):
        assert MaskedLedger(tmp_path, b"c" * 32, keys_now, rng).now.epoch == bytes(16)


def test_a_file_of_counters_that_no_server_wrote(tmp_path: Path) -> None:
    """Whoever has the keys of the masks can make one with a right checksum; it is told, and nothing else happens."""
    keys, rng = MaskKeys({1: b"k" * 32}), SeededRng(b"file")
    ledger = MaskedLedger(tmp_path, b"c" * 32, keys, rng)
    first = ledger.now
    ledger.move(first.put(np.array([3, 9], np.uint64), np.array([5, 6], np.uint64), b"1" * 16), first)
    raw = ledger._open((tmp_path / FILE).read_bytes())
    body = raw[32:]
    two = (2).to_bytes(8, "big")
    assert body[16:24] == two

    def put(body: bytes) -> None:
        digest = hashlib.sha256(b"c" * 32 + body).digest()
        (tmp_path / FILE).write_bytes(ledger._seal(digest + body))

    for at in range(len(body)):
        put(body[:at])
        with pytest.raises(BadDataFolder, match="remove it on both servers"):
            MaskedLedger(tmp_path, b"c" * 32, keys, rng)
    swapped = body[:24] + body[32:40] + body[24:32] + body[40:]
    for odd in (
        body + b"\0",
        body[:16] + (3).to_bytes(8, "big") + body[24:],
        body[:16] + b"\xff" * 8 + body[24:],
        swapped,
        body[:24] + bytes(8) + body[32:],
    ):
        put(odd)
        with pytest.raises(BadDataFolder):
            MaskedLedger(tmp_path, b"c" * 32, keys, rng)
    for cut in range(52):  # without the checksum it is torn, and counting begins anew
        (tmp_path / FILE).write_bytes(ledger._seal(raw)[:cut])
        assert not len(MaskedLedger(tmp_path, b"c" * 32, keys, rng).now.handles)
    put(body)
    assert MaskedLedger(tmp_path, b"c" * 32, keys, rng).now.handles.tolist() == [3, 9]


def test_a_question_that_is_cut_off_is_answered_only_if_it_counted(tmp_path: Path) -> None:
    """The line breaks at every message. The two count alike afterwards, and never fewer than were answered."""
    pair = Pair(tmp_path, dimension=16, scale=S, tau=TAU, lockout_tau=NEAR, lockout_limit=2000, packs=0, light_packs=0)
    pair.connect()
    a, b = pair.enroll(FAR[:2])
    tally, counted_alone = 0, 0
    for number in range(1, 500):
        query, _ = pair.query(FAR[0])
        one, two = play(pair.s1.identify(query), pair.s2.session(), Cut(number))
        assert pair.ask(FAR[1]) == [b]  # agrees on the counters again
        now = counts(pair)[a]
        assert now - tally in ((1,) if one.done else (0, 1))
        counted_alone += now - tally - one.done
        tally = now
        if one.done and two.done:
            break
    assert number > 50, "the whole question was played"
    assert counted_alone > 0, "some were cut off after they had counted"
    pair.close()


def test_both_servers_of_a_deployment_keep_their_counters_in_their_folders(tmp_path: Path) -> None:
    """A restart of either must not forgive anybody the questions that were counted."""
    collection = Collection(
        engine=Engine.PREPARED, dimension=16, scale=16, tau=0, embedder="none", lockout_threshold=0.5, lockout_limit=3
    )
    deploy.make(tmp_path, FIXTURES / "test-keys-2048", collection, deploy.Hosts("127.0.0.1", "127.0.0.1", 1, 2))
    for name, made in (("s1", engines.gateway), ("s2", engines.peer)):
        settings = config.load(tmp_path / name / f"{name}.toml")
        parts = engines.prepare(settings)
        assert isinstance(made(parts)._ledger, MaskedLedger)
        parts.store.close()


def test_a_locked_entry_does_not_stand_in_the_way_of_the_next_nearest(pair: Pair) -> None:
    a, other = pair.enroll(np.array([vector(S), vector(15, 5, 2, 1, 1)]))
    assert int(((vector(15, 5, 2, 1, 1) - vector(S)) ** 2).sum()) <= TAU
    for _ in range(LIMIT):
        pair.ask(FAR[0], [a])
    assert pair.ask(FAR[0]) == [other]


def test_a_restart_of_both_servers_keeps_the_count(pair: Pair, tmp_path: Path) -> None:
    def restart() -> None:
        for party, server in ((Party.S1, pair.s1), (Party.S2, pair.s2)):
            server._ledger = MaskedLedger(
                tmp_path / party.name, pair.params.storage, pair.mask_keys(party), SeededRng(party.name)
            )

    restart()
    (a,) = pair.enroll(FAR[:1])
    for _ in range(LIMIT):
        assert pair.ask(FAR[0]) == [a]
    restart()
    assert pair.ask(FAR[0]) == []
    assert counts(pair)[a] == LIMIT


def test_a_torn_file_of_counters_or_another_collections_is_an_empty_one(tmp_path: Path) -> None:
    def ledger(storage: bytes = b"c" * 32) -> MaskedLedger:
        return MaskedLedger(tmp_path, storage, MaskKeys({1: b"k" * 32}), SeededRng(b"torn"))

    one = ledger()
    handles, shares = np.array([3, 9], np.uint64), np.array([5, 1 << 20], np.uint64)
    one.move(one.now.put(handles, shares, b"1" * 16), one.now)
    assert ledger().now.epoch == b"1" * 16
    assert ledger(b"d" * 32).now.epoch == bytes(16)
    raw = (tmp_path / FILE).read_bytes()
    for broken in (raw[:-1], raw[:40] + bytes([raw[40] ^ 1]) + raw[41:], b""):
        (tmp_path / FILE).write_bytes(broken)
        assert ledger().now.epoch == bytes(16)
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_a_party_that_comes_late_does_not_move_the_counters() -> None:
    ledger = Ledger()
    old = ledger.now
    none = np.zeros(0, np.uint64)
    ledger.move(old.put(none, none, b"1" * 16), old)
    with pytest.raises(ProtocolError):
        ledger.move(Counters(b"2" * 16), old)


def test_a_policy_that_makes_no_sense_is_refused(pair: Pair) -> None:
    for how in (
        {"tau_verify": 9, "lockout_tau": 8, "lockout_limit": 1},
        {"tau_identify": 9, "lockout_tau": 8, "lockout_limit": 1},
        {"lockout_limit": -1},
        {"lockout_limit": 1 << 16},
        {"scale": 16, "dimension": 6, "lockout_limit": 4000},
    ):
        with pytest.raises(OutOfRange):
            Params(pair.pk.key_id, 2048, pair.pk.engine, **how)  # type: ignore[arg-type]

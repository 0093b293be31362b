"""`Arithmetic` on the workers of a Dask cluster, which are part of this server and must be kept like it.

Each block has a worker (its number modulo theirs), which holds in its memory E, Y, this server's masks and the other
server's ciphertexts of the block, makes the answers to rows, and returns bytes for the other server, shares f and the
online sums. So a server with w workers takes a w-th of the time for rows, openings and sums, and holds no ciphertexts.

    to the worker     once a block    the other server's b_j, 1.7 kB a slot at D = 128; masks, 4 D B; E and Y, 8 D B
                      a row           its D numbers, and 32 bytes of randomness; the other server's answer, 17 B a slot
                      a question      a_p and delta
    back              a row           V's answer, 17 B a slot, and f, 4 B a slot
                      a question      4 B a slot

A worker's state is a Dask actor: actors lie outside the store that Dask spills to disk, and their results are not kept.
Spilling has to be off all the same, which is looked at when the cluster is taken into use. Numbers go from here to the
worker, not through the scheduler. A worker that is lost takes its blocks' ciphertexts with it: what was going on fails,
and the next call has the other server send them again, to another worker.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary, finalize

import numpy as np
from numpy.typing import NDArray

from pura.crypto.bits import Words
from pura.crypto.rlwe.evaluator import Ciphertexts, Evaluator
from pura.crypto.rlwe.keeper import Keeper
from pura.crypto.rlwe.parameters import SLOTS, LatticeParams
from pura.crypto.rlwe.ring import SEED_BYTES
from pura.crypto.rng import Rng
from pura.errors import BadConfig, Overloaded
from pura.ids import BlockId
from pura.process import keep_memory_private
from pura.protocols.prepared.arithmetic import NUMPY, Answer, OneAnswer, Task
from pura.protocols.prepared.blocks import Block, Matrix
from pura.protocols.prepared.correlations import MaskedBlock, Masks

if TYPE_CHECKING:
    from distributed import Client

AHEAD = 2
"""Answers that each worker is asked for before they are wanted."""
_ANSWER_S = 300.0


# --- on a worker -------------------------------------------------------------------------------------


class _Drawn:
    """The randomness of one answer, drawn by the server."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    def bytes(self, count: int) -> bytes:
        """The seed, once."""
        seed, self._seed = self._seed, b""
        if len(seed) != count:
            raise ValueError("this randomness is for one answer")
        return seed


class Holder:
    """What one worker holds, each thing under a number that the server gave it. A method is one message; they are
    carried out one after the other."""

    def __init__(self) -> None:
        keep_memory_private()
        self._keys: dict[int, tuple[Evaluator, Keeper]] = {}
        self._ciphertexts: dict[int, Ciphertexts] = {}
        self._masks: dict[int, Masks] = {}
        self._blocks: dict[int, Block] = {}
        self._answers: dict[int, OneAnswer] = {}

    def __repr__(self) -> str:
        return "Holder(…)"

    def give_keys(self, number: int, evaluator: Evaluator, keeper: Keeper) -> None:
        """The keys of a connection."""
        self._keys[number] = evaluator, keeper

    def load(self, number: int, params: LatticeParams, at: int, seed: bytes, body: bytes, count: int) -> None:
        """See `Ciphertexts.load`."""
        self._ciphertexts.setdefault(number, Ciphertexts(params)).load(at, seed, body, count)

    def give_masks(self, number: int, masks: Masks) -> None:
        """This server's masks of the block of some ciphertexts."""
        self._masks[number] = masks

    def give_block(self, number: int, block: Block) -> None:
        """A block's E and Y."""
        self._blocks[number] = block

    def forget(self, numbers: Sequence[int]) -> None:
        """Free what the server has let go of."""
        for held in (self._keys, self._ciphertexts, self._masks, self._blocks, self._answers):
            for number in numbers:
                held.pop(number, None)

    def answer(self, number: int, keys: int, ciphertexts: int, block: MaskedBlock, rows: Words, seed: bytes) -> bytes:
        """Begin an answer; its body."""
        evaluator, keeper = self._keys[keys]
        masks = self._masks[ciphertexts]
        task = Task(rows, block, self._ciphertexts[ciphertexts], lambda: masks)
        made = OneAnswer(NUMPY.own_products, evaluator, keeper, task, cast(Rng, _Drawn(seed)))
        self._answers[number] = made
        return made.body()

    def finish(self, number: int, got: bytes) -> Matrix:
        """The other server's answer came: f. Raises `ProtocolError`."""
        made = self._answers.pop(number)
        made.own()
        return made.open(got)()

    def sums(self, numbers: Sequence[int], a: Words, d: Words, bits: int) -> Matrix:
        """See `Arithmetic.sums`."""
        return NUMPY.sums([self._blocks[number] for number in numbers], a, d, bits)


def _spills(dask_worker: Any) -> list[str]:
    """On a worker: which of its settings let numbers reach a disk."""
    memory = dask_worker.memory_manager
    parts = {"target": memory.memory_target_fraction, "spill": memory.memory_spill_fraction}
    return [name for name, fraction in parts.items() if fraction]


# --- at the server -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Traffic:
    """Bytes of numbers between this server and its workers: what Dask and its pickles add is not counted."""

    sent: int = 0
    received: int = 0


class _Worker:
    """A worker's holder as seen from here."""

    def __init__(self, client: Client, address: str, traffic: Traffic) -> None:
        self.address, self._traffic = address, traffic
        with client.as_current():
            made = client.submit(Holder, workers=[address], allow_other_workers=False, actor=True, pure=False)
            self._actor = made.result(timeout=_ANSWER_S)
        self._left: deque[int] = deque()
        self.keys: WeakKeyDictionary[Keeper, int] = WeakKeyDictionary()
        self.lost = False

    def owns(self, thing: object, number: int) -> int:
        """The worker holds something under this number as long as `thing` is there."""
        finalize(thing, self._left.append, number).atexit = False
        return number

    def call(self, method: str, *values: Any) -> Callable[[], Any]:
        """Begin a call; what is returned waits for its result. Raises `Overloaded` when the worker is lost."""
        if self._left:
            gone = [self._left.popleft() for _ in range(len(self._left))]
            self._begin("forget", gone)
        return self._begin(method, *values)

    def _begin(self, method: str, *values: Any) -> Callable[[], Any]:
        self._traffic.sent += _size(values)
        try:
            future = getattr(self._actor, method)(*values)
        except (OSError, RuntimeError) as error:
            raise self._gone(error) from error

        def result() -> Any:
            try:
                value = future.result(timeout=_ANSWER_S)
            except (OSError, RuntimeError) as error:
                raise self._gone(error) from error
            self._traffic.received += _size([value])
            return value

        return result

    def _gone(self, error: Exception) -> Overloaded:
        self.lost = True
        return Overloaded("a worker of the cluster was lost; try again", detail=type(error).__name__)


class RemoteCiphertexts(Ciphertexts):
    """The other server's ciphertexts of one block, on its worker."""

    def __init__(self, params: LatticeParams, number: int, worker: _Worker) -> None:
        self._params, self.number, self.worker = params, worker.owns(self, number), worker
        self.has_masks = False

    @property
    def held(self) -> int:
        """Nothing here."""
        return 0

    @property
    def lost(self) -> bool:
        """See `Ciphertexts.lost`."""
        return self.worker.lost

    def load(self, at: int, seed: bytes, body: bytes, count: int) -> None:
        """See `Ciphertexts.load`."""
        self.worker.call("load", self.number, self._params, at, seed, body, count)()


class _RemoteAnswer:
    """One task at its worker."""

    def __init__(self, worker: _Worker, number: int, begun: Callable[[], bytes]) -> None:
        self._worker, self._number, self._begun = worker, worker.owns(self, number), begun

    def body(self) -> bytes:
        """See `Answer`."""
        return self._begun()

    def own(self) -> None:
        """Done by the worker with the opening."""

    def open(self, got: bytes) -> Callable[[], Matrix]:
        """See `Answer`."""
        result = self._worker.call("finish", self._number, got)

        def ready(_: _RemoteAnswer = self) -> Matrix:  # the worker forgets an answer that nobody holds
            out: Matrix = result()
            return out

        return ready


class OnCluster:
    """All workers of a cluster."""

    def __init__(self, client: Client) -> None:
        """`client`: connects to workers directly. Raises `BadConfig` when a worker may spill to disk, is reached over
        a network without TLS, or there is none."""
        spilling = {word for words in client.run(_spills).values() for word in words}
        if spilling:
            names = ", ".join(f"distributed.worker.memory.{word}" for word in sorted(spilling))
            raise BadConfig(f"workers.scheduler: the cluster's workers may write masks to disk: set {names} to False")
        self._client = client
        self.traffic = Traffic()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._held: WeakKeyDictionary[Block, tuple[_Worker, int]] = WeakKeyDictionary()
        self._workers: list[_Worker] = []
        self._present()

    def keeper(self, params: LatticeParams, seed: bytes, rng: Rng) -> Keeper:
        """See `Arithmetic`."""
        return Keeper(params, seed, rng)

    def evaluator(self, params: LatticeParams, seed: bytes, public: bytes) -> Evaluator:
        """See `Arithmetic`."""
        return Evaluator(params, seed, public)

    def ciphertexts(self, params: LatticeParams, block: BlockId, *, lean: bool = False) -> Ciphertexts:
        """See `Arithmetic`. All of them are held."""
        return RemoteCiphertexts(params, next(self._numbers), self._of(block))

    def answers(self, evaluator: Evaluator, keeper: Keeper, tasks: Iterable[Task], rng: Rng) -> Iterator[Answer]:
        """See `Arithmetic`. Some are begun before they are asked for, so that all workers have something to do."""
        begun: deque[Answer] = deque()
        for task in tasks:
            begun.append(self._begin(evaluator, keeper, task, rng.bytes(SEED_BYTES)))
            if len(begun) > AHEAD * len(self._workers):
                yield begun.popleft()
        yield from begun

    def sums(self, blocks: Sequence[Block], a: Words, d: Words, bits: int) -> Matrix:
        """See `Arithmetic`."""
        at: dict[_Worker, list[int]] = {}
        where = [self._place(block) for block in blocks]
        for i, (worker, _) in enumerate(where):
            at.setdefault(worker, []).append(i)
        begun = [(there, worker.call("sums", [where[i][1] for i in there], a, d, bits)) for worker, there in at.items()]
        out = np.empty((len(blocks), SLOTS), np.uint32)
        for there, result in begun:
            out[there] = result().reshape(-1, SLOTS)
        return out.reshape(-1)

    def _begin(self, evaluator: Evaluator, keeper: Keeper, task: Task, seed: bytes) -> Answer:
        held = task.ciphertexts
        if not isinstance(held, RemoteCiphertexts):
            raise TypeError("ciphertexts that are not on a worker")
        worker, number = held.worker, next(self._numbers)
        if keeper not in worker.keys:
            worker.keys[keeper] = worker.owns(keeper, next(self._numbers))
            worker.call("give_keys", worker.keys[keeper], evaluator, keeper)()
        if not held.has_masks:
            worker.call("give_masks", held.number, task.masks())()
            held.has_masks = True
        begun = worker.call("answer", number, worker.keys[keeper], held.number, task.block, task.rows, seed)
        return _RemoteAnswer(worker, number, begun)

    def _place(self, block: Block) -> tuple[_Worker, int]:
        """Where a block is; it goes there if it is nowhere."""
        with self._lock:
            known = self._held.get(block)
        if known is None or known[0].lost:
            worker = self._of(block.masked.block)
            known = worker, worker.owns(block, next(self._numbers))
            worker.call("give_block", known[1], block)()
            with self._lock:
                self._held[block] = known
        return known

    def _of(self, block: BlockId) -> _Worker:
        workers = self._present()
        return workers[block % len(workers)]

    def _present(self) -> list[_Worker]:
        """The workers that are there. Raises `BadConfig`."""
        with self._lock:
            if not self._workers or any(worker.lost for worker in self._workers):
                there = {worker.address: worker for worker in self._workers if not worker.lost}
                found = sorted(self._client.scheduler_info(n_workers=-1)["workers"])
                check_addresses(found)
                self._workers = [there.get(one) or _Worker(self._client, one, self.traffic) for one in found]
            if not self._workers:
                raise BadConfig("workers.scheduler: the cluster has no workers")
            return self._workers


def check_addresses(workers: Iterable[str]) -> None:
    """Masks do not go over a network in the clear. Raises `BadConfig` for a worker elsewhere without TLS."""
    for address in workers:
        scheme, _, rest = address.partition("://")
        host = rest.rpartition(":")[0].strip("[]")
        if scheme != "tls" and not (host == "localhost" or host == "::1" or host.startswith("127.")):
            raise BadConfig("workers.scheduler: a worker on another machine needs TLS, which Dask's own settings give")


def _size(values: Iterable[Any]) -> int:
    """Bytes of numbers in some values."""
    total = 0
    for value in values:
        if isinstance(value, bytes):
            total += len(value)
        elif isinstance(value, np.ndarray):
            total += cast(NDArray[np.generic], value).nbytes
        elif isinstance(value, Block):
            total += value.e.nbytes + value.y.nbytes
    return total

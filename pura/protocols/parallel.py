"""A pool of workers for batches: joblib's loky processes, or another of joblib's backends.

Processes and not threads: much of the work is long rows of short products that hold the GIL (docs/decisions/0004).
Functions and items cross a process boundary, so they are module-level functions and plain values. They may hold the
server's own masks, never its key share. Workers on other machines are part of the server and must be kept like it.
"""

from __future__ import annotations

import concurrent.futures.process
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import joblib
from joblib.externals import loky

from pura.errors import BadConfig, OutOfRange, Overloaded
from pura.process import keep_memory_private

A = TypeVar("A")
B = TypeVar("B")

_IDLE_S = 7 * 24 * 3600
"""loky lets idle workers end after 5 minutes by default; a server keeps its own."""
_CLUSTER_S = 15
_ORPHAN_POLL_S = 1.0
"""How often a worker looks whether its server is still there: loky's workers outlive a server that was killed."""


class Workers:
    """`count` workers; 1 works inline. `backend` is one of joblib's: "loky", "threading", "dask".

    "dask" needs a client of a cluster: one that the caller has open, or `scheduler`, the address of the cluster's.

    Calls from several threads take turns: one batch occupies all workers anyway, and joblib stops every worker when a
    call fails. Functions should therefore return what is wrong and not raise.
    """

    def __init__(self, count: int = 1, backend: str = "loky", scheduler: str | None = None) -> None:
        if count < 1:
            raise OutOfRange("the number of workers must be at least 1")
        self._scheduler = scheduler
        self._cluster: Any = None
        self.count = count
        self._backend = backend
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the processes, or connect to the cluster, now. A server calls this before it opens a gRPC channel,
        which must not see a fork. Raises `BadConfig` when the cluster is not there or processes cannot be started."""
        if self._scheduler is not None:
            self._cluster = _connect(self._scheduler)
        try:
            self.map(_identity, range(self.count * 2))
        except OSError as error:  # semaphores and memory maps lie in /dev/shm
            raise BadConfig(
                'workers.backend: processes cannot be started here (is /dev/shm writable?); "threading" needs none',
                detail=str(error),
            ) from error

    @property
    def cluster(self) -> Any:
        """The client of the cluster that `start` connected to; None without a scheduler."""
        return self._cluster

    def map(self, function: Callable[[A], B], items: Sequence[A]) -> list[B]:
        """[function(item) for item in items], in order, on the workers.

        Raises `Overloaded` when a worker was killed; the next call starts a new one.
        """
        if self.count == 1 or len(items) < 2:
            return [function(item) for item in items]
        extra: dict[str, Any] = {}
        if self._backend == "loky":
            extra = {"idle_worker_timeout": _IDLE_S, "initializer": _watch, "initargs": (os.getpid(),)}
        batch = max(1, len(items) // (4 * self.count))
        try:
            with self._lock, joblib.parallel_config(backend=self._backend, n_jobs=self.count, **extra):
                out: list[B] = joblib.Parallel(batch_size=batch)(joblib.delayed(function)(item) for item in items)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise Overloaded("a worker process was stopped; try again", detail=type(error).__name__) from error
        return out

    def close(self) -> None:
        """End the worker processes; leave a cluster as it is."""
        if self._cluster is not None:
            self._cluster.close()
        if self.count > 1 and self._backend == "loky":
            with self._lock:
                loky.get_reusable_executor(reuse=True).shutdown(wait=True)


def _connect(scheduler: str) -> Any:
    try:
        from distributed import Client

        return Client(scheduler, timeout=_CLUSTER_S, direct_to_workers=True)  # type: ignore[no-untyped-call]
    except ImportError as error:
        raise BadConfig("a cluster needs the extra dask: pip install 'pura-match[dask]'") from error
    except (OSError, ValueError) as error:
        raise BadConfig("workers.scheduler: the cluster cannot be reached", detail=type(error).__name__) from error


def _watch(server: int) -> None:
    keep_memory_private()  # masks; an exec has undone what the server did
    threading.Thread(target=_end_with, args=(server,), name="pura-orphan-watch", daemon=True).start()


def _end_with(server: int) -> None:
    while os.getppid() == server:
        time.sleep(_ORPHAN_POLL_S)
    os._exit(1)


def _identity(value: int) -> int:
    return value

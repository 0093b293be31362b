"""What a server brings to every protocol of the packed engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, TypeVar

from pura.crypto.encoding import ColumnLayout, RowLayout
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng
from pura.crypto.threshold import KeyShare
from pura.params import Params

T = TypeVar("T")


class RunAll(Protocol):
    """Runs tasks, here or on workers, and returns their results in order."""

    def __call__(self, tasks: Sequence[Callable[[], T]], /) -> list[T]: ...  # noqa: D102 (the class says it)


def run_here(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Run tasks one after the other in this thread."""
    return [task() for task in tasks]


@dataclasses.dataclass(frozen=True)
class Side:
    """One server: its key share, the parameters of the collection, its source of randomness, its workers."""

    pk: PublicKey
    share: KeyShare
    params: Params
    rng: Rng
    run_all: RunAll = run_here
    group: int = 1
    """How many blocks are worked on, and sent, at once; the number of workers or a small multiple."""

    @cached_property
    def rows(self) -> RowLayout:
        """How clients pack a template."""
        return RowLayout.of(self.params)

    @cached_property
    def columns(self) -> ColumnLayout:
        """How blocks pack their entries."""
        return ColumnLayout.of(self.params)

"""A client without servers, for tests of what uses one: the same calls, decisions and errors, with plain integers.

    from pura_client.doubles import Double
    pura = Double(threshold=0.37)                     # embeds photos as `connect` would
    pura = Double(threshold=0.5, embedder="mine", dimension=16)     # Raw and Ready embeddings of one's own
    pura.enroll("ada.jpg", "Ada Lovelace")

It protects nobody: everything is in this process, in the clear. It counts no tries, and knows neither keys nor rights.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pura.crypto.encoding import Template, distance2
from pura.crypto.rng import Rng, SystemRng
from pura.errors import BudgetSpent, EnrolmentConflict, OutOfRange
from pura.face.spec import SFACE_MIRRORED, EmbedderSpec
from pura.ids import CollectionId, EnrolmentId, Handle, KeyId
from pura.params import DEFAULT_SCALE, MOST_DAYS, Params
from pura.wire._pb import pura_pb2 as pb
from pura_client.enrolling import BATCH_ENTRIES
from pura_client.labels import LabelCipher, normalise
from pura_client.session import Client, Entry, Status
from pura_client.templates import Templates

if TYPE_CHECKING:
    from pura.face.pipeline import FacePipeline

ENGINE = "plaintext"


@dataclasses.dataclass(frozen=True)
class _Kept:
    handle: Handle
    enrolment_id: EnrolmentId
    label: str
    template: Template = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class _Draft:
    enrolment_id: EnrolmentId
    template: Template = dataclasses.field(repr=False)
    label: str
    size: int = 0


class _Book:
    """The roster of a double."""

    def __init__(self, kept: dict[Handle, _Kept]) -> None:
        self._kept = kept
        self.generation = 0

    def __iter__(self) -> Iterator[Handle]:
        return iter(list(self._kept))

    def __contains__(self, handle: object) -> bool:
        return handle in self._kept

    def label(self, handle: Handle) -> str | None:
        return self._kept[handle].label

    def entries(self) -> Sequence[_Kept]:
        return list(self._kept.values())

    def update(self, *_: object) -> frozenset[Handle]:
        return frozenset()


class Double(Client):
    """See the module. `questions`: how many may be asked, for all time; None for as many as one likes."""

    def __init__(
        self,
        *,
        threshold: float,
        identify_threshold: float | None = None,
        dimension: int = SFACE_MIRRORED.dimension,
        scale: int = DEFAULT_SCALE,
        top_k: int = 1,
        embedder: str = SFACE_MIRRORED.name,
        questions: int | None = None,
        faces: FacePipeline | None = None,
        model: EmbedderSpec | None = None,
        rng: Rng | None = None,
    ) -> None:
        """Thresholds are cosines, as `pura-server init` takes them. `faces`, `model`: what embeds photos, as in
        `connect`. Raises `OutOfRange`."""
        tau, tau_all = (int(2 * scale**2 * (1 - cosine)) for cosine in (threshold, identify_threshold or threshold))
        self.params = Params(
            KeyId(bytes(16)), 0, dimension=dimension, scale=scale, tau_verify=tau, tau_identify=tau_all, top_k=top_k,
            embedder=embedder,
        )  # fmt: skip
        self._rng = rng or SystemRng()
        self._collection = CollectionId(bytes(16))
        self._labels = LabelCipher(self._rng.bytes(32))
        self._templates = Templates(self.params, faces, model, None)
        self._entries_a_batch = BATCH_ENTRIES
        self._kept: dict[Handle, _Kept] = {}
        self._roster: Any = _Book(self._kept)
        self._erased = {}
        self._lock = threading.RLock()
        self._left = questions

    def close(self) -> None:
        """Nothing is open."""

    # --- what a session would ask servers for -----------------------------------------------------

    def _draft(self, template: Template, enrolment_id: EnrolmentId, label: str, keep_days: int) -> Any:
        if not 0 <= keep_days <= MOST_DAYS:
            raise OutOfRange(f"an entry is kept for 1 to {MOST_DAYS} days")
        return _Draft(enrolment_id, template, label)

    def _send(self, drafts: Sequence[Any]) -> Mapping[bytes, pb.EnrollOutcome]:
        results = {}
        with self._lock:
            ids = {kept.enrolment_id for kept in self._kept.values()}
            for draft in drafts:
                result = pb.EnrollOutcome(enrolment_id=draft.enrolment_id)
                if draft.enrolment_id in ids:
                    result.error_code, result.error_message = EnrolmentConflict.code, EnrolmentConflict.hint
                else:
                    handle = Handle(self._rng.below((1 << 64) - 1) + 1)
                    self._kept[handle] = _Kept(handle, draft.enrolment_id, draft.label, draft.template)
                    result.handle = handle
                results[draft.enrolment_id] = result
        return results

    def _asked(self, template: Template, handles: Sequence[Handle] | None = None) -> Any:
        """The handles that a question finds, nearest first."""
        with self._lock:
            if self._left is not None:
                if not self._left:
                    raise BudgetSpent()
                self._left -= 1
            kept = [one for one in self._kept.values() if handles is None or one.handle in handles]
            if not kept:
                return []
            distances = distance2(template, np.stack([one.template for one in kept]))
            nearest = np.argsort(distances, kind="stable")[: self.params.top_k]
            tau = self.params.tau_for(None if handles is None else len(handles))
            return [kept[i].handle for i in nearest if distances[i] <= tau]

    def _bring_up_to(self, asked: Sequence[Any]) -> None:
        """Nothing is behind."""

    def _entries_of(self, asked: Sequence[Any]) -> Sequence[Handle]:
        return list(itertools.chain.from_iterable(asked))

    def _erase(self, handles: Sequence[Handle]) -> int:
        with self._lock:
            return sum(self._kept.pop(handle, None) is not None for handle in handles)

    # --- the collection -----------------------------------------------------------------------------

    def entries(self) -> Sequence[Entry]:
        """See `Client`."""
        return [Entry(one.handle, one.label, one.enrolment_id) for one in self._roster.entries()]

    def relabel_entries(self, labels: Mapping[Handle, str]) -> int:
        """See `Client`."""
        texts = {handle: normalise(text) for handle, text in labels.items()}
        with self._lock:
            there = [handle for handle in texts if handle in self._kept]
            for handle in there:
                self._kept[handle] = dataclasses.replace(self._kept[handle], label=texts[handle])
        return len(there)

    def renew_labels(self) -> int:
        """See `Client`: there is one key only."""
        return 0

    def status(self) -> Status:
        """See `Client`."""
        return Status("double", True, len(self._kept), ENGINE, 0, {})

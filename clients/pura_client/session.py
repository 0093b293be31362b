"""A client's session with a collection: enrol, identify, verify, forget, list.

    import pura_client
    pura = pura_client.connect("client.toml")
    print(pura.identify("photo.jpg").label)

The photo is embedded, quantised and encrypted here; what comes back is a decision and, from the roster, a label. There
is no score to be had.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pura.crypto.encoding import Template, quantise
from pura.crypto.keys import load_public
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng, SystemRng
from pura.errors import MalformedMessage, OutOfRange, ParameterMismatch, PuraError, UnknownLabel, WrongKey, from_code
from pura.face.spec import DetectorSpec, EmbedderSpec, for_collection
from pura.ids import Engine, EnrolmentId, Handle, KeyId
from pura.params import PROTOCOL_VERSION, Metric, Params
from pura.wire._pb import pura_pb2 as pb
from pura_client import config as client_config
from pura_client import engines
from pura_client.config import ClientConfig
from pura_client.gateway import Gateway, Interceptor, open_channel
from pura_client.labels import LabelCipher, normalise

if TYPE_CHECKING:
    from pura.face.pipeline import FacePipeline

Photo = str | os.PathLike[str] | NDArray[Any]
"""A path, an image array (uint8, of shape (H, W) or (H, W, 3)), or an embedding (float, of shape (D,))."""

ENROLMENT_ID_BYTES = 16
BATCH_BYTES = 2 << 20
BATCH_ENTRIES = 32


@dataclasses.dataclass(frozen=True)
class Decision:
    """The answer to a question. Never a score.

    match: whether anybody (identify) or the person asked about (verify) matched. label: who; None without a match, or
    when the entry's label was made with another label key. candidates: the labels of all entries returned, nearest
    first, each once; more than one only in a collection with top_k above 1.
    """

    match: bool
    label: str | None = None
    candidates: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Enrolled:
    """What became of one photo: `handle` names the entry, or `error` says why there is none."""

    photo: Photo = dataclasses.field(repr=False)
    label: str
    handle: Handle | None = None
    error: PuraError | None = None


_Batch = list[tuple[Enrolled, pb.Enrolment | None]]
"""Outcomes to be, with what is sent for them; nothing is sent for a photo that was refused here."""


@dataclasses.dataclass(frozen=True)
class Status:
    """How the servers are; `levels` are their gauges of offline material."""

    version: str
    peer_ready: bool
    entries: int
    engine: str
    uptime_s: int
    levels: Mapping[str, float]


def connect(
    config: ClientConfig | str | os.PathLike[str] | None = None,
    *,
    insecure: bool = False,
    faces: FacePipeline | None = None,
    rng: Rng | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Client:
    """A session by `client.toml` (a path, its contents, or by default $PURA_CLIENT or ./client.toml).

    `insecure` leaves TLS out, on this machine only. `faces` replaces the configured embedder. Raises `BadConfig`,
    `BadKeyFile`, `WrongKey` when the server uses another key, `ParameterMismatch`, `PeerUnavailable`.
    """
    if not isinstance(config, ClientConfig):
        config = client_config.load(config)
    pk = load_public(config.public_key)
    labels = LabelCipher(config.label_key_bytes())
    gateway = Gateway(open_channel(config, insecure=insecure), config.deadline_s, interceptors)
    try:
        params = params_of(gateway.info(), pk)
        if faces is not None:
            faces.spec.check(params)
    except PuraError:
        gateway.close()
        raise
    return Client(gateway, pk, params, labels, faces=faces, embedder=config.embedder, detector=config.detector, rng=rng)


def params_of(info: pb.InfoReply, pk: PublicKey) -> Params:
    """What a client must know to embed and encrypt; the threshold stays with the servers.

    Raises `WrongKey` when the server's key is not `pk`, and `ParameterMismatch` for parameters unknown here.
    """
    if info.protocol != PROTOCOL_VERSION:
        raise ParameterMismatch(f"the server speaks protocol {info.protocol}, this client {PROTOCOL_VERSION}")
    if info.key_id != pk.key_id or info.n_bits != pk.n_bits:
        raise WrongKey("the server uses another key than this client's public key file")
    try:
        return Params(
            key_id=KeyId(info.key_id),
            n_bits=info.n_bits,
            engine=Engine(info.engine),
            dimension=info.dimension,
            scale=info.scale,
            metric=Metric(info.metric),
            radius=info.radius,
            sigma=info.sigma,
            top_k=info.top_k,
            embedder=info.embedder,
        )
    except (ValueError, OutOfRange) as error:
        raise ParameterMismatch("the server uses parameters that this client does not know") from error


class Client:
    """A session; made by `connect`. Use it as a context manager or call `close`."""

    def __init__(
        self,
        gateway: Gateway,
        pk: PublicKey,
        params: Params,
        labels: LabelCipher,
        *,
        faces: FacePipeline | None = None,
        embedder: EmbedderSpec | None = None,
        detector: DetectorSpec | None = None,
        rng: Rng | None = None,
    ) -> None:
        self.params = params
        self._gateway = gateway
        self._pk = pk
        self._labels = labels
        self._roster: tuple[bytes, dict[Handle, str | None]] = b"", {}
        self._faces, self._embedder, self._detector = faces, embedder, detector
        self._rng = rng or SystemRng()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._gateway.close()

    # --- enrolment ------------------------------------------------------------------------------

    def enroll(self, photo: Photo, label: str, *, largest: bool = False) -> Handle:
        """Enrol one photo under a label; a label may have several. Raises what is wrong with the photo or the label."""
        (outcome,) = self.enroll_many([(photo, label)], largest=largest)
        if outcome.error is not None:
            raise outcome.error
        if outcome.handle is None:
            raise MalformedMessage("the server did not name the new entry")
        return outcome.handle

    def enroll_many(
        self,
        items: Iterable[tuple[Photo, str]],
        progress: Callable[[Enrolled], None] | None = None,
        *,
        largest: bool = False,
    ) -> Sequence[Enrolled]:
        """Enrol many photos, in batches that share the servers' work; one outcome for each, in order.

        A photo or template that is refused does not stop the others; losing the servers does (`PeerUnavailable`).
        `progress` is called as outcomes become known.
        """
        outcomes = []
        for batch in self._batches(items, largest):
            for outcome in self._send(batch):
                outcomes.append(outcome)
                if progress is not None:
                    progress(outcome)
        return outcomes

    def _batches(self, items: Iterable[tuple[Photo, str]], largest: bool) -> Iterator[_Batch]:
        batch: _Batch = []
        size = 0
        for photo, label in items:
            try:
                enrolment = self._enrolment(photo, label, largest)
            except PuraError as error:
                batch.append((Enrolled(photo, label, error=error), None))
                continue
            if batch and (size + enrolment.ByteSize() > BATCH_BYTES or len(batch) >= BATCH_ENTRIES):
                yield batch
                batch, size = [], 0
            batch.append((Enrolled(photo, label), enrolment))
            size += enrolment.ByteSize()
        if batch:
            yield batch

    def _enrolment(self, photo: Photo, label: str, largest: bool) -> pb.Enrolment:
        stored = self._labels.seal(label, self._rng)
        template = self._template(photo, largest)
        return pb.Enrolment(
            enrolment_id=EnrolmentId(self._rng.bytes(ENROLMENT_ID_BYTES)),
            label=stored,
            ciphertexts=engines.encrypt_template(self._pk, self.params, template, self._rng),
        )

    def _send(self, batch: _Batch) -> Iterator[Enrolled]:
        sent = [enrolment for _, enrolment in batch if enrolment is not None]
        results = {}
        if sent:
            reply = self._gateway.enroll(pb.EnrollRequest(key_id=self._pk.key_id, enrolments=sent))
            results = {result.enrolment_id: result for result in reply.outcomes}
        for outcome, enrolment in batch:
            if enrolment is None:
                yield outcome
                continue
            result = results.get(enrolment.enrolment_id)
            if result is None:
                raise MalformedMessage("the server left out an enrolment in its answer")
            if result.error_code:
                yield dataclasses.replace(outcome, error=from_code(result.error_code, result.error_message))
            else:
                yield dataclasses.replace(outcome, handle=Handle(result.handle))

    # --- questions ------------------------------------------------------------------------------

    def identify(self, photo: Photo, *, largest: bool = False) -> Decision:
        """Who is this? The whole roster is brought up to date after every question, so that the server cannot tell
        who matched, or whether anybody did. An entry that was erased meanwhile does not count."""
        question = self._ask(photo, largest)
        handles = question.open(self._gateway.identify(pb.IdentifyRequest(query=question.query)))
        return self._decide(handles, self.roster())

    def verify(self, photo: Photo, label: str, *, largest: bool = False) -> Decision:
        """Is this the person enrolled under `label`? Raises `UnknownLabel`. The servers see which entries are asked
        about, not the answer."""
        wanted = normalise(label)
        roster = {handle: text for handle, text in self.roster().items() if text == wanted}
        if not roster:
            raise UnknownLabel()
        question = self._ask(photo, largest)
        reply = self._gateway.verify(pb.VerifyRequest(query=question.query, handles=sorted(roster)))
        return self._decide(question.open(reply), roster)

    @staticmethod
    def _decide(handles: Sequence[Handle], roster: Mapping[Handle, str | None]) -> Decision:
        found = [roster[handle] for handle in handles if handle in roster]
        if not found:
            return Decision(match=False)
        readable = tuple(dict.fromkeys(label for label in found if label is not None))
        return Decision(match=True, label=found[0], candidates=readable)

    def _ask(self, photo: Photo, largest: bool) -> engines.Question:
        return engines.ask(self._pk, self.params, self._template(photo, largest), self._rng)

    def _template(self, photo: Photo, largest: bool) -> Template:
        if isinstance(photo, np.ndarray) and photo.ndim == 1:
            return quantise(photo, self.params)
        if self._faces is None:
            # a client that brings its own embeddings needs neither OpenCV nor the weights
            spec = for_collection(self._embedder, self.params)
            from pura.face.pipeline import FacePipeline

            self._faces = FacePipeline(spec, self._detector)
        return quantise(self._faces.embed(photo, largest=largest), self.params)

    # --- the collection -------------------------------------------------------------------------

    def roster(self) -> dict[Handle, str | None]:
        """Every entry and its label; None where this client's label key does not open it."""
        version, entries = self._gateway.roster(self._roster[0])
        if entries is not None:
            out: dict[Handle, str | None] = {}
            for entry in entries:
                try:
                    out[Handle(entry.handle)] = self._labels.open(entry.label)
                except MalformedMessage:
                    out[Handle(entry.handle)] = None  # another client's doing must not stop this one
            self._roster = version, out
        return dict(self._roster[1])

    def list(self) -> dict[str, int]:
        """Everybody who is enrolled, by label, and with how many photos."""
        counts = collections.Counter(label for label in self.roster().values() if label is not None)
        return dict(sorted(counts.items()))

    def forget(self, label: str) -> int:
        """Erase all entries of a label; how many there were. Raises `UnknownLabel`."""
        wanted = normalise(label)
        handles = [handle for handle, text in self.roster().items() if text == wanted]
        if not handles:
            raise UnknownLabel()
        return self._gateway.forget(pb.ForgetRequest(handles=handles)).removed

    def status(self) -> Status:
        """How the servers are."""
        reply = self._gateway.status()
        return Status(
            reply.version, reply.peer_ready, reply.entries, reply.engine, reply.uptime_s, dict(reply.levels.items())
        )

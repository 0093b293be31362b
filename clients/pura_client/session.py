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
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from pura.crypto.context import NO_CERTIFICATE, NewLabel
from pura.crypto.encoding import Template
from pura.crypto.keys import load_public
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import Rng, SystemRng
from pura.errors import (
    DeviatingServer,
    MalformedMessage,
    NotAuthorised,
    OutOfRange,
    ParameterMismatch,
    PuraError,
    StaleEpoch,
    UnknownEntry,
    UnknownLabel,
    WrongKey,
)
from pura.face.spec import DetectorSpec, EmbedderSpec
from pura.groups import Right
from pura.ids import Engine, EnrolmentId, Epoch, Handle, KeyId
from pura.params import PROTOCOL_VERSION, Params
from pura.protocols.prepared.client import Answered
from pura.statements import signs
from pura.wire._pb import pura_pb2 as pb
from pura_client import config as client_config
from pura_client import crowd, engines, naming, reach, renaming, trace
from pura_client.answers import Decision, Identified, Recognised
from pura_client.config import ClientConfig
from pura_client.enrolling import BATCH_ENTRIES, Desk, Enrolled, Enrolment, Run
from pura_client.gateway import Gateway, Interceptor, Line, changes_of, open_channel
from pura_client.labels import LabelCipher, normalise
from pura_client.roster import CheckedRoster, Enclosed
from pura_client.seen import Seen
from pura_client.templates import UNUSABLE, Embedding, Photo, Ready, Templates, one_of

if TYPE_CHECKING:
    from pura.face.found import Picture
    from pura.face.pipeline import FacePipeline

T = TypeVar("T")
_EPOCHS = 3
"""How often a call is made anew because its epoch was over."""

MAX_HANDLES = 4096
"""How many entries one request may name."""
MOST_ERASED = 65_536
"""Entries of which a session remembers that they were erased."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of the roster; label: None where this client's label key does not open it; expires: when the servers
    erase it, seconds since 1970, None for never."""

    handle: Handle
    label: str | None
    enrolment_id: EnrolmentId
    expires: int | None = None


@dataclasses.dataclass(frozen=True)
class Forgotten:
    """What became of one label: how many of its entries were erased, and why not all of them."""

    label: str
    entries: int = 0
    error: PuraError | None = None


@dataclasses.dataclass(frozen=True)
class Status:
    """How the servers are; `levels` are their gauges of offline material."""

    version: str
    peer_ready: bool
    entries: int
    engine: str
    uptime_s: int
    levels: Mapping[str, float]


@dataclasses.dataclass(frozen=True, repr=False)
class _Answer:
    """named: the entries asked about, None for all; before: the latest generation that was known when it was asked;
    enclosed: what came with it of the roster."""

    answered: Answered
    named: Sequence[Handle] | None
    before: int
    enclosed: Enclosed | None


def _enclosed(reply: pb.AnswerReply, since: int) -> Enclosed | None:
    return Enclosed(since, changes_of([reply.roster])) if since and reply.HasField("roster") else None


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
    line = Line.of(open_channel(config, insecure=insecure), interceptors)
    return connect_by(line, config, insecure=insecure, faces=faces, rng=rng)


def connect_by(
    line: Line, config: ClientConfig, *, insecure: bool, faces: FacePipeline | None = None, rng: Rng | None = None
) -> Client:
    """`connect`, by a line that is there already; it is closed when that fails."""
    gateway = Gateway(line, config.deadline_s, lambda: reach.why(config, insecure=insecure))
    try:
        return _opened(gateway, config, insecure, faces, rng)
    except PuraError:
        gateway.close()
        raise


def _opened(
    gateway: Gateway, config: ClientConfig, insecure: bool, faces: FacePipeline | None, rng: Rng | None
) -> Client:
    pk = load_public(config.public_key)
    key, *older = config.label_keys()
    labels = LabelCipher(key, older)
    pins = config.pins()
    verifier = config.verifier(pk) if signs(pk.engine) else None
    seen = Seen(config.state, pk.collection, config.s2_key or "")
    info = gateway.info()
    params = params_of(info, pk)
    pins.check(params)
    if faces is not None:
        faces.spec.check(params)
    return Client(
        gateway,
        engines.Author(pk, params, NO_CERTIFICATE if insecure else config.fingerprint(), config.group_keys(), verifier),
        info,
        labels,
        seen=seen,
        faces=faces,
        embedder=config.embedder,
        detector=config.detector,
        rng=rng,
    )


def params_of(info: pb.InfoReply, pk: PublicKey) -> Params:
    """What a client must know to embed and encrypt; the threshold stays with the servers.

    Raises `WrongKey` when the server's key is not `pk`, and `ParameterMismatch` for parameters unknown here.
    """
    if info.protocol != PROTOCOL_VERSION:
        raise ParameterMismatch(f"the server speaks protocol {info.protocol}, this client {PROTOCOL_VERSION}")
    own = (pk.key_id, pk.n_bits, pk.engine, pk.collection)
    if (info.key_id, info.n_bits, info.engine, info.collection) != own:
        raise WrongKey("the server uses another key than this client's public key file")
    try:
        params = Params(
            key_id=KeyId(info.key_id),
            n_bits=info.n_bits,
            engine=Engine(info.engine),
            dimension=info.dimension,
            scale=info.scale,
            top_k=info.top_k,
            embedder=info.embedder,
        )
    except (ValueError, OutOfRange) as error:
        raise ParameterMismatch("the server uses parameters that this client does not know") from error
    if info.storage != params.storage:
        raise ParameterMismatch("the server uses parameters that this client does not know")
    return params


class Client:
    """A session; made by `connect`. Use it as a context manager or call `close`. Threads may share it."""

    def __init__(
        self,
        gateway: Gateway,
        author: engines.Author,
        info: pb.InfoReply,
        labels: LabelCipher,
        *,
        seen: Seen | None = None,
        faces: FacePipeline | None = None,
        embedder: EmbedderSpec | None = None,
        detector: DetectorSpec | None = None,
        rng: Rng | None = None,
    ) -> None:
        self.params = author.params
        self._gateway = gateway
        self._author = author
        self._collection = author.pk.collection
        self._epoch = Epoch(info.epoch)
        self._entries_a_batch = min(BATCH_ENTRIES, info.batch or BATCH_ENTRIES)
        self._labels = labels
        self._seen = seen or Seen(None, author.pk.collection, "")
        self._roster = CheckedRoster(gateway.roster, labels, author.verifier, self._seen)
        self._templates = Templates(author.params, faces, embedder, detector)
        self._rng = rng or SystemRng()
        self._lock = threading.RLock()
        """Held wherever the roster is read or brought up to date."""
        self._erased: dict[Handle, int] = {}
        """Entries that were erased lately, and the generation at which this client heard of it: another thread's answer
        may name one."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._gateway.close()

    # --- enrolment ------------------------------------------------------------------------------

    def enroll(
        self,
        photos: Photo | Sequence[Photo] | None = None,
        label: str = "",
        *,
        embedding: Embedding | Sequence[Embedding] | None = None,
        name: str | None = None,
        keep_days: int = 0,
        largest: bool = False,
    ) -> Handle:
        """Enrol one person: by one photo or several, or by embeddings, of which one template is made, their mean. A
        label may have several entries. The same photos again are the same entry.

        `name`, `keep_days`: see `Enrolment`. Raises what is wrong with a photo or the label, `PhotosDisagree` for
        several that do not show one person, and what keeps the servers away.
        """
        item = Enrolment(one_of(photos, embedding), label, name, keep_days)
        (outcome,) = self.enroll_many([item], largest=largest, strict=True)
        if outcome.error is not None:
            raise outcome.error
        if outcome.handle is None:
            raise MalformedMessage("the server did not name the new entry")
        return outcome.handle

    def enroll_many(
        self,
        items: Iterable[tuple[Photo | Sequence[Photo], str] | Enrolment],
        progress: Callable[[Enrolled], None] | None = None,
        *,
        largest: bool = False,
        strict: bool = False,
        once: bool = False,
    ) -> Sequence[Enrolled]:
        """Enrol many people, in batches that share the servers' work; one outcome for each item, in order. An item is a
        photo, or several of one person, with a label.

        Whatever is wrong is told in the outcomes, so that what was done is never lost: an item that is refused does not
        stop the others, and servers that stay away longer than `deadline_s` end the run. Done again, it goes on where
        it ended: what is enrolled already is told (`Enrolled.already`), and not enrolled twice. Of several photos
        those that cannot be used, or are not like the others, are left out and named; with `strict` they refuse their
        item. `once`: labels that had an entry before are left alone. `progress` is called as outcomes become known.
        """
        desk = Desk(
            name=self._name,
            template=lambda photos: self._templates.of_person(photos, largest=largest, strict=strict),
            draft=self._draft,
            send=self._send,
            there=self._there,
            label=self._label,
            entries_a_batch=self._entries_a_batch,
            dimension=self.params.dimension,
            once=once,
        )
        run = Run(desk)
        if once or not isinstance(items, Sized) or len(items) > 1:  # one photo is not worth the whole roster
            run.look()
        outcomes = []
        for outcome in run.outcomes(items):
            outcomes.append(outcome)
            if progress is not None:
                progress(outcome)
        return outcomes

    def _name(self, item: Enrolment) -> EnrolmentId:
        if item.name is not None:
            return naming.by_name(self._labels, self._collection, item.name)
        return naming.by_photo(self._labels, self._collection, item.photo, item.label)

    def _there(self) -> Mapping[EnrolmentId, Handle]:
        with self._lock:
            self._update()
            return {one.enrolment_id: one.handle for one in self._roster.entries()}

    def _label(self, handle: Handle) -> str | None:
        with self._lock:  # another thread may have heard meanwhile that it was erased
            return self._roster.label(handle) if handle in self._roster else None

    def _draft(self, template: Template, enrolment_id: EnrolmentId, label: str, keep_days: int) -> engines.Draft:
        with trace.stage("encrypt"):
            stored = self._labels.seal(label, enrolment_id, self._rng)
            return engines.Draft(self._author, template, enrolment_id, stored, self._rng, keep_days)

    def _send(self, drafts: Sequence[engines.Draft]) -> Mapping[bytes, pb.EnrollOutcome]:
        before = self._seen.generation
        results = self._outcomes(drafts)
        stale = {name for name, result in results.items() if result.error_code == StaleEpoch.code}
        if stale:  # S2 began an epoch while the request was on its way
            self._new_epoch()
            results |= self._outcomes([draft for draft in drafts if draft.enrolment_id in stale])
        for draft in drafts:
            result = results.get(draft.enrolment_id)
            if result is not None and not result.error_code:
                self._check_enrolled(draft.enrolment_id, result, before)
        return results

    def _check_enrolled(self, enrolment_id: EnrolmentId, result: pb.EnrollOutcome, before: int) -> None:
        """Raises `DeviatingServer` unless S2 says, too, which entry an enrolment has become, and said it now."""
        if (verifier := self._author.verifier) is not None:
            signed = verifier.enrolled(result.signature, result.generation, enrolment_id, Handle(result.handle))
            self._believe("the outcome of an enrolment", signed, result.generation, before)

    def _believe(self, what: str, signed: bool, generation: int, before: int) -> None:
        """Something that S2 signed about its gallery now, which is not older than what was known `before`."""
        if not signed:
            raise DeviatingServer(f"{what} does not bear the signature of S2")
        if generation < before:
            raise DeviatingServer(
                f"{what} is about generation {generation} of the gallery, and this client knows of generation {before}"
            )
        with self._lock:
            self._seen.learn(generation)

    def _outcomes(self, drafts: Sequence[engines.Draft]) -> dict[bytes, pb.EnrollOutcome]:
        """Send enrolments; what became of each, by its id."""

        def request() -> pb.EnrollRequest:
            """Whenever it is sent, with new proofs: S2 takes each once, even if nothing came of it."""
            with trace.stage("encrypt"):
                proven = [draft.proven(self._epoch, self._rng) for draft in drafts]
            return pb.EnrollRequest(
                key_id=self._author.pk.key_id,
                enrolments=proven,
                epoch=self._epoch,
                group=self._author.group(Right.ENROL),
            )

        reply = self._in_epoch(lambda: self._gateway.enroll(request))
        return {result.enrolment_id: result for result in reply.outcomes}

    # --- epochs ---------------------------------------------------------------------------------

    def _in_epoch(self, call: Callable[[], T]) -> T:
        """A call that proves something in this epoch; again, in a new one, if it is over, which costs no budget. More
        than once: a server that was restarted begins one, and may be restarted again."""
        for _ in range(_EPOCHS):
            try:
                return call()
            except StaleEpoch:
                self._new_epoch()
        return call()

    def _new_epoch(self) -> None:
        self._epoch = self._gateway.epoch()

    # --- questions ------------------------------------------------------------------------------

    def identify(
        self,
        photo: Photo | None = None,
        *,
        embedding: Embedding | None = None,
        largest: bool = False,
        top_k: int | None = None,
    ) -> Decision:
        """Who is this? The whole roster is brought up to date with every question, so that the server cannot tell
        who matched, or whether anybody did. An entry that was erased meanwhile does not count.

        `top_k`: how many candidates at most, up to the collection's limit, which it is by default. Raises `OutOfRange`,
        `DeviatingServer` for an answer that names no entry, and what `CheckedRoster.update` raises.
        """
        most = self._most(top_k)
        template = self._templates.of(one_of(photo, embedding), largest=largest)
        return self._decide([self._asked(template)], most)

    def identify_all(self, photo: Photo, *, top_k: int | None = None) -> Sequence[Recognised]:
        """Who is on this photo? Every face of it, largest first: with a decision, or with the reason why it could not
        be asked about. Each face that can be used is a question, and counts as one.

        Raises what is wrong with the photo, and what keeps the servers from answering any question.
        """
        (one,) = self.identify_many([photo], all_faces=True, top_k=top_k)
        if one.error is not None:
            raise one.error
        errors = [face.error for face in one.faces if face.error is not None and not isinstance(face.error, UNUSABLE)]
        if errors and all(face.decision is None for face in one.faces):
            raise errors[0]
        return one.faces

    def identify_many(
        self,
        photos: Iterable[Photo],
        *,
        all_faces: bool = False,
        largest: bool = False,
        top_k: int | None = None,
    ) -> Iterator[Identified]:
        """Who is on these photos? One outcome for each, in order, as they become known: of the one face of a photo
        (`largest`: of the largest one), or of all of them. Questions are asked side by side, some at a time.

        Whatever is wrong is told in the outcomes; servers that stay away and a budget that is spent are what all that
        is left is told. Raises `OutOfRange` for `top_k`, `DeviatingServer`.
        """
        most = self._most(top_k)

        def decide(answers: Sequence[_Answer]) -> Sequence[Decision]:
            with self._lock:
                self._bring_up_to(answers)
                return [self._said(self._entries_of([one])[:most]) for one in answers]

        desk = crowd.Desk(
            look=lambda photo: crowd.look(self._templates, photo, all_faces=all_faces, largest=largest),
            ask=self._asked,
            decide=decide,
        )
        return crowd.identified(photos, desk)

    def faces(self, photo: Photo) -> Picture:
        """Every face on a photo: where it is, how good it is, and why it cannot be used. Nothing leaves this machine.

        Raises `UnreadableImage`, `BadWeights`, `DownloadFailed`.
        """
        return self._templates.faces(photo)

    def ready(self, photo: Photo, *, largest: bool = False) -> Ready:
        """The embedding of a photo, or of a face that `faces` found, as the collection's embedder makes it. Nothing
        leaves this machine. Raises what is wrong with the photo."""
        return self._templates.ready(photo, largest=largest)

    def verify(
        self,
        photo: Photo | None = None,
        label: str = "",
        *,
        embedding: Embedding | None = None,
        largest: bool = False,
    ) -> Decision:
        """Is this the person enrolled under `label`? Raises `UnknownLabel`, and what `identify` raises. The servers see
        which entries are asked about, not the answer. A label with more than 4,096 entries costs several questions."""
        named = sorted(self._named(label))
        template = self._templates.of(one_of(photo, embedding), largest=largest)
        # all of them, whatever the first ones say: where they end would tell the server
        return self._decide([self._asked(template, part) for part in _parts(named)])

    def _most(self, top_k: int | None) -> int:
        most = self.params.top_k
        if top_k is None:
            return most
        if not 1 <= top_k <= most:
            raise OutOfRange(f"top_k lies between 1 and the collection's limit, {most}")
        return top_k

    def _asked(self, template: Template, handles: Sequence[Handle] | None = None) -> _Answer:
        """One question, over all entries or over those named, and its answer."""
        before = self._seen.generation

        def ask() -> _Answer:
            with trace.stage("encrypt"):
                question = engines.ask(self._author, template, self._epoch, self._rng, handles)
            since = self._roster.generation
            if handles is None:
                reply = self._gateway.identify(pb.IdentifyRequest(query=question.query, since=since))
            else:
                reply = self._gateway.verify(pb.VerifyRequest(query=question.query, handles=handles, since=since))
            return _Answer(question.open(reply), handles, before, _enclosed(reply, since))

        return self._in_epoch(ask)

    def _decide(self, asked: Sequence[_Answer], most: int | None = None) -> Decision:
        """What the parts of one question's answer say."""
        with self._lock:
            self._bring_up_to(asked)
            return self._said(self._entries_of(asked)[:most])

    def _bring_up_to(self, asked: Sequence[_Answer]) -> None:
        """Believe answers, and bring the roster to where none of them is newer. Raises `DeviatingServer`."""
        at_least = max(one.answered.generation for one in asked)
        enclosed = [one.enclosed for one in asked if one.enclosed is not None]
        newest = max(enclosed, key=lambda one: one.changes.generation, default=None)
        if newest is not None and newest.changes.generation < max(at_least, self._seen.generation):
            newest = None  # another thread knows more by now
        self._update(at_least, newest)
        if self._author.verifier is not None:
            for one in asked:
                self._believe("the answer", True, one.answered.generation, one.before)

    def _update(self, at_least: int = 0, enclosed: Enclosed | None = None) -> None:
        """Bring the roster up to date, and remember what was erased meanwhile."""
        for handle in self._roster.update(at_least, enclosed):
            self._erased[handle] = self._roster.generation
        while len(self._erased) > MOST_ERASED:
            del self._erased[next(iter(self._erased))]

    def _entries_of(self, asked: Sequence[_Answer]) -> Sequence[Handle]:
        """The entries that answers name, and that are there."""
        found = []
        for one in asked:
            for handle in one.answered.handles:
                if one.named is not None and handle not in one.named:
                    raise DeviatingServer("the answer names an entry that is not there")
                if handle in self._roster:
                    found.append(handle)
                elif self._erased.get(handle, -1) < one.answered.generation:
                    raise DeviatingServer("the answer names an entry that is not there")
        return found

    def _said(self, handles: Sequence[Handle]) -> Decision:
        found = [self._roster.label(handle) for handle in handles]
        if not found:
            return Decision(match=False)
        readable = tuple(dict.fromkeys(label for label in found if label is not None))
        return Decision(match=True, label=found[0], candidates=readable)

    def _named(self, label: str) -> list[Handle]:
        """The entries of a label, by the roster as it is now. Raises `UnknownLabel`."""
        wanted = normalise(label)
        handles = [handle for handle, text in self.roster().items() if text == wanted]
        if not handles:
            raise UnknownLabel()
        return handles

    # --- the collection -------------------------------------------------------------------------

    def roster(self) -> dict[Handle, str | None]:
        """Every entry and its label; None where this client's label key does not open it."""
        with self._lock:
            self._update()
            return {handle: self._roster.label(handle) for handle in self._roster}

    def list(self) -> dict[str, int]:
        """Everybody who is enrolled, by label, and with how many photos."""
        counts = collections.Counter(label for label in self.roster().values() if label is not None)
        return dict(sorted(counts.items()))

    def entries(self) -> Sequence[Entry]:
        """The roster, entry by entry."""
        with self._lock:
            self._update()
            return [
                Entry(one.handle, self._roster.label(one.handle), one.enrolment_id, one.expires or None)
                for one in self._roster.entries()
            ]

    def forget(self, label: str) -> int:
        """Erase all entries of a label; how many there were. Raises `UnknownLabel`, `NotAuthorised`."""
        (forgotten,) = self.forget_many([label])
        if forgotten.error is not None:
            raise forgotten.error
        return forgotten.entries

    def forget_many(self, labels: Iterable[str]) -> Sequence[Forgotten]:
        """Erase all entries of many labels; what became of each, in order. One that fails does not stop the others,
        but for servers that stay away."""
        there = collections.defaultdict[str | None, list[Handle]](list)
        for handle, label in self.roster().items():
            there[label].append(handle)
        done, away = [], None
        for label in labels:
            entries = 0
            try:
                if away is not None:
                    raise away
                named = there.pop(normalise(label), [])
                if not named:
                    raise UnknownLabel()
                for part in _parts(named):
                    entries += self._erase(part)
            except PuraError as error:
                if not isinstance(error, UnknownLabel | OutOfRange | NotAuthorised):
                    away = error
                done.append(Forgotten(label, entries, error))
            else:
                done.append(Forgotten(label, entries))
        return done

    def forget_entries(self, handles: Iterable[Handle]) -> int:
        """Erase entries by their handles; how many of them there were. Raises `NotAuthorised`."""
        return sum(self._erase(part) for part in _parts(list(handles)))

    def forget_photo(self, photo: Photo | Sequence[Photo], label: str) -> None:
        """Erase the entry that this very photo, or these photos together, have under this label, and leave the label's
        others. Raises `UnknownEntry`."""
        handle = self._there().get(naming.by_photo(self._labels, self._collection, photo, label))
        if handle is None:
            raise UnknownEntry("this photo is not enrolled under this label")
        self._erase([handle])

    def _erase(self, handles: Sequence[Handle]) -> int:
        before = self._seen.generation

        def erase() -> pb.ForgetReply:
            return self._gateway.forget(engines.erasure(self._author, handles, self._epoch, self._rng))

        reply = self._in_epoch(erase)
        if (verifier := self._author.verifier) is not None:
            signed = verifier.erased(reply.signature, reply.generation, handles)
            self._believe("the outcome of an erasure", signed, reply.generation, before)
        return reply.removed

    def relabel(self, old: str, new: str) -> int:
        """Give all entries of a label another one; how many there were. If somebody has it already, the two become
        one. Raises `UnknownLabel`, `LabelConflict` when another client was faster, `NotAuthorised`."""
        return self.relabel_entries(dict.fromkeys(self._named(old), new))

    def relabel_entries(self, labels: Mapping[Handle, str]) -> int:
        """Give single entries, by their handles, other labels; how many of them there are. Raises the same, and
        `OutOfRange` for a label that is none."""
        with self._lock:
            self._update()
            wanted, step = renaming.wishes(self._roster, self._labels, labels, self._rng), self._entries_a_batch
        return sum(self._relabel(wanted[at : at + step]) for at in range(0, len(wanted), step))

    def _relabel(self, wanted: Sequence[NewLabel]) -> int:
        reply = self._in_epoch(
            lambda: self._gateway.relabel(engines.relabelling(self._author, wanted, self._epoch, self._rng))
        )
        with self._lock:
            self._update()
            renaming.believe(self._roster, wanted)
        return reply.relabelled

    def renew_labels(self) -> int:
        """Encrypt under the newest label key what an older one made; how many labels. Raises what `relabel` raises."""
        self._roster.update()
        older = [one for one in self._roster.entries() if not self._labels.is_newest(one.label, one.enrolment_id)]
        texts = {one.handle: self._roster.label(one.handle) for one in older}
        return self.relabel_entries({handle: text for handle, text in texts.items() if text is not None})

    def status(self) -> Status:
        """How the servers are."""
        reply = self._gateway.status()
        return Status(
            reply.version, reply.peer_ready, reply.entries, reply.engine, reply.uptime_s, dict(reply.levels.items())
        )


def _parts(handles: Sequence[Handle]) -> Iterator[Sequence[Handle]]:
    """What one request may name, and the next."""
    for at in range(0, len(handles), MAX_HANDLES):
        yield handles[at : at + MAX_HANDLES]

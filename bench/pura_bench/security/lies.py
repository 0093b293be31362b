"""What S1 can say to a client in place of the truth, and what makes the client believe it.

S1 has the last hand on what a client is told: it sees the question, its one-time key, its own share and S2's sealed
word, and every roster that S2 has signed; it has no key of S2. A lie has worked when the client goes by it.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from pura.crypto.context import Scope, question_hash
from pura.crypto.keys import load_public
from pura.crypto.rng import SystemRng
from pura.crypto.seal import seal
from pura.crypto.sign import SigningKey
from pura.errors import BudgetSpent
from pura.ids import EnrolmentId, Handle
from pura.statements import Signer
from pura.wire._pb import pura_pb2 as pb
from pura_client.config import ClientConfig
from pura_client.gateway import CODE_KEY
from pura_client.session import Client, connect
from pura_client.templates import Ready
from pura_server.requests import question_of

EVE = "Eve"
Reply = Any


class S1(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Answers of the real S1, as a lie has them. `lies`: by the call's name, from request and reply to another reply;
    replies to Roster are lists of pages."""

    def __init__(self) -> None:
        self.lies: dict[str, Callable[[Any, Reply], Reply]] = {}

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        """See grpc."""
        return _Said(self._said(details, request, continuation(details, request).result()))

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        """See grpc."""
        return iter(self._said(details, request, list(continuation(details, request))))

    def _said(self, details: Any, request: Any, reply: Reply) -> Reply:
        lie = self.lies.get(details.method.rpartition("/")[2])
        return reply if lie is None else lie(request, reply)


@dataclasses.dataclass
class _Said:
    """A call that is over."""

    reply: Reply

    def result(self) -> Reply:
        return self.reply


@dataclasses.dataclass
class Scene:
    """One try: the client, the liar between it and S1, who is enrolled, a face that is not, and an older roster."""

    client: Client
    s1: S1
    victim: str
    handles: dict[str, Handle]
    vectors: dict[str, Ready]
    stranger: Ready
    config: ClientConfig
    old: list[pb.RosterPage]

    @property
    def shown(self) -> Ready:
        """The victim's face."""
        return self.vectors[self.victim]

    def new_client(self) -> Client:
        """Another one of the same organisation, that has seen nothing yet."""
        return connect(self.config.model_copy(update={"state": None}), interceptors=[self.s1])


Outcome = Callable[[Scene], bool]
"""Makes the call, and says whether the client believed it. Raises what the client noticed."""


@dataclasses.dataclass(frozen=True)
class Lie:
    """name; tell: puts it in place and makes the call; honest: the same call without it, whether it is right."""

    name: str
    tell: Outcome
    honest: Outcome


def asked(client: Client, face: Ready) -> str | None:
    """Who this is by what the client is told; None for nobody."""
    decision = client.identify(face)
    return decision.label if decision.match else None


def _right(scene: Scene) -> bool:
    return asked(scene.client, scene.shown) == scene.victim


# --- answers ------------------------------------------------------------------------------------------


def _answers(change: Callable[[Scene, pb.IdentifyRequest, pb.AnswerReply], pb.AnswerReply], says: Outcome) -> Outcome:
    """Identify with a changed answer."""

    def tell(scene: Scene) -> bool:
        scene.s1.lies["Identify"] = lambda request, reply: change(scene, request, reply)
        return says(scene)

    return tell


def _flipped(data: bytes) -> bytes:
    at = secrets.randbelow(8 * len(data))
    return (int.from_bytes(data, "big") ^ 1 << at).to_bytes(len(data), "big")


def _shifted(reply: pb.AnswerReply, by: int) -> pb.AnswerReply:
    reply.share = (int.from_bytes(reply.share, "big") ^ by).to_bytes(len(reply.share), "big")
    return reply


def _flips_own(_: Scene, __: Any, reply: pb.AnswerReply) -> pb.AnswerReply:
    reply.share = _flipped(reply.share)
    return reply


def _flips_sealed(_: Scene, __: Any, reply: pb.AnswerReply) -> pb.AnswerReply:
    reply.sealed = _flipped(reply.sealed)
    return reply


def _own_key(scene: Scene, request: pb.IdentifyRequest, reply: pb.AnswerReply) -> pb.AnswerReply:
    """ "Eve", for this very question, under a key that is not S2's."""
    pk, q = load_public(scene.config.public_key), question_of(request.query, scene.config.fingerprint())
    scope = Scope.of(pk, scene.client.params)
    context = scope.question(q.request_id, None, q.claim.epoch, q.seal_key, q.claim.client)
    theirs = secrets.token_bytes(len(reply.share))
    own = int.from_bytes(theirs, "big") ^ scene.handles[EVE]
    text = Signer(SigningKey.new(SystemRng()), pk.key_id).answer_text(
        question_hash(context, q.ciphertexts, q.claim.proof), theirs, scene.old[0].generation
    )
    return pb.AnswerReply(
        share=own.to_bytes(len(theirs), "big"), sealed=seal(q.seal_key, text, q.request_id, SystemRng())
    )


def _replays(scene: Scene) -> bool:
    """What S2 said to the question before this one, which was about Eve."""
    kept: list[pb.AnswerReply] = []

    def answer(_: Any, reply: pb.AnswerReply) -> pb.AnswerReply:
        kept.append(reply)
        return kept[0]

    scene.s1.lies["Identify"] = answer
    asked(scene.client, scene.vectors[EVE])
    return asked(scene.client, scene.shown) == EVE


def _guessed(scene: Scene, _: Any, reply: pb.AnswerReply) -> pb.AnswerReply:
    return _shifted(reply, scene.handles[scene.victim] ^ scene.handles[EVE])


def _says_erased(scene: Scene, request: pb.IdentifyRequest, reply: pb.AnswerReply) -> pb.AnswerReply:
    """Another handle, whatever it is; and of all that it may be, that they were erased meanwhile."""
    by = secrets.randbits(63) | 1
    scene.s1.lies["Roster"] = lambda _, pages: [*pages, pb.RosterPage(removed=[by, *(h ^ by for h in handles)])]
    handles = list(scene.handles.values())
    reply.ClearField("roster")
    return _shifted(reply, by)


def _refuses(*_: Any) -> pb.AnswerReply:
    raise grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.aio.Metadata(),
        grpc.aio.Metadata((CODE_KEY, BudgetSpent.code)),
        BudgetSpent.hint,
    )


def _refused_as_said(scene: Scene) -> bool:
    """A refusal is signed by nobody: the client takes it as it is."""
    try:
        asked(scene.client, scene.shown)
    except BudgetSpent:
        return True
    return False


# --- rosters and outcomes -----------------------------------------------------------------------------


def _rosters(change: Callable[[Scene, list[pb.RosterPage]], list[pb.RosterPage]], says: Outcome) -> Outcome:
    """What a client is shown that asks for the roster; nothing rides on an answer."""

    def tell(scene: Scene) -> bool:
        scene.s1.lies["Roster"] = lambda _, pages: change(scene, pages)
        return says(scene)

    return tell


def _whole(pages: Sequence[pb.RosterPage]) -> pb.RosterPage:
    out = pb.RosterPage()
    for page in pages:
        out.MergeFrom(page)
    return out


def _swaps(scene: Scene, pages: list[pb.RosterPage]) -> list[pb.RosterPage]:
    page = _whole(pages)
    one, other = (next(e for e in page.entries if e.handle == scene.handles[x]) for x in (scene.victim, EVE))
    one.label, other.label = other.label, one.label
    one.enrolment_id, other.enrolment_id = other.enrolment_id, one.enrolment_id
    return [page]


def _drops(scene: Scene, pages: list[pb.RosterPage]) -> list[pb.RosterPage]:
    page = _whole(pages)
    kept = [entry for entry in page.entries if entry.handle != scene.handles[scene.victim]]
    del page.entries[:]
    page.entries.extend(kept)
    return [page]


def _old(scene: Scene, _: list[pb.RosterPage]) -> list[pb.RosterPage]:
    return scene.old


def _new_is_told(wanted: Callable[[Scene, Client], bool]) -> Outcome:
    def says(scene: Scene) -> bool:
        with scene.new_client() as client:
            return wanted(scene, client)

    return says


def _without_eve(_: Scene, client: Client) -> bool:
    return EVE not in client.list()


def _no_answer_but(scene: Scene, client: Client) -> bool:
    return asked(client, scene.vectors[EVE]) != EVE


def _enrols_nobody(scene: Scene) -> bool:
    signer = Signer(SigningKey.new(SystemRng()), load_public(scene.config.public_key).key_id)

    def outcome(_: Any, reply: pb.EnrollReply) -> pb.EnrollReply:
        for one in reply.outcomes:
            one.handle ^= 1
            one.signature = signer.enrolled(one.generation, EnrolmentId(one.enrolment_id), Handle(one.handle))
        return reply

    scene.s1.lies["Enroll"] = outcome
    scene.client.enroll(embedding=scene.stranger, label=f"not {scene.victim}")
    return True


def _erases_nobody(scene: Scene) -> bool:
    """S1 does not ask S2, and says what S2 signed of another erasure."""
    kept: list[pb.ForgetReply] = []

    def outcome(_: Any, reply: pb.ForgetReply) -> pb.ForgetReply:
        kept.append(reply)
        return kept[0]

    scene.s1.lies["Forget"] = outcome
    for _ in range(2):
        handle = scene.client.enroll(embedding=scene.stranger, label="guest")
        scene.client.forget_entries([handle])
    return True


def _enrolled_and_erased(scene: Scene) -> bool:
    handle = scene.client.enroll(embedding=scene.stranger, label="guest")
    return scene.client.forget_entries([handle]) == 1


def _list_is_whole(scene: Scene) -> bool:
    with scene.new_client() as client:
        return set(client.list()) == set(scene.vectors) and asked(client, scene.vectors[EVE]) == EVE


LIES = (
    Lie("flips a bit of its share", _answers(_flips_own, lambda s: not _right(s)), _right),
    Lie("flips a bit of S2's sealed share", _answers(_flips_sealed, lambda s: not _right(s)), _right),
    Lie("answers under its own key", _answers(_own_key, lambda s: asked(s.client, s.shown) == EVE), _right),
    Lie("replays S2's answer to an older question", _replays, _right),
    Lie("shifts its share, on a wrong guess of who asks",
        _answers(_guessed, lambda s: asked(s.client, s.stranger) is not None), _right),
    Lie("shifts its share, on a right guess of who asks",
        _answers(_guessed, lambda s: asked(s.client, s.shown) == EVE), _right),
    Lie("shifts its share, says that what it may name was erased",
        _answers(_says_erased, lambda s: asked(s.client, s.shown) is None), _right),
    Lie("refuses, as for a budget that is spent", _answers(_refuses, _refused_as_said), _right),
    Lie("swaps the labels of two entries", _rosters(_swaps, _new_is_told(lambda _, c: bool(c.list()))), _list_is_whole),
    Lie("drops an entry of the roster", _rosters(_drops, _new_is_told(lambda _, c: bool(c.list()))), _list_is_whole),
    Lie("shows an old roster, to a client that knows a later one", _rosters(_old, lambda s: EVE not in s.client.list()),
        _list_is_whole),
    Lie("shows an old roster, to a client that asks who this is",
        _rosters(_old, _new_is_told(_no_answer_but)), _list_is_whole),
    Lie("shows an old roster, to a client that only lists, and has seen nothing",
        _rosters(_old, _new_is_told(_without_eve)), _list_is_whole),
    Lie("says that it enrolled another entry", _enrols_nobody, _enrolled_and_erased),
    Lie("says what S2 signed of another erasure", _erases_nobody, _enrolled_and_erased),
)  # fmt: skip

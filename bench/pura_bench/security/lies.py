"""What S1 can say to a client in place of the truth, and what makes the client believe it.

S1 has the last hand on what a client is told: it sees the question, its one-time key, its own share and S2's sealed
word, and every roster that S2 has signed; it has no key of S2. A lie has worked when the client goes by it.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from functools import partial
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


Change = Callable[[Scene, Any, Reply], Reply]
"""What S1 says in place of a reply, to a request."""
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


def _changes(call: str, change: Change, says: Outcome) -> Outcome:
    """A call whose reply is changed."""

    def tell(scene: Scene) -> bool:
        scene.s1.lies[call] = partial(change, scene)
        return says(scene)

    return tell


def _first_again() -> Callable[[Any, Reply], Reply]:
    """Whatever is asked, what was said first."""
    kept: list[Reply] = []

    def reply_of(_: Any, reply: Reply) -> Reply:
        kept.append(reply)
        return kept[0]

    return reply_of


def _xor(data: bytes, by: int) -> bytes:
    return (int.from_bytes(data, "big") ^ by).to_bytes(len(data), "big")


def _flips(field: str) -> Change:
    """One bit of it, at random."""

    def change(_: Scene, __: Any, reply: pb.AnswerReply) -> pb.AnswerReply:
        data = getattr(reply, field)
        setattr(reply, field, _xor(data, 1 << secrets.randbelow(8 * len(data))))
        return reply

    return change


def _shifted(reply: pb.AnswerReply, by: int) -> pb.AnswerReply:
    reply.share = _xor(reply.share, by)
    return reply


def _own_key(scene: Scene, request: pb.IdentifyRequest, reply: pb.AnswerReply) -> pb.AnswerReply:
    """ "Eve", for this very question, under a key that is not S2's."""
    pk, q = load_public(scene.config.public_key), question_of(request.query, scene.config.fingerprint())
    scope = Scope.of(pk, scene.client.params)
    context = scope.question(q.request_id, None, q.claim.epoch, q.seal_key, q.claim.client)
    theirs = secrets.token_bytes(len(reply.share))
    text = Signer(SigningKey.new(SystemRng()), pk.key_id).answer_text(
        question_hash(context, q.ciphertexts, q.claim.proof), theirs, scene.old[0].generation
    )
    own = _xor(theirs, scene.handles[EVE])
    return pb.AnswerReply(share=own, sealed=seal(q.seal_key, text, q.request_id, SystemRng()))


def _replays(scene: Scene) -> bool:
    """What S2 said to the question before this one, which was about Eve."""
    scene.s1.lies["Identify"] = _first_again()
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


def _whole(pages: Sequence[pb.RosterPage]) -> pb.RosterPage:
    out = pb.RosterPage()
    for page in pages:
        out.MergeFrom(page)
    return out


def _swaps(scene: Scene, _: Any, pages: list[pb.RosterPage]) -> list[pb.RosterPage]:
    page = _whole(pages)
    one, other = (next(e for e in page.entries if e.handle == scene.handles[x]) for x in (scene.victim, EVE))
    one.label, other.label = other.label, one.label
    one.enrolment_id, other.enrolment_id = other.enrolment_id, one.enrolment_id
    return [page]


def _drops(scene: Scene, _: Any, pages: list[pb.RosterPage]) -> list[pb.RosterPage]:
    page = _whole(pages)
    kept = [entry for entry in page.entries if entry.handle != scene.handles[scene.victim]]
    del page.entries[:]
    page.entries.extend(kept)
    return [page]


def _old(scene: Scene, *_: Any) -> list[pb.RosterPage]:
    return scene.old


def _to_another(wanted: Callable[[Client, Scene], bool]) -> Outcome:
    """What a client makes of it that has seen nothing yet."""

    def says(scene: Scene) -> bool:
        with scene.new_client() as client:
            return wanted(client, scene)

    return says


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
    scene.s1.lies["Forget"] = _first_again()
    for _ in range(2):
        _enrolled_and_erased(scene)
    return True


def _enrolled_and_erased(scene: Scene) -> bool:
    handle = scene.client.enroll(embedding=scene.stranger, label="guest")
    return scene.client.forget_entries([handle]) == 1


def _is_whole(client: Client, scene: Scene) -> bool:
    return set(client.list()) == set(scene.vectors) and asked(client, scene.vectors[EVE]) == EVE


_identify, _roster, _whole_roster = partial(_changes, "Identify"), partial(_changes, "Roster"), _to_another(_is_whole)
LIES = (
    Lie("flips a bit of its share", _identify(_flips("share"), lambda s: not _right(s)), _right),
    Lie("flips a bit of S2's sealed share", _identify(_flips("sealed"), lambda s: not _right(s)), _right),
    Lie("answers under its own key", _identify(_own_key, lambda s: asked(s.client, s.shown) == EVE), _right),
    Lie("replays S2's answer to an older question", _replays, _right),
    Lie("shifts its share, on a wrong guess of who asks",
        _identify(_guessed, lambda s: asked(s.client, s.stranger) is not None), _right),
    Lie("shifts its share, on a right guess of who asks",
        _identify(_guessed, lambda s: asked(s.client, s.shown) == EVE), _right),
    Lie("shifts its share, says that what it may name was erased",
        _identify(_says_erased, lambda s: asked(s.client, s.shown) is None), _right),
    Lie("refuses, as for a budget that is spent", _identify(_refuses, _refused_as_said), _right),
    Lie("swaps the labels of two entries", _roster(_swaps, _to_another(lambda c, _: bool(c.list()))), _whole_roster),
    Lie("drops an entry of the roster", _roster(_drops, _to_another(lambda c, _: bool(c.list()))), _whole_roster),
    Lie("shows an old roster, to a client that knows a later one",
        _roster(_old, lambda s: EVE not in s.client.list()), _whole_roster),
    Lie("shows an old roster, to a client that asks who this is",
        _roster(_old, _to_another(lambda c, s: asked(c, s.vectors[EVE]) != EVE)), _whole_roster),
    Lie("shows an old roster, to a client that only lists, and has seen nothing",
        _roster(_old, _to_another(lambda c, _: EVE not in c.list())), _whole_roster),
    Lie("says that it enrolled another entry", _enrols_nobody, _enrolled_and_erased),
    Lie("says what S2 signed of another erasure", _erases_nobody, _enrolled_and_erased),
)  # fmt: skip

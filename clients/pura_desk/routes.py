"""The addresses under /v1. Each asks for one right, and does one thing by the client's session."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, File, Form, Header, Query, Request, Response, UploadFile
from starlette.concurrency import run_in_threadpool

from pura.errors import NotAuthorised, UnknownEntry
from pura.ids import Handle
from pura_client import Enrolment, trace
from pura_client.labels import normalise
from pura_desk import shapes
from pura_desk.guard import RIGHTS
from pura_desk.imports import Imports, Job, Person
from pura_desk.line import Line
from pura_desk.problems import BadRequest, Problem
from pura_desk.replays import Replays
from pura_desk.tokens import Right
from pura_desk.watches import Watches

MOST_PHOTOS = 64
"""Of one person, in one request."""
PAGE = 200
T = TypeVar("T")

Photo = Annotated[UploadFile, File(description="A picture: JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF or PNM.")]
Photos = Annotated[list[UploadFile], File(description="One or several photos of one person.")]
Label = Annotated[str, Form(description="Who this is, at most 255 bytes.")]
NewLabel = Annotated[str, Form(alias="label", description="The other label.")]
Largest = Annotated[bool, Form(description="Take the largest face when there are several.")]
TopK = Annotated[int | None, Form(description="How many candidates at most, up to the collection's limit.")]
Search = Annotated[str, Query(description="Only labels with this text in them.")]
After = Annotated[str | None, Query(description="Where the page before ended: its `next`.")]
Limit = Annotated[int, Query(ge=1, le=1000)]
IdempotencyKey = Annotated[
    str | None,
    Header(max_length=255, description="A name of your own for this entry: sent again, nobody is enrolled twice."),
]


def needs(right: Right | None) -> Any:
    """What an address asks of its caller, whom the guard knows. Raises `NotAuthorised`."""

    def check(request: Request) -> frozenset[Right]:
        rights: frozenset[Right] = request.scope[RIGHTS]
        if right is not None and right not in rights:
            raise NotAuthorised(f"this token may not {right}")
        return rights

    return Depends(check)


def api(line: Line, imports: Imports, watches: Watches) -> APIRouter:
    """All of them."""
    known = {422: {"model": Problem, "description": "Problem details (RFC 9457)."}}
    router = APIRouter(prefix="/v1", responses=known)  # type: ignore[arg-type]
    _questions(router, line, watches)
    _watches(router, watches)
    _changes(router, line)
    _roster(router, line)
    _imports(router, imports)
    return router


async def _off(work: Callable[[], T]) -> T:
    """In a thread: it computes, and waits for servers."""
    return await run_in_threadpool(work)


def _questions(router: APIRouter, line: Line, watches: Watches) -> None:
    @router.get("/status", tags=["desk"])
    async def status(rights: Annotated[frozenset[Right], needs(None)]) -> shapes.Status:
        """How the servers are, and what you may do here."""

        def work() -> shapes.Status:
            client = line.client()
            now, params = client.status(), client.params
            return shapes.Status(
                version=now.version,
                engine=now.engine,
                peer_ready=now.peer_ready,
                entries=now.entries,
                uptime_s=now.uptime_s,
                key_id=params.key_id.hex(),
                key_bits=params.n_bits,
                embedder=params.embedder,
                dimension=params.dimension,
                top_k=params.top_k,
                rights=sorted(rights),
                outgrown=bool(now.levels.get("outgrown")),
                gate=watches.gate.value,
            )

        return await _off(work)

    @router.post("/faces", tags=["questions"], dependencies=[needs(Right.ASK)])
    async def faces(photo: Photo) -> shapes.Faces:
        """Every face of a picture, with the reason why one cannot be used. Nothing leaves this machine."""
        body = await photo.read()
        return await _off(lambda: shapes.Faces.of(line.client().faces(body)))

    @router.post("/identify", tags=["questions"], dependencies=[needs(Right.ASK)])
    async def identify(photo: Photo, top_k: TopK = None) -> shapes.Identified:
        """Who is on this picture? Every face that can be used is a question of its own, and counts as one."""
        watches.refuse_photos()
        body = await photo.read()

        def work() -> shapes.Identified:
            with trace.following() as cost:
                (one,) = line.client().identify_many([body], all_faces=True, top_k=top_k)
                if one.error is not None:
                    raise one.error
            whole = [shapes.Who.of(face) for face in one.faces]
            return shapes.Identified(width=one.width, height=one.height, faces=whole, cost=shapes.Cost.of(cost))

        return await _off(work)

    @router.post("/verify", tags=["questions"], dependencies=[needs(Right.ASK)])
    async def verify(photo: Photo, label: Label, largest: Largest = False) -> shapes.Verified:
        """Is this the person enrolled under that label? The servers see which entries are asked about, not the
        answer."""
        watches.refuse_photos()
        body = await photo.read()

        def work() -> shapes.Verified:
            with trace.following() as cost:
                decision = line.client().verify(body, label, largest=largest)
            return shapes.Verified.of(decision, normalise(label), cost)

        return await _off(work)


def _watches(router: APIRouter, watches: Watches) -> None:
    ask = [needs(Right.ASK)]

    @router.post("/watches", tags=["live view"], status_code=201, dependencies=ask)
    async def begin(
        label: Annotated[str | None, Form(description="Verify this; without it: identify.")] = None,
    ) -> shapes.Watch:
        """Begin to look through a camera. Each person is asked about once, with the best frame; not before they have
        passed the collection's gate, if it has one."""
        return shapes.Watch(id=await _off(lambda: watches.begin(label)), gate=watches.gate.value)

    @router.post("/watches/{name}/frames", tags=["live view"], dependencies=ask)
    async def frame(
        name: str, photo: Photo, at_ms: Annotated[float, Form(ge=0, description="By the camera's clock.")]
    ) -> shapes.Events:
        """One more frame: what is new since the last one."""
        body = await photo.read()
        return shapes.Events.of(await _off(lambda: watches.frame(name, body, at_ms / 1000)))

    @router.delete("/watches/{name}", tags=["live view"], dependencies=ask)
    async def leave(name: str) -> shapes.Events:
        """No more frames: what is still to be said."""
        return shapes.Events.of(await _off(lambda: watches.end(name)))


def _changes(router: APIRouter, line: Line) -> None:
    replays = Replays()

    @router.post(
        "/entries",
        tags=["roster"],
        status_code=201,
        dependencies=[needs(Right.ENROL)],
        responses={200: {"model": shapes.Enrolled, "description": "It was there already."}},
    )
    async def enrol(
        response: Response,
        label: Label,
        photos: Photos,
        largest: Largest = False,
        idempotency_key: IdempotencyKey = None,
    ) -> shapes.Enrolled:
        """Enrol one person. Of several photos one template is made, their mean; photos that do not show one person are
        refused. The same photos under the same label are the same entry."""
        bodies = await _read(photos)

        def work() -> shapes.Enrolled:
            if idempotency_key is not None:
                replays.check(idempotency_key, (normalise(label).encode(), *bodies))
            item = Enrolment(bodies, label, idempotency_key)
            client = line.client()
            with trace.following() as cost, line.changing:
                # a generator: a list of one would not look into the roster for what is there already
                (outcome,) = client.enroll_many((one for one in (item,)), largest=largest, strict=True)
            if outcome.error is not None:
                raise outcome.error
            return shapes.Enrolled(
                entry=_shown(outcome.handle or Handle(0)),
                label=normalise(label),
                already=outcome.already,
                photos=len(bodies),
                cost=shapes.Cost.of(cost),
            )

        done = await _off(work)
        if done.already:
            response.status_code = 200
        return done

    @router.delete("/entries/{entry}", tags=["roster"], dependencies=[needs(Right.ERASE)])
    async def forget_entry(entry: str) -> shapes.Forgotten:
        """Erase one entry on both servers."""
        handle = _handle(entry)

        def work() -> shapes.Forgotten:
            with line.changing:
                erased = line.client().forget_entries([handle])
            if not erased:
                raise UnknownEntry()
            return shapes.Forgotten(erased=erased)

        return await _off(work)

    @router.delete("/subjects/{label:path}", tags=["roster"], dependencies=[needs(Right.ERASE)])
    async def forget(label: str) -> shapes.Forgotten:
        """Erase all entries of a label on both servers."""

        def work() -> shapes.Forgotten:
            with line.changing:
                return shapes.Forgotten(erased=line.client().forget(label))

        return await _off(work)

    @router.put("/subjects/{label:path}", tags=["roster"], dependencies=[needs(Right.ENROL)])
    async def rename(label: str, new: NewLabel) -> shapes.Renamed:
        """Give all entries of a label another one, on both servers. If somebody has it already, the two become one."""

        def work() -> shapes.Renamed:
            with line.changing:
                return shapes.Renamed(entries=line.client().relabel(label, new), label=normalise(new))

        return await _off(work)


def _roster(router: APIRouter, line: Line) -> None:
    @router.get("/entries", tags=["roster"], dependencies=[needs(Right.LIST)])
    async def entries(
        search: Search = "", label: str | None = None, limit: Limit = PAGE, after: After = None
    ) -> shapes.Entries:
        """The roster, entry by entry. Labels are decrypted here."""

        def work() -> shapes.Entries:
            wanted = None if label is None else normalise(label)
            found = [
                shapes.Entry(entry=_shown(one.handle), label=one.label, enrolment_id=one.enrolment_id.hex())
                for one in line.client().entries()
                if (wanted is None or one.label == wanted) and _fits(search, one.label)
            ]
            found.sort(key=lambda one: (one.label or "", one.entry))
            page, more = _page(found, lambda one: f"{one.label or ''}\0{one.entry}", limit, after)
            return shapes.Entries(total=len(found), entries=list(page), next=more)

        return await _off(work)

    @router.get("/subjects", tags=["roster"], dependencies=[needs(Right.LIST)])
    async def subjects(search: Search = "", limit: Limit = PAGE, after: After = None) -> shapes.Subjects:
        """Everybody who is enrolled, with how many entries."""

        def work() -> shapes.Subjects:
            roster = line.client().roster()
            counts: dict[str, int] = {}
            for text in roster.values():
                if text is not None:
                    counts[text] = counts.get(text, 0) + 1
            found = [shapes.Subject(label=text, entries=counts[text]) for text in sorted(counts) if _fits(search, text)]
            page, more = _page(found, lambda one: one.label, limit, after)
            unreadable = sum(text is None for text in roster.values())
            return shapes.Subjects(total=len(found), subjects=list(page), unreadable=unreadable, next=more)

        return await _off(work)


def _imports(router: APIRouter, imports: Imports) -> None:
    enrol = [needs(Right.ENROL)]

    @router.get("/imports", tags=["imports"], dependencies=enrol)
    async def listed() -> shapes.Imports:
        """The imports of this desk since it was started, the newest first."""
        return shapes.Imports(imports=[_import(job) for job in imports.all()])

    @router.post("/imports", tags=["imports"], status_code=201, dependencies=enrol)
    async def begin(name: Annotated[str, Form(max_length=200)], people: Annotated[int, Form(ge=1)]) -> shapes.Import:
        """Begin the import of a folder with so many people in it."""
        return _import(imports.start(name, people))

    @router.get("/imports/{name}", tags=["imports"], dependencies=enrol)
    async def shown(name: str) -> shapes.Import:
        """How far an import is."""
        return _import(imports.get(name))

    @router.get("/imports/{name}/received", tags=["imports"], dependencies=enrol)
    async def received(name: str) -> shapes.Received:
        """The labels that are here already: they need not be sent again."""
        return shapes.Received(labels=list(imports.received(name)))

    @router.post("/imports/{name}/people", tags=["imports"], status_code=202, dependencies=enrol)
    async def person(name: str, label: Label, photos: Photos) -> shapes.Import:
        """One more person with all photos; answered as soon as there is room for them."""
        bodies = await _read(photos)
        files = [(one.filename or "photo", body) for one, body in zip(photos, bodies, strict=True)]
        return await _off(lambda: _import(imports.add(name, Person(label, files))))

    @router.post("/imports/{name}/end", tags=["imports"], dependencies=enrol)
    async def end(name: str) -> shapes.Import:
        """Everybody has come."""
        return _import(imports.end(name))

    @router.delete("/imports/{name}", tags=["imports"], dependencies=enrol)
    async def stop(name: str) -> shapes.Import:
        """Give up what has not been enrolled yet. What has been stays."""
        return _import(imports.stop(name))


# --- parts ----------------------------------------------------------------------------------------


async def _read(photos: Sequence[UploadFile]) -> list[bytes]:
    if len(photos) > MOST_PHOTOS:
        raise BadRequest(f"at most {MOST_PHOTOS} photos of one person are taken in one request")
    return [await photo.read() for photo in photos]


def _import(job: Job) -> shapes.Import:
    return shapes.Import(
        id=job.id,
        name=job.name,
        state=job.state,
        people=job.people,
        received=len(job.received),
        done=job.done,
        enrolled=job.enrolled,
        already=job.already,
        left_out=job.left_out,
        problems=[
            shapes.ImportProblem(label=one.label, photo=one.photo, code=one.code, detail=one.detail)
            for one in list(job.problems)
        ],
    )


def _shown(handle: Handle) -> str:
    return f"{handle:016x}"


def _handle(entry: str) -> Handle:
    if not re.fullmatch("[0-9a-fA-F]{16}", entry):
        raise UnknownEntry("an entry is named by 16 hexadecimal digits")
    return Handle(int(entry, 16))


def _fits(search: str, label: str | None) -> bool:
    return not search or (label is not None and search.casefold() in label.casefold())


def _page(found: Sequence[T], key: Callable[[T], str], limit: int, after: str | None) -> tuple[Sequence[T], str | None]:
    """Those behind `after`, and where the next page begins. `found` is in the order of `key`."""
    at = 0 if after is None else bisect.bisect_right(found, after, key=key)
    page = found[at : at + limit]
    return page, key(page[-1]) if page and at + limit < len(found) else None

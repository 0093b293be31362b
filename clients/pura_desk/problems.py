"""Errors over HTTP: RFC 9457 problem details with the stable codes of `pura.errors`."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pura import errors
from pura.errors import PuraError

MEDIA_TYPE = "application/problem+json"


class Unauthenticated(PuraError):
    """No token, or none that is known."""

    code = "unauthenticated"
    hint = "Send a token of this desk: Authorization: Bearer TOKEN."


class WrongHost(PuraError):
    """The name by which the desk was called is none of its own."""

    code = "wrong_host"
    hint = "This desk does not answer to that name."


class WrongOrigin(PuraError):
    """Another site's page called."""

    code = "wrong_origin"
    hint = "A page of another site may not use this desk."


class TooLarge(PuraError):
    """More bytes than one request may have."""

    code = "too_large"
    hint = "The request is too large."


class BadRequest(PuraError):
    """Not what the API takes."""

    code = "bad_request"
    hint = "The request is not what this address takes."


class NoWatch(PuraError):
    """A camera that is over, or never was."""

    code = "no_watch"
    hint = "This camera is not watched; begin again."


class GateFirst(PuraError):
    """A photo where whoever is asked about has to pass a gate."""

    code = "gate_first"
    hint = "This collection asks about nobody who has not passed a gate before a camera: use the live view."


_STATUS: Mapping[type[PuraError], int] = {
    Unauthenticated: 401,
    errors.NotAuthorised: 403,
    WrongOrigin: 403,
    GateFirst: 403,
    NoWatch: 404,
    errors.UnknownEntry: 404,
    errors.UnknownLabel: 404,
    errors.EnrolmentConflict: 409,
    errors.LabelConflict: 409,
    errors.Replayed: 409,
    TooLarge: 413,
    WrongHost: 421,
    errors.UnreadableImage: 422,
    errors.NoFace: 422,
    errors.SeveralFaces: 422,
    errors.FaceTooSmall: 422,
    errors.FaceTooBlurred: 422,
    errors.FaceTurned: 422,
    errors.PhotosDisagree: 422,
    errors.BadEmbedding: 422,
    errors.InvalidTemplate: 422,
    errors.OutOfRange: 422,
    BadRequest: 422,
    errors.BudgetSpent: 429,
    errors.DeviatingServer: 502,
    errors.ProtocolError: 502,
    errors.MalformedMessage: 502,
    errors.PeerRefused: 502,
    errors.WrongKey: 502,
    errors.ParameterMismatch: 502,
    errors.Overloaded: 503,
    errors.NotReady: 503,
    errors.PeerUnavailable: 503,
    errors.StorageFull: 507,
}
AGAIN_S = 5
"""What a caller is told to wait when servers are away or busy."""


class Problem(BaseModel):
    """RFC 9457. `code` is stable: programs switch on it."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    code: str


def status_of(error: PuraError) -> int:
    """The HTTP status of an error; 500 for what no caller can mend."""
    return _STATUS.get(type(error), 500)


def problem(code: str, status: int, detail: str) -> Problem:
    """The body. Its type is an address of this desk, which says what the code means."""
    return Problem(
        type=f"/problems/{code}", title=http.HTTPStatus(status).phrase, status=status, detail=detail, code=code
    )


def response(error: PuraError) -> Response:
    """What is sent for an error; nothing of its `detail`."""
    status = status_of(error)
    return _response(problem(error.code, status, str(error)), headers_of(status))


def headers_of(status: int) -> dict[str, str]:
    """What a caller is told beside the body: what to show, or when to come again."""
    told = {401: {"WWW-Authenticate": 'Bearer realm="pura desk"'}, 503: {"Retry-After": str(AGAIN_S)}}
    return told.get(status, {})


def _response(body: Problem, headers: Mapping[str, str]) -> Response:
    return Response(body.model_dump_json(), body.status, dict(headers), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Whatever goes wrong in an address is told as a problem."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, PuraError)
        return response(error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # where, and what is expected there; never what was sent
        said = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        return response(BadRequest(said or None))

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, BadRequest.code)
        return _response(problem(code, error.status_code, str(error.detail)), error.headers or {})

    async def unknown(request: Request, error: Exception) -> Response:
        return _response(problem(PuraError.code, 500, PuraError.hint), {})

    app.add_exception_handler(PuraError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(Exception, unknown)


def meaning(code: str) -> str | None:
    """What a code means, for people; None for one that does not exist."""
    if code == PuraError.code:
        return PuraError.hint
    found = errors.from_code(code, "")
    return found.hint if type(found) is not PuraError else None


def dumped(error: PuraError) -> dict[str, str]:
    """An error inside of a reply that has more to tell."""
    return {"code": error.code, "detail": str(error)}


def as_json(error: PuraError) -> bytes:
    """The body by itself, for what answers outside of the application."""
    return json.dumps(problem(error.code, status_of(error), str(error)).model_dump()).encode()

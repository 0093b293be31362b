"""Errors on the wire: a status by kind, a short message for the caller, the stable code in the trailing metadata."""

from __future__ import annotations

from typing import NoReturn

import grpc
import grpc.aio

from pura import errors
from pura.errors import PeerUnavailable, ProtocolError, PuraError, from_code

CODE_KEY = "pura-code"

_S = grpc.StatusCode
_STATUS: dict[type[PuraError], grpc.StatusCode] = {
    errors.NotAuthorised: _S.PERMISSION_DENIED,
    errors.MalformedCiphertext: _S.INVALID_ARGUMENT,
    errors.MalformedMessage: _S.INVALID_ARGUMENT,
    errors.WrongKey: _S.INVALID_ARGUMENT,
    errors.OutOfRange: _S.INVALID_ARGUMENT,
    errors.InvalidTemplate: _S.INVALID_ARGUMENT,
    errors.UnknownEntry: _S.NOT_FOUND,
    errors.EnrolmentConflict: _S.ALREADY_EXISTS,
    errors.LabelConflict: _S.FAILED_PRECONDITION,
    errors.Replayed: _S.ALREADY_EXISTS,
    errors.BadProof: _S.INVALID_ARGUMENT,
    errors.StaleEpoch: _S.FAILED_PRECONDITION,
    errors.ParameterMismatch: _S.FAILED_PRECONDITION,
    errors.DeviatingServer: _S.FAILED_PRECONDITION,
    errors.PeerRefused: _S.FAILED_PRECONDITION,
    errors.BadDataFolder: _S.FAILED_PRECONDITION,
    errors.PeerUnavailable: _S.UNAVAILABLE,
    errors.NotReady: _S.UNAVAILABLE,
    errors.Overloaded: _S.RESOURCE_EXHAUSTED,
    errors.BudgetSpent: _S.RESOURCE_EXHAUSTED,
    errors.StorageFull: _S.RESOURCE_EXHAUSTED,
    errors.MaterialUsed: _S.ABORTED,
}


BROKEN = (_S.UNAVAILABLE, _S.INTERNAL, _S.UNKNOWN)
"""What gRPC says of a stream that broke: grpc.aio replaces the status by INTERNAL when a write fails first."""


def status_of(error: PuraError) -> grpc.StatusCode:
    """The gRPC status for an error."""
    return _STATUS.get(type(error), _S.INTERNAL)


async def refuse(context: grpc.aio.ServicerContext[object, object], error: PuraError) -> NoReturn:
    """End a call with an error; its detail stays here."""
    await context.abort(status_of(error), str(error), ((CODE_KEY, error.code),))
    raise AssertionError("abort returns never")


def typed(error: Exception) -> PuraError:
    """The error that the other server named in its trailing metadata; by the status when it named none."""
    if not isinstance(error, grpc.aio.AioRpcError | grpc.Call):  # asyncio's or the other kind
        return PeerUnavailable(detail=type(error).__name__)
    for key, value in error.trailing_metadata() or ():
        if key == CODE_KEY:
            code = value if isinstance(value, str) else value.decode("ascii", "replace")
            return from_code(code, error.details() or "")
    detail = f"{error.code().name}: {error.details()}"
    if error.code() in (*BROKEN, _S.CANCELLED):
        return PeerUnavailable(detail=detail)
    if error.code() is _S.DEADLINE_EXCEEDED:
        return PeerUnavailable("the other server did not answer in time", detail=detail)
    if error.code() is _S.RESOURCE_EXHAUSTED:
        return errors.Overloaded(detail=detail)
    return ProtocolError(detail=detail)

"""What is refused before any address of the desk sees it: other sites' pages, names that are not the desk's, floods,
and callers without a token, before anything of their body is read.

A page of another site can make a browser send requests to this machine. Three things stop it: *Host* must be one of the
desk's names, so a name that was made to resolve to this machine is none (DNS rebinding); *Origin*, where a browser
sends one, must be the desk's own, and *Sec-Fetch-Site* must not say that another site asked (CSRF); no answer allows
other origins to read it (no CORS).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pura.errors import PuraError
from pura_desk import problems
from pura_desk.problems import TooLarge, Unauthenticated, WrongHost, WrongOrigin
from pura_desk.tokens import Tokens

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MOST_BYTES = 64 << 20
"""Of one request: some photos of one person."""
API = "/v1/"
RIGHTS = "pura.rights"
"""Where a request's scope has the rights of its token."""

_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Guard:
    """Around the application."""

    def __init__(
        self, app: App, hosts: frozenset[str], scheme: str, tokens: Tokens, most_bytes: int = MOST_BYTES
    ) -> None:
        self._app, self._tokens = app, tokens
        self._hosts = hosts
        self._origins = frozenset(f"{scheme}://{host}" for host in hosts)
        self._most = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's start and end."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no WebSockets here
        refused = self._refused(scope)
        if refused is not None:
            await _answer(send, refused)
            return
        await self._bounded(scope, receive, send)

    def _refused(self, scope: Scope) -> PuraError | None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts = [value.decode("latin-1").lower() for value in headers.get(b"host", [])]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return WrongHost()
        origins = [value.decode("latin-1").lower() for value in headers.get(b"origin", [])]
        if any(origin not in self._origins for origin in origins):
            return WrongOrigin()
        elsewhere = any(value not in (b"same-origin", b"none") for value in headers.get(b"sec-fetch-site", []))
        if elsewhere and (scope["path"].startswith(API) or scope["method"] not in ("GET", "HEAD")):
            return WrongOrigin()  # but a link on another page may open the desk's page
        lengths = headers.get(b"content-length", [])
        if any(not value.isdigit() or int(value) > self._most for value in lengths):
            return TooLarge(f"a request has at most {self._most >> 20} MiB")
        if not scope["path"].startswith(API):
            return None
        shown = headers.get(b"authorization", [])
        try:
            scope[RIGHTS] = self._tokens.rights(shown[0].decode("latin-1") if len(shown) == 1 else None)
        except Unauthenticated as error:
            return error
        return None

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, which is told that the caller has gone once a body without a length becomes too long."""
        left, began = self._most, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return {"type": "http.disconnect"} if left < 0 else message

        async def dressed(message: MutableMapping[str, Any]) -> None:
            nonlocal began
            if left < 0 and not began:
                return  # what the application says of a caller who has gone
            began = True
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                more = [(name, value) for name, value in _HEADERS if name not in known]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            await self._app(scope, counted, dressed)
        except Exception:
            if left >= 0:
                raise
        if left < 0 and not began:
            await _answer(send, TooLarge(f"a request has at most {self._most >> 20} MiB"))


async def _answer(send: Send, error: PuraError) -> None:
    body, status = problems.as_json(error), problems.status_of(error)
    headers = [
        *((name.lower().encode(), value.encode()) for name, value in problems.headers_of(status).items()),
        (b"content-type", problems.MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the rest of the body is not read
        *_HEADERS,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

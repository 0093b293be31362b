"""Bearer tokens: who may do what at a desk. The file keeps their hashes, so that reading it lets nobody in.

[[token]]
name = "door"
sha256 = "…"                 of the token; a token has 256 random bits, which no list of words can find
may = ["ask"]
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pura import settings
from pura.errors import EnrolmentConflict
from pura.files import PRIVATE, replace_file
from pura_desk.problems import Unauthenticated


class Right(StrEnum):
    """What a token may be good for. What the desk's own certificate may not do at the servers, no token may."""

    ASK = "ask"
    ENROL = "enrol"
    ERASE = "erase"
    LIST = "list"


ALL = frozenset(Right)


class Token(BaseModel):
    """One token, by its hash."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=64, pattern=r"^[\w .-]+$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", repr=False)
    may: frozenset[Right]


class TokenFile(BaseModel):
    """All of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    token: tuple[Token, ...] = ()


class Tokens:
    """The tokens of a desk. Without any, whoever reaches it may do everything: on loopback only."""

    def __init__(self, known: Sequence[Token] = ()) -> None:
        self._known = tuple(known)

    def __len__(self) -> int:
        return len(self._known)

    def rights(self, header: str | None) -> frozenset[Right]:
        """The rights of the token in an Authorization header. Raises `Unauthenticated`."""
        if not self._known:
            return ALL
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated()
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
        found: frozenset[Right] | None = None
        for one in self._known:  # all of them, whichever it is
            if hmac.compare_digest(one.sha256, digest):
                found = one.may
        if found is None:
            raise Unauthenticated()
        return found


def load(path: Path) -> Tokens:
    """Raises `BadConfig`."""
    return Tokens(_read(path).token)


def _read(path: Path) -> TokenFile:
    return settings.validated(TokenFile, settings.read(path), path)


def add(path: Path, name: str, may: frozenset[Right]) -> str:
    """A new token in the file, which is made if it is not there; the token itself, which nobody can read later.

    Raises `BadConfig`, `EnrolmentConflict` for a name that is taken.
    """
    known = _read(path).token if path.exists() else ()
    if any(one.name == name for one in known):
        raise EnrolmentConflict(f"there is a token {name!r} already; remove its table from {path} first")
    token = secrets.token_urlsafe(32)
    made = Token(name=name, sha256=hashlib.sha256(token.encode()).hexdigest(), may=may)
    replace_file(path, "\n".join(map(_table, (*known, made))).encode(), PRIVATE)
    return token


def _table(one: Token) -> str:
    may = ", ".join(f'"{right}"' for right in sorted(one.may))
    return f'[[token]]\nname = "{one.name}"\nsha256 = "{one.sha256}"\nmay = [{may}]\n'

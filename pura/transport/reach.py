"""Why a server cannot be spoken to. gRPC does not tell, so a second connection asks.

An HTTP/2 server speaks first: it sends its settings. S1 sends a line instead to a caller whom it turns away, and then
closes; to anybody's gRPC that is a broken connection, to whoever reads here it is the reason.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

from pura.errors import PuraError, from_code

_LONGEST = 256
_WORDS = b"pura-code: "
_HINT_LINE = b"\n"


def turned_away(code: str) -> bytes:
    """What S1 says to a caller whom it does not let in."""
    return _WORDS + code.encode("ascii") + _HINT_LINE


def reason_in(first_words: bytes) -> PuraError | None:
    """The error that `turned_away` named; None for anything else."""
    if not first_words.startswith(_WORDS) or not first_words.endswith(_HINT_LINE):
        return None
    code = first_words[len(_WORDS) : -len(_HINT_LINE)].decode("ascii", "replace")
    named = from_code(code, "")
    return type(named)() if named.code == code else None


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of host:port, an IPv6 host without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def first_words(address: str, context: ssl.SSLContext, name: str | None, seconds: float) -> bytes:
    """The first bytes that a server sends after the handshake, at most 256; none if it closed without a word.

    A caller's certificate is judged after a TLS 1.3 handshake, so a refusal shows here. Blocks for `seconds` at most at
    each step. Raises `OSError` before the handshake was through, of which `ssl.SSLError` is one, and `ssl.SSLError` for
    an alert after it.
    """
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(host_and_port(address), timeout=seconds) as raw:
        raw.settimeout(seconds)
        with context.wrap_socket(raw, server_hostname=name) as secured, contextlib.suppress(ConnectionError):
            return secured.recv(_LONGEST)
    return b""

"""Sessions on connections of their own: each party's messages go over TLS in the party's own thread.

gRPC carries greetings and changes of state; questions and offline work, whose time is that of many small messages,
go over a pool of pinned TLS 1.3 connections to a port that S2 names in its greeting. A connection carries one session
at a time:

    S1 -> S2: OPEN (the greeting's epoch, a number for the log)     S1, S2: BODY ...     each: END when its party is
    done;  S2 -> S1: ERROR (code, message) instead, and the connection ends

A new greeting ends all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pura.errors import BadConfig, PeerRefused, PeerUnavailable, ProtocolError, PuraError, from_code
from pura.ids import Fingerprint
from pura.rounds import Rounds, Tally
from pura.transport.channel import Channel, drive
from pura.transport.duplex import Duplex
from pura_server import tls
from pura_server.config import ServerConfig, Tls
from pura_server.greetings import Greetings, neighbourhood
from pura_server.refusals import Refusals, Why

R = TypeVar("R")
Ends = tuple[ssl.SSLContext, frozenset[Fingerprint]]
"""What one side shows and trusts, and which certificates it takes."""

OPEN, BODY, END, ERROR = range(4)
_CONNECT_S = 5.0
_IDLE_S = 24 * 3600.0
_END_S = 5.0
_BACKLOG = 64
_EXHAUSTED_S = 0.2


def lines(config: ServerConfig, port: int, epoch: bytes) -> Lines:
    """S1's connections to the port that S2 named in a greeting. Raises `BadConfig`."""
    own, pinned = _files(config)
    assert config.peer.address is not None
    host = config.peer.address.rpartition(":")[0].strip("[]")
    both = tls.remade(config, lambda: (_context(ssl.PROTOCOL_TLS_CLIENT, own, pinned), tls.pinned(pinned)))
    return Lines((host, port), both, epoch)


def door(
    config: ServerConfig, admit: Callable[[bytes], None], play: Callable[[Channel, str], None], refusals: Refusals
) -> Door:
    """S2's port, open. Raises `BadConfig`."""
    most = config.limits.sessions
    own, pinned = _files(config)
    host, _, port = (config.sessions or f"{config.listen.rpartition(':')[0]}:0").rpartition(":")
    both = tls.remade(config, lambda: (_context(ssl.PROTOCOL_TLS_SERVER, own, pinned), tls.pinned(pinned)))
    try:
        made = Door((host.strip("[]"), int(port)), both, admit, play, most, refusals)
    except OSError as error:
        raise BadConfig(f"sessions: the address {host}:{port} cannot be used", detail=str(error)) from None
    made.start()
    return made


def _files(config: ServerConfig) -> tuple[Tls, Path]:
    own = config.require_tls()
    assert config.peer.certificate is not None
    tls.refuse_authorities(config.peer.certificate)
    return own, config.peer.certificate


def _context(side: int, own: Tls, pinned: Path) -> ssl.SSLContext:
    """TLS 1.3 between the two servers: each shows its certificate, and trusts the pinned one only."""
    made = ssl.SSLContext(side)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        made.load_verify_locations(cafile=str(pinned))
        made.load_cert_chain(str(own.cert), str(own.key))
        if side == ssl.PROTOCOL_TLS_SERVER:
            made.num_tickets = 0
    except (OSError, ssl.SSLError) as error:
        raise BadConfig("the tls files do not fit each other", detail=type(error).__name__) from error
    return made


class _Session:
    """`Channel` over one connection."""

    def __init__(self, line: Duplex) -> None:
        self._line = line

    def send(self, body: bytes) -> None:
        self._line.send(BODY, body)

    def receive(self) -> bytes:
        kind, body = self._line.receive()
        if kind == BODY:
            return body
        if kind == ERROR:
            code, _, text = body.decode("utf-8", "replace").partition("\0")
            raise from_code(code, text)
        raise ProtocolError(detail="the other side ended the session early")

    def ended(self) -> None:
        """Wait for the other side's end. Raises `PeerUnavailable`, `ProtocolError`."""
        kind, _ = self._line.receive()
        if kind != END:
            raise ProtocolError(detail="a message after the end")


class Lines:
    """S1's: connections to S2's port, as many as there are sessions at once. Thread-safe; `close` ends all."""

    def __init__(self, address: tuple[str, int], tls: Callable[[], Ends], epoch: bytes):
        """`tls`: for each connection what the files hold by then."""
        self._address, self._tls, self._epoch = address, tls, epoch
        self._lock = threading.Lock()
        self._idle: list[tuple[Duplex, _Session]] = []
        self._fresh: list[Duplex] = []
        self._all: set[Duplex] = set()
        self._closed = False

    def play(self, party: Rounds[R], number: str, seconds: float, tally: Tally, stop: Stop) -> R:
        """A party, to its end, in this thread. Raises what it raises, `PeerUnavailable`. `stop` ends it."""
        channel = _Lazy(self, number, seconds, stop)
        try:
            result = drive(party, channel, tally)
        except BaseException:
            channel.failed()
            raise
        channel.done()
        return result

    def try_out(self) -> None:
        """Open a connection, for the first session. Raises `PeerUnavailable`, `PeerRefused`."""
        line = self._connect()
        with self._lock:
            self._fresh.append(line)

    def take(self) -> Duplex:
        """A connection that no session uses."""
        while True:
            with self._lock:
                if self._closed:
                    raise PeerUnavailable()
                if self._fresh:
                    return self._fresh.pop()
                line, session = self._idle.pop() if self._idle else (None, None)
            if line is None or session is None:
                return self._connect()
            try:
                line.deadline(_END_S)
                session.ended()
                return line
            except PuraError:
                self.drop(line)

    def give_back(self, line: Duplex, session: _Session) -> None:
        """A connection whose session is over on this side."""
        with self._lock:
            if not self._closed:
                self._idle.append((line, session))
                return
        self.drop(line)

    def drop(self, line: Duplex) -> None:
        """A connection that is of no more use."""
        with self._lock:
            self._all.discard(line)
        line.close()

    def close(self) -> None:
        """End all sessions."""
        with self._lock:
            self._closed = True
            lines, self._idle = list(self._all), []
        for line in lines:
            line.shut()

    @property
    def epoch(self) -> bytes:
        """The greeting that the sessions belong to."""
        return self._epoch

    def _connect(self) -> Duplex:
        context, pinned = self._tls()
        try:
            line = Duplex(socket.create_connection(self._address, _CONNECT_S), context, server=False)
        except ssl.SSLError as error:
            raise PeerRefused("the two servers do not accept each other's certificates", detail=error.reason) from None
        except OSError as error:
            raise PeerUnavailable(
                "the other server's port for sessions cannot be reached", detail=type(error).__name__
            ) from None
        if not shows(line, pinned):
            line.close()
            raise PeerRefused("the other server did not show the pinned certificate")
        with self._lock:
            self._all.add(line)
            closed = self._closed
        if closed:
            self.drop(line)
            raise PeerUnavailable()
        return line


class Stop:
    """Ends one session from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._line: Duplex | None = None

    def __call__(self) -> None:
        """Whatever the session is doing fails, now or as soon as it says something."""
        with self._lock:
            self._stopped = True
            if self._line is not None:
                self._line.shut()

    def watch(self, line: Duplex | None) -> None:
        """The connection that the session uses. Raises `PeerUnavailable` when it was stopped."""
        with self._lock:
            self._line = line
            if self._stopped and line is not None:
                raise PeerUnavailable("the operation was stopped before its end")


class _Lazy:
    """`Channel` that takes a connection when the party says something first."""

    def __init__(self, lines: Lines, number: str, seconds: float, stop: Stop) -> None:
        self._lines, self._number, self._seconds, self._stop = lines, number, seconds, stop
        self._line: Duplex | None = None
        self._session: _Session | None = None

    def send(self, body: bytes) -> None:
        self._begun().send(body)

    def receive(self) -> bytes:
        return self._begun().receive()

    def done(self) -> None:
        """The party has its result."""
        if self._line is None or self._session is None:
            return
        self._stop.watch(None)
        try:
            self._line.send(END, b"")
        except PuraError:  # a connection that broke now has no effect any more
            self._lines.drop(self._line)
        else:
            self._lines.give_back(self._line, self._session)

    def failed(self) -> None:
        """The party has failed."""
        if self._line is not None:
            self._stop.watch(None)
            self._lines.drop(self._line)

    def _begun(self) -> _Session:
        if self._session is None:
            self._line = self._lines.take()
            self._stop.watch(self._line)
            self._line.deadline(self._seconds)
            self._line.send(OPEN, self._lines.epoch + self._number.encode())
            self._session = _Session(self._line)
        return self._session


class Door:
    """S2's: the port, and a thread for each connection."""

    def __init__(
        self,
        listen: tuple[str, int],
        tls: Callable[[], Ends],
        admit: Callable[[bytes], None],
        play: Callable[[Channel, str], None],
        most: int,
        refusals: Refusals,
    ) -> None:
        """`admit` raises when there is no session for a greeting with this epoch; `play` plays the party of one
        session, with the number that the log has it under; `tls`: for each connection what the files hold by
        then. Raises `OSError`."""
        self._tls, self._admit, self._play, self._most = tls, admit, play, most
        self._refusals = refusals
        self._greeting = Greetings()
        self._lock = threading.Lock()
        self._lines: dict[Duplex, threading.Thread] = {}
        self._socket = socket.create_server(listen, backlog=_BACKLOG)
        self._closed = False
        self._accepting = threading.Thread(target=self._accept, name="moves", daemon=True)

    def start(self) -> None:
        """Let S1 in."""
        self._accepting.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def end_sessions(self) -> None:
        """Whatever an earlier greeting began is over; returns when their parties are. Who still shakes hands has begun
        nothing, and is not waited for: what it will open names an epoch."""
        with self._lock:
            lines, threads = list(self._lines), list(self._lines.values())
        for line in lines:
            line.shut()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """No more sessions."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            line.shut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                sock, name = self._socket.accept()
            except OSError as error:
                if self._closed:
                    return
                self._refusals.tell(Why.DESCRIPTORS, detail=error.strerror)
                time.sleep(_EXHAUSTED_S)
                continue
            address = neighbourhood(name[0])
            if not self._greeting.may_begin(address):
                sock.close()
                self._refusals.tell(Why.CROWD, address=address)
                continue
            threading.Thread(target=self._serve, args=(sock, address), name="session", daemon=True).start()

    def _serve(self, sock: socket.socket, address: str) -> None:
        line = None
        try:
            line = self._greet(sock, address)
            while line is not None and self._one(line):
                pass
        except PuraError:
            pass  # a connection that broke between sessions has no effect
        finally:
            self._forget(line)
            if line is not None:
                line.close()

    def _greet(self, sock: socket.socket, address: str) -> Duplex | None:
        """S1's connection, if it is S1's; strangers share the time for a handshake and have no part in sessions."""
        begun = _Begun(sock)
        self._greeting.begin(address, begun)
        context, pinned = self._tls()
        try:
            line = Duplex(sock, context, server=True)
        except (OSError, PuraError) as error:  # ssl.SSLError is one
            reason = error.reason if isinstance(error, ssl.SSLError) else type(error).__name__
            self._refusals.tell(Why.HANDSHAKE, address=address, detail=reason)
            return None
        finally:
            self._greeting.end(address, begun)
        with self._lock:
            full = len(self._lines) >= self._most
            if not full and shows(line, pinned):
                self._lines[line] = threading.current_thread()
                return line
        self._refusals.tell(Why.CONNECTIONS if full else Why.UNKNOWN, address=address)
        line.close()
        return None

    def _one(self, line: Duplex) -> bool:
        """One session; whether the connection can carry another."""
        line.deadline(_IDLE_S)
        kind, body = line.receive()
        if kind != OPEN:
            raise ProtocolError(detail="a session that was not opened")
        epoch, number = body[:16], body[16:].decode("ascii", "replace")
        session = _Session(line)
        try:
            self._admit(epoch)
            self._play(session, number)
        except PuraError as error:
            line.deadline(_END_S)
            line.send(ERROR, f"{error.code}\0{error}".encode())
            return False
        line.send(END, b"")
        session.ended()
        return True

    def _forget(self, line: Duplex | None) -> None:
        if line is not None:
            with self._lock:
                self._lines.pop(line, None)


class _Begun:
    """A handshake that may be given up."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def give_up(self, why: str) -> None:
        """See `Handshake`; whoever shakes hands then finds the connection broken."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


def shows(line: Duplex, pinned: frozenset[Fingerprint]) -> bool:
    """Whether the other side showed a pinned certificate."""
    shown = line.certificate()
    return shown is not None and Fingerprint(hashlib.sha256(shown).hexdigest()) in pinned

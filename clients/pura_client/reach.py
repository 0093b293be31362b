"""Why S1 cannot be spoken to: it is not there, it is not the one, or it does not let this client in."""

from __future__ import annotations

import socket
import ssl

from pura.errors import BadConfig, NotAuthorised, PeerRefused, PeerUnavailable, PuraError
from pura.transport import reach
from pura_client.config import ClientConfig

_STEP_S = 3.0


def why(config: ClientConfig, *, insecure: bool) -> PuraError | None:
    """The reason found by a connection of its own, in some seconds; None when nothing is wrong with this one.

    Only `PeerUnavailable` and `Overloaded` pass by themselves. Raises `BadConfig`.
    """
    if config.proxy_used is not None:
        return None  # the proxy's reasons are its own
    host, port = reach.host_and_port(config.server)
    try:
        if insecure:
            socket.create_connection((host, port), timeout=_STEP_S).close()
            return None
        said = reach.first_words(config.server, _context(config), host, _STEP_S)
    except ssl.SSLCertVerificationError as error:
        return PeerRefused(
            f"the server at {config.server} does not show a certificate of this client's authority for that name",
            detail=error.verify_message,
        )
    except ssl.SSLError as error:
        reason = error.reason or ""
        if "ALERT" in reason:
            return NotAuthorised("the server refused this client's credential", detail=reason)
        return PeerRefused(f"what listens at {config.server} does not speak TLS as Pura does", detail=reason)
    except OSError as error:
        return _not_there(config, error)
    if not said:  # who is turned away is told so
        return PeerUnavailable(f"the server at {config.server} ended the connection at once; try again")
    named = reach.reason_in(said)
    if isinstance(named, NotAuthorised):
        return NotAuthorised("the server refused this client's credential: it is not in its list, revoked or expired")
    return named


def _context(config: ClientConfig) -> ssl.SSLContext:
    assert config.ca is not None
    assert config.cert is not None
    try:
        # as strict as gRPC, and no stricter: Python's default from 3.13 on refuses authorities made before
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=str(config.ca))
        context.load_cert_chain(str(config.cert), str(config.key))
    except OSError as error:
        raise BadConfig("ca, cert and key do not fit each other", detail=str(error)) from error
    return context


def _not_there(config: ClientConfig, error: OSError) -> PeerUnavailable:
    reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
    return PeerUnavailable(f"the server at {config.server} cannot be reached: {reason}", detail=str(error))

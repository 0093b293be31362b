"""How a desk listens, and to whom: on this machine only, unless it has tokens and a certificate."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

from pura.errors import BadConfig

DEFAULT_PORT = 8735
LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Listening:
    """Where a desk listens and by which names it may be called.

    names: host names besides its address, for a desk that other machines reach. cert, key: PEM files for TLS. tokens:
    the file that `pura desk token` writes.
    """

    host: str = LOOPBACK
    port: int = DEFAULT_PORT
    names: tuple[str, ...] = ()
    cert: Path | None = None
    key: Path | None = None
    tokens: Path | None = None

    def check(self) -> None:
        """Raises `BadConfig` for a desk that other machines would reach without TLS or a token."""
        if (self.cert is None) != (self.key is None):
            raise BadConfig("--cert and --key belong together")
        if self.is_loopback:
            return
        if self.cert is None or self.tokens is None:
            raise BadConfig(
                "beyond this machine a desk needs --cert and --key, since photos would pass in the clear, and "
                "--tokens, since anybody could ask and enrol"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def scheme(self) -> str:
        """Of its addresses."""
        return "http" if self.cert is None else "https"

    def hosts(self) -> frozenset[str]:
        """What a browser may put into Host: the desk's own names with its port. Any other name is a site that had
        itself resolved to this machine."""
        names = {_bracketed(name) for name in self.names}
        if self.is_loopback:
            names |= {"localhost", LOOPBACK, "[::1]"}
        elif not _is_any(self.host):
            names.add(_bracketed(self.host))
        usual = 80 if self.scheme == "http" else 443
        return frozenset(f"{name}:{self.port}".lower() for name in names) | (
            frozenset(name.lower() for name in names) if self.port == usual else frozenset()
        )

    def url(self) -> str:
        """Where a person opens it."""
        name = self.names[0] if self.names else self.host
        return f"{self.scheme}://{_bracketed(name)}:{self.port}/"


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False

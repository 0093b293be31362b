"""Host names and addresses as people type them, in the form that configurations, certificates and gRPC take."""

from __future__ import annotations

import ipaddress
import re

from pura.errors import BadConfig

_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LONGEST = 253
_DEVIATIONS = frozenset("ßς\u200c\u200d")
"""Letters that the old and the new rules for international names turn into different names."""


def host_of(text: str, option: str = "--host") -> str:
    """A DNS name in lower-case ASCII, or an IP address in its shortest form, without brackets. Raises `BadConfig`."""
    try:
        address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return _name(text, option)
    if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None):
        raise BadConfig(f"{option}: give the address at which the other machines reach this server")
    return str(address)


def _name(text: str, option: str) -> str:
    if _DEVIATIONS & set(text):
        raise BadConfig(f"{option}: write this international name in its ASCII form, which begins with xn--")
    try:
        name = text if text.isascii() else text.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise BadConfig(f"{option}: this cannot be a host's name") from error
    name = name.lower()
    if not _NAME.fullmatch(name) or len(name) > _LONGEST or name.rpartition(".")[2].isdigit():
        raise BadConfig(
            f"{option}: a host's name is of letters, digits and dashes, with dots between its parts; the port has an "
            "option of its own"
        )
    return name


def address_of(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def any_address(host: str, port: int) -> str:
    """Where a server listens that is reached under `host` from other machines: on all interfaces."""
    return address_of("::" if ":" in host else "0.0.0.0", port)  # noqa: S104

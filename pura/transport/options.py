"""What every gRPC channel of ours is told, a client's and a server's alike."""

from __future__ import annotations

Option = tuple[str, int | str]

PING_EVERY_S = 10
PONG_WITHIN_S = 5

ALIVE: tuple[Option, ...] = (
    # a far end that is gone without a word (a NAT that forgot, a VPN that fell) is noticed within 15 s
    ("grpc.keepalive_time_ms", PING_EVERY_S * 1000),
    ("grpc.keepalive_timeout_ms", PONG_WITHIN_S * 1000),
    ("grpc.http2.ping_timeout_ms", PONG_WITHIN_S * 1000),  # without this a ping that is not answered counts for 60 s
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

PATIENT: tuple[Option, ...] = (
    # a server takes the pings of `ALIVE` for what they are, not for an attack
    ("grpc.http2.min_ping_interval_without_data_ms", PING_EVERY_S * 500),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_EVERY_S * 500),
)

DIRECT: tuple[Option, ...] = (
    # whatever http_proxy, https_proxy or grpc_proxy say: that is for programs that browse
    ("grpc.enable_http_proxy", 0),
)


def through(proxy: str | None) -> tuple[Option, ...]:
    """The options of a channel that uses this HTTP proxy, or none: what the environment names never counts."""
    return DIRECT if proxy is None else (("grpc.http_proxy", proxy),)

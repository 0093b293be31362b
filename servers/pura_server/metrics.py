"""Prometheus metrics of one server. Labels are methods, error codes, kinds of material: never anything of a client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pura.errors import BadConfig
from pura.rounds import Tally

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Counters and gauges in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.calls = Counter("pura_calls", "Calls by method and outcome.", ["method", "code"], registry=registry)
        self.seconds = Histogram(
            "pura_call_seconds", "Time to answer, waiting included.", ["method"], buckets=_SECONDS, registry=registry
        )
        self.waited = Histogram(
            "pura_queue_seconds", "Time spent waiting for a turn.", ["method"], buckets=_SECONDS, registry=registry
        )
        self.refused = Counter(
            "pura_refused",
            "Callers turned away, for who they are or how they call.",
            ["reason"],
            registry=registry,
        )
        self.rounds = Counter("pura_peer_rounds", "Rounds between the servers.", ["method"], registry=registry)
        self.bytes = Counter(
            "pura_peer_bytes", "Bytes of messages between the servers.", ["method", "direction"], registry=registry
        )
        self.open = Gauge("pura_open_operations", "Operations running or waiting.", ["kind"], registry=registry)
        self.certificate = Gauge(
            "pura_certificate_expires", "When a certificate ends, in seconds since 1970.", ["kind"], registry=registry
        )
        self.peer_ready = Gauge("pura_peer_ready", "1 while the other server is there and agrees.", registry=registry)

    def expires(self, certificate: str, at: Callable[[], float]) -> None:
        """When this server's own certificate, or the pinned one, ends: seconds since 1970."""
        self.certificate.labels(certificate).set_function(at)

    def count(self, method: str, tally: Tally) -> None:
        """What one operation exchanged with the other server."""
        self.rounds.labels(method).inc(tally.rounds)
        self.bytes.labels(method, "sent").inc(tally.bytes_sent)
        self.bytes.labels(method, "received").inc(tally.bytes_received)

    def watch_levels(self, levels: Callable[[], Mapping[str, float]]) -> None:
        """Export a backend's gauges, read when somebody asks."""
        self.registry.register(_Levels(levels))

    def watch_dropped(self, dropped: Callable[[], int]) -> None:
        """Export how many lines of the log were lost."""
        self.registry.register(_Dropped(dropped))

    def serve(self, address: str) -> Callable[[], None]:
        """Answer over HTTP from now on; call what is returned to stop. Raises `BadConfig` when that is impossible."""
        host, _, port = address.rpartition(":")
        try:
            server, thread = start_http_server(int(port), host.strip("[]"), self.registry)
        except OSError as error:
            raise BadConfig(f"metrics.listen: the address {address} cannot be used", detail=str(error)) from error

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop


class _Dropped(Collector):
    def __init__(self, dropped: Callable[[], int]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterable[CounterMetricFamily]:
        yield CounterMetricFamily("pura_log_lines_dropped", "Lines that could not be written.", value=self._dropped())


class _Levels(Collector):
    def __init__(self, levels: Callable[[], Mapping[str, float]]) -> None:
        self._levels = levels

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily("pura_level", "Entries, and offline material on hand, by kind.", labels=["kind"])
        for kind, value in self._levels().items():
            family.add_metric([kind], value)
        yield family

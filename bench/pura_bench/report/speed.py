"""What the report and the terminal say about speed, and about the peers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pura_bench.report.tables import Columns, Row, Table, listed, named, seconds, size


def _ms(name: str, digits: int | None = None) -> Callable[[Row], float]:
    """Seconds as milliseconds."""
    return lambda row: 1e3 * row[name] if digits is None else round(1e3 * row[name], digits)


def _mb(name: str) -> Callable[[Row], int | None]:
    return lambda row: None if row.get(name) is None else round(row[name] / 1e6)


def _workers(row: Row) -> str:
    return "all" if row["workers"] == 0 else str(row["workers"])


def _as(how: Callable[[float], str], name: str) -> Callable[[Row], Any]:
    """A field in units that suit it, where there is one."""
    return lambda row: how(row[name]) if name in row else None


QUESTION: Columns = {
    "engine": lambda row: row["engine"] + (" (extrapolated)" if row["extrapolated"] else ""),
    **named("M", "D"),
    "bits": lambda row: row["key_bits"] or None,
    "workers": _workers,
    "network": lambda row: row["network"] + (", lockout" if row.get("lockout") else ""),
    "S1 ms": _ms("cpu_s_s1", 2),
    "S2 ms": _ms("cpu_s_s2", 2),
    "offline ms": _ms("cpu_s_offline", 2),
    "wall ms": _ms("wall_s", 2),
    "client bytes": "bytes_client",
    "bytes between": lambda row: round(row["bytes_peer"]),
    "rounds": "rounds",
    "S1 MB": _mb("memory_bytes_s1"),
    "S2 MB": _mb("memory_bytes_s2"),
    "busy cores": "other_load_cores",
    "exact": "exact",
}
COSTS: Columns = {
    **named("engine", "D"),
    "bits": "key_bits",
    "workers": _workers,
    "M": "M",
    "online ms": "cpu_ms",
    "offline ms": "cpu_ms_offline",
    "slope ms": "slope_ms",
    "exponent of M": "exponent",
}
STAGES: Columns = {
    "stage": "stage",
    "S1 ms": _ms("cpu_s_s1"),
    "S2 ms": _ms("cpu_s_s2"),
    **named("bytes", "rounds"),
}
ENROLMENT: Columns = {
    **named("engine", "M", "D"),
    "bits": "key_bits",
    "enrolled": lambda row: row["enrolment"]["entries"],
    "a second": lambda row: row["enrolment"]["per_s"],
    "S1 ms each": lambda row: 1e3 * row["enrolment"]["cpu_s_s1"] / row["enrolment"]["entries"],
    "S2 ms each": lambda row: 1e3 * row["enrolment"]["cpu_s_s2"] / row["enrolment"]["entries"],
    "bytes stored each": lambda row: round(row["storage_bytes_entry"]),
    "matching copy, bytes each": lambda row: round(row["matching_bytes_entry"]),
}
PEERS: Columns = {
    "who": lambda row: row["title"] + (f" (scaled from {row['scaled_from']})" if "scaled_from" in row else ""),
    "M": "entries",
    "wall": _as(seconds, "wall_s"),
    "CPU, all parties": _as(seconds, "cpu_s"),
    "client bytes": _as(size, "bytes_client"),
    "bytes between": _as(size, "bytes_peer"),
    "exact": "exact",
    "query encrypted": "query",
    "gallery encrypted": "gallery",
    "minimum encrypted": "minimum",
    "threshold encrypted": "threshold",
    "scores known to": "score_known_to",
    "trust": "trust",
}


def speed_tables(content: Row) -> list[Table]:
    """One question, what follows from its figures, the stages, and enrolment."""
    rows = content["rows"]
    return [
        listed("One question", QUESTION, rows),
        listed("CPU of both servers for one entry and question, at the largest size", COSTS, content["per_entry"]),
        listed("Ratios of CPU an entry", {"what": "text", "ratio": "ratio"}, content["ratios"]),
        *(_stages(row) for row in rows if row.get("stages")),
        listed("Enrolment and storage", ENROLMENT, [row for row in rows if "entries" in row.get("enrolment", {})]),
        listed("Not measured", named("cell", "reason"), content["failed"]),
    ]


def _stages(row: Row) -> Table:
    title = f"Stages: {row['engine']}, M = {row['M']:,}, D = {row['D']}, {row['key_bits']} bits, one thread"
    offline = [{**stage, "stage": f"offline: {stage['stage']}"} for stage in row.get("offline_stages", [])]
    return listed(title, STAGES, [*row["stages"], *offline])


def peer_tables(content: Row) -> list[Table]:
    """All that have figures, with those that are quoted, and those that were skipped."""
    measured = [row for row in content["rows"] if "skipped" not in row]
    skipped = [row for row in content["rows"] if "skipped" in row]
    return [
        listed("Side by side", PEERS, [*measured, *content.get("quoted", [])]),
        listed("Skipped", {"who": "title", "M": "entries", "reason": "skipped"}, skipped),
    ]

"""What follows from the rows: cost for one entry, growth with M, D and the key, ratios, and sizes not measured."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import Any

Row = dict[str, Any]
_COSTS = ("cpu_s_s1", "cpu_s_s2", "cpu_s_offline", "wall_s", "bytes_peer")


def online(row: Row) -> float:
    """CPU seconds of both servers from question to answer."""
    return float(row["cpu_s_s1"] + row["cpu_s_s2"])


def usual(rows: list[Row]) -> list[Row]:
    """Those on loopback at D = 128 with 2048 bits, without a lockout: what README and the first plot show."""
    return [
        row
        for row in rows
        if row["D"] == 128 and row["key_bits"] in (0, 2048) and row["network"] == "loopback" and not row.get("lockout")
    ]


Family = tuple[str, int, int, int, str, bool]
Key = tuple[str, int, int, int]
"""Of a family: engine, D, bits, workers."""


def family(row: Row) -> Family:
    """Everything but the size."""
    how = row.get("network", "loopback"), row.get("lockout", False)
    return row["engine"], row["D"], row["key_bits"], row["workers"], *how


def by_family(rows: list[Row]) -> dict[Family, list[Row]]:
    """Measured rows by family, smallest first."""
    out: dict[Family, list[Row]] = defaultdict(list)
    for row in rows:
        if not row["extrapolated"]:
            out[family(row)].append(row)
    return {key: sorted(found, key=lambda r: int(r["M"])) for key, found in out.items()}


def extrapolate(rows: list[Row], sizes: tuple[int, ...]) -> list[Row]:
    """Rows for sizes that engine `published` was not measured at: a straight line through its two largest sizes.

    Its tournament has M - 1 comparisons and its squares are one batch an entry, so its cost is linear in M.
    """
    out = []
    for (engine, *_), found in by_family(rows).items():
        if engine != "published" or len(found) < 2:
            continue
        low, high = found[-2:]
        for size in (size for size in sizes if size > high["M"]):
            ahead = (size - low["M"]) / (high["M"] - low["M"])
            out.append(
                {name: high[name] for name in ("engine", "D", "key_bits", "workers", "network", "bytes_client")}
                | {name: low[name] + ahead * (high[name] - low[name]) for name in _COSTS}
                | {
                    "M": size,
                    "extrapolated": True,
                    "from": [low["M"], high["M"]],
                    "other_load_cores": max(row.get("other_load_cores", 0.0) for row in (low, high)),
                    "exact": None,
                    "stages": [],
                }
            )
    return out


def per_entry(rows: list[Row]) -> list[Row]:
    """For each family of several sizes: CPU milliseconds an entry at the largest size, and how the cost grows.

    slope_ms: of the line through the two largest sizes; exponent: of the power law through them, 1 for linear.
    """
    out = []
    for (engine, d, bits, workers, network, lockout), found in by_family(rows).items():
        if engine == "plaintext" or network != "loopback" or lockout:
            continue
        high = found[-1]
        entry: Row = {
            "engine": engine,
            "D": d,
            "key_bits": bits,
            "workers": workers,
            "M": high["M"],
            "cpu_ms": 1e3 * online(high) / high["M"],
            "cpu_ms_offline": 1e3 * high["cpu_s_offline"] / high["M"],
        }
        if len(found) > 1 and online(found[-2]) > 0:
            low = found[-2]
            entry["slope_ms"] = 1e3 * (online(high) - online(low)) / (high["M"] - low["M"])
            entry["exponent"] = math.log(online(high) / online(low)) / math.log(high["M"] / low["M"])
        out.append(entry)
    return out


def ratios(rows: list[Row]) -> list[Row]:
    """CPU of a question of one family over another's, at the largest gallery that both were measured with: published
    over prepared, D = 512 over 128, 3072 over 2048 bits."""
    cost: dict[Key, dict[int, float]] = {}
    for (engine, dimension, key_bits, count, network, lockout), found in by_family(rows).items():
        if network == "loopback" and not lockout:
            cost[engine, dimension, key_bits, count] = {row["M"]: online(row) for row in found}
    dimensions, lengths = sorted({key[1] for key in cost}), sorted({key[2] for key in cost})
    counts = sorted({key[3] for key in cost}, reverse=True)
    pairs: list[tuple[str, Key, Key]] = [
        (f"published / prepared, D = {d}, {bits} bits", ("published", d, bits, count), ("prepared", d, bits, count))
        for d, bits, count in itertools.product(dimensions, lengths, counts)
    ]
    for engine, count in itertools.product(("prepared", "published"), counts):
        for bits in (2048, 3072):
            text = f"D = 512 / D = 128, {engine}, {bits} bits"
            pairs.append((text, (engine, 512, bits, count), (engine, 128, bits, count)))
        for d in (128, 512):
            pairs.append((f"3072 / 2048 bits, {engine}, D = {d}", (engine, d, 3072, count), (engine, d, 2048, count)))
    out = []
    for text, over, under in pairs:
        m = max(cost.get(over, {}).keys() & cost.get(under, {}).keys(), default=0)
        if m and cost[under][m] > 0:
            out.append({"text": f"{text}, {_workers(over[3])}", "ratio": cost[over][m] / cost[under][m], "at": m})
    return out


def _workers(count: int) -> str:
    return "all cores" if count == 0 else f"{count} worker{'s' if count > 1 else ''}"

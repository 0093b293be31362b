"""What the report and README take from the results of accuracy and security."""

from __future__ import annotations

from typing import Any

from pura_bench.accuracy.report import Table
from pura_bench.report.security import median, percent

Row = dict[str, Any]
Rows = list[list[str]]


def topic_parts(content: Row) -> list[tuple[str, Rows]]:
    """(title, table with its heads first) of each table of a topic of accuracy."""
    return [(each["title"], Table(each["title"], each["rows"]).as_text()) for each in content["tables"]]


def accuracy_lines(content: Row) -> list[str]:
    """Errors at the fitted threshold, in floats and as templates, and what went through encryption."""
    data, policy = content["data_set"], content["policy"]
    by_scale = {row["scale"]: row for row in content["rows"]}
    floats, quantised = by_scale[None], by_scale[policy["scale"]]
    changed = f"{quantised['changed']} of {data['pairs']:,} decisions are others as templates, S = {policy['scale']}"
    fitted = policy["measured"]["data_set"] if content["held_out"] else "the same photos"
    at_the = f"at the threshold {policy['threshold']:.4f}, fitted on {fitted} for an FMR of {policy['wanted_fmr']:.0e}"
    right = _percent(floats["pairs"]["at_threshold"]["accuracy"])
    out = [
        f"{data['name']}, {content['embedder']['name']}, {at_the}: {right} of {data['pairs']:,} pairs right; {changed}."
    ]
    if "all_pairs" in floats:
        at = floats["all_pairs"]["at_threshold"]
        fmr = at["fmr"]
        out.append(
            f"All pairs of its photos: FNMR {_percent(at['fnmr'])} of {at['fnmr']['n']:,}, FMR {fmr['value']:.1e} "
            f"({fmr['low']:.1e} to {fmr['high']:.1e}) of {fmr['n']:,}; intervals draw people."
        )
    if found := content.get("encrypted"):
        equal = f"{found['equal_to_plain_integers']:,} of {found['pairs']:,} decisions equal plain integers"
        out.append(f"Through two servers, engine {found['engine']}, {found['bits']} bits: {equal}.")
    return out


def _percent(rate: Row) -> str:
    if rate["value"] == rate["high"] == 0:  # nobody errs, whoever is drawn: there is no interval
        return "0 %"
    return f"{100 * rate['value']:.2f} % ({100 * rate['low']:.2f} to {100 * rate['high']:.2f})"


def asking_rows(content: Row) -> Rows:
    """Each embedder under each limit: who was let in, the template's cosine, another photo matched."""
    out = [["embedder", "limit", "questions", "let in", "cosine of those", "another photo matches, FMR 1e-3"]]
    for row in content["rows"]:
        cosine = "-" if row["cosine"] is None else median(row["cosine"])
        let_in = f"{row['opened']['k']} of {row['opened']['n']}"
        out.append([row["embedder"], row["limit"], f"{row['questions']:,}", let_in, cosine, percent(row["sar2"])])
    for row in content["everybody_at_once"]:
        limit = f"none; asks {row['people']} people at once, the first who is named"
        let_in, cosine = f"{row['somebody_opened']['k']} of {row['somebody_opened']['n']}", median(row["cosine"])
        out.append([row["embedder"], limit, f"{row['questions']:,}", let_in, cosine, "-"])
    return out


def collusion_parts(content: Row) -> list[tuple[str, Rows]]:
    """(title, table with its heads first) of each arm."""
    heads = ["attacker", "deployment", "attack", "worked", "what the client was told", "control"]
    arms: dict[str, Rows] = {}
    for row in content["rows"]:
        control = "-" if row["control"] is None else _of(row["control"])
        cells = [row["attacker"], row["deployment"], row["attack"], _of(row["succeeded"]), row["told"] or "-", control]
        arms.setdefault(row["arm"].capitalize(), [heads]).append(cells)
    together = [["attacker", "deployment", "attack", "entries locked", "control: not yet, a question before"]]
    for row in content["together"]:
        together.append([row["attacker"], row["deployment"], row["attack"], _of(row["locked"]), _of(row["control"])])
    shared = [["credentials", "time", "questions", "attack", "let in", "another photo matches", "of a crowd", "binds"]]
    for row in content["credentials"]:
        crowd = "-" if row["of_a_crowd"] is None else _of(row["of_a_crowd"])
        cells = [str(row["credentials"]), row["time"], f"{row['questions']:,}", row["attack"]]
        shared.append([*cells, _of(row["opened"]), _of(row["sar2"]), crowd, row["binds"]])
    return [*arms.items(), ("Several credentials", shared), ("Tries, over two credentials", together)]


def _of(rate: Row) -> str:
    return f"{rate['k']} of {rate['n']} ({100 * rate['low']:.1f} to {100 * rate['high']:.1f} %)"

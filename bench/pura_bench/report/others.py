"""What the report and README take from the results of accuracy and security."""

from __future__ import annotations

import base64
from typing import Any

Row = dict[str, Any]
Rows = list[list[str]]
NOTHING = "no deployment"
"""What the security bench calls the floor and the ceiling: no attack at all."""


def accuracy_parts(content: Row) -> list[tuple[str, Rows, str]]:
    """(title, table with its heads first, plot as data URI or "") of each part."""
    from pura_bench.accuracy.report import sections, tables

    rows = dict(tables(content))
    return [
        (title, rows[title], "data:image/png;base64," + base64.b64encode(png).decode() if png else "")
        for title, _, png in sections(content)
    ]


def accuracy_lines(content: Row) -> list[str]:
    """Accuracy in floats and as templates, the threshold, and what went through encryption."""
    name = content["data_set"]["name"]
    by_scale = {row["scale"]: row for row in content["rows"]}
    floats, quantised = by_scale[None], by_scale[content["policy"]["scale"]]
    mean = [100 * row["pairs"]["accuracy"]["mean"] for row in (floats, quantised)]
    changed = f"{quantised['changed']} of {content['data_set']['pairs']:,} decisions changed"
    out = [
        f"{name}, {content['embedder']['name']}: {mean[0]:.2f} % right in floats, {mean[1]:.2f} % as templates "
        f"(S = {content['policy']['scale']}; {changed})."
    ]
    if found := content.get("encrypted"):
        equal = f"{found['equal_to_plain_integers']:,} of {found['pairs']:,} decisions equal plain integers"
        out.append(f"Through two servers, engine {found['engine']}, {found['bits']} bits: {equal}.")
    return out


def security_rows(content: Row) -> Rows:
    """Each attack: how similar its picture is, and how often it is taken for the person enrolled."""
    names = list(dict.fromkeys(v["network"] for row in content["arms"] for v in row["verdicts"]))
    heads = ["deployment", "attack", "budget"]
    for name in names:
        heads += [f"similarity, {name}", f"accepted at FMR 1e-3, {name}"]
    out = [heads]
    for row in content["arms"]:
        seen = {v["network"]: v for v in row["verdicts"]}
        cells = [row["deployment"], row["attack"], f"{row['budget']:,}"]
        for name in names:
            verdict = seen.get(name)
            cells += (
                ["-", "-"] if verdict is None else [_median(verdict["similarity"]), _share(verdict["sar1"]["0.001"])]
            )
        out.append(cells)
    return out


def security_best(content: Row) -> Rows:
    """The best attack on each deployment, by the first network: deployment, attack, questions, share accepted."""
    best: dict[str, Row] = {}
    for row in content["arms"]:
        known = best.get(row["deployment"])
        if row["deployment"] != NOTHING and (known is None or worth(row) > worth(known)):
            best[row["deployment"]] = row
    return [
        [name, row["attack"], f"{row['budget']:,}", _share(row["verdicts"][0]["sar1"]["0.001"])]
        for name, row in best.items()
    ]


def worth(row: Row) -> tuple[float, int, int]:
    """How often its face is taken for the person enrolled, and for another photo; of equals the one that asks least."""
    first = row["verdicts"][0]
    rate = first["sar1"]["0.001"]
    return (rate["k"] / rate["n"] if rate["n"] else 0.0, first["sar2"]["0.001"]["k"], -row["budget"])


def _share(rate: Row) -> str:
    if not rate["n"]:
        return "-"
    return f"{100 * rate['k'] / rate['n']:.0f} % ({100 * rate['low']:.0f} to {100 * rate['high']:.0f})"


def _median(similarity: Row) -> str:
    return f"{similarity['median']:.3f} ({similarity['low']:.3f} to {similarity['high']:.3f})"

"""The figures of a run as tables and plots.

`result` is a result file of `pura bench accuracy`, as read from JSON.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

Rows = list[list[str]]
"""A table: the first row holds the heads."""


def parts(result: dict[str, Any]) -> list[tuple[str, Rows, str]]:
    """(title, table, plot as data URI or "") of each part of a result."""
    from pura_bench.report.plots import draw

    painters: dict[str, tuple[Callable[..., None], tuple[float, float]]] = {
        "Accuracy": (_roc, (7, 4)),
        "Threshold": (_scores, (7, 4)),
        "Invariance": (_invariance, (9, 5.5)),
    }
    out = []
    for title, rows in tables(result):
        found = next((one for head, one in painters.items() if title.startswith(head)), None)
        image = "" if found is None else draw(found[1], functools.partial(found[0], result=result))
        out.append((title, rows, image))
    return out


def tables(result: dict[str, Any]) -> list[tuple[str, Rows]]:
    """(title, rows) of each part of a result, as text."""
    name = result["data_set"]["name"]
    out = [
        (f"Accuracy on {name}: floats and templates", accuracy_rows(result)),
        (f"Threshold: {policy_title(result)}", policy_rows(result)),
    ]
    if any("all_pairs" in row for row in result["rows"]):
        out.append((f"All pairs of photos of {name}: TAR at FAR", all_pairs_rows(result)))
    if any(row.get("identification") for row in result["rows"]):
        out.append((f"Identification on {name}: one enrolled photo a person", identification_rows(result)))
    if result.get("invariance"):
        out.append(
            (f"Invariance: {result['invariance']['pairs']} pairs of {name}, one photo altered", invariance_rows(result))
        )
    if result.get("encrypted"):
        out.append((f"Through encryption: {name}", encrypted_rows(result)))
    return out


def _percent(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"


def _rate(rate: dict[str, Any], digits: int = 2) -> str:
    """A rate in per cent with its interval; where nobody errs, whoever is drawn, there is none."""
    if rate["value"] == rate["high"] == 0:
        return f"0 of {rate['n']:,}"
    low, high = _percent(rate["low"], digits), _percent(rate["high"], digits)
    return f"{_percent(rate['value'], digits)} ({low} to {high})"


def _scale(row: dict[str, Any]) -> str:
    return "floats" if row["scale"] is None else f"S = {row['scale']}"


def accuracy_rows(result: dict[str, Any]) -> Rows:
    """The protocol's pairs."""
    heads = [
        "",
        "right at the threshold, %",
        "FMR there, %",
        "FNMR there, %",
        "decisions changed",
        "EER, %",
        "10 folds, each at the others' best threshold, %",
    ]
    out = [heads]
    for row in result["rows"]:
        pairs, at = row["pairs"], row["pairs"]["at_threshold"]
        folds = pairs["accuracy"]
        changed = "" if row["scale"] is None else f"{row['changed']} of {result['data_set']['pairs']}"
        out.append(
            [
                _scale(row),
                _rate(at["accuracy"]),
                _rate(at["fmr"]),
                _rate(at["fnmr"]),
                changed,
                _percent(pairs["eer"]),
                f"{_percent(folds['mean'])} ± {_percent(folds['std'])}",
            ]
        )
    return out


def policy_title(result: dict[str, Any]) -> str:
    """Where the threshold comes from."""
    measured = result["policy"]["measured"]["data_set"]
    return f"fitted on {measured}" + ("" if result["held_out"] else ", which is also what is reported")


def policy_rows(result: dict[str, Any]) -> Rows:
    """The threshold and what it did where it was fitted."""
    policy = result["policy"]
    measured = policy["measured"]
    low, high = measured["fmr_interval"]
    missed_low, missed_high = measured["fnmr_interval"]
    return [
        ["wanted FMR", "threshold", "tau", "FMR there", "interval at 95 %", "impostor pairs", "FNMR there, %"],
        [
            f"{policy['wanted_fmr']:.0e}",
            f"{policy['threshold']:.4f}",
            f"{policy['tau']:,} at S = {policy['scale']}",
            f"{measured['fmr']:.2e}",
            f"{low:.1e} to {high:.1e} ({measured['fmr_interval_method']})",
            f"{measured['impostor_pairs']:,}",
            f"{_percent(measured['fnmr'])} ({_percent(missed_low)} to {_percent(missed_high)})",
        ],
    ]


def all_pairs_rows(result: dict[str, Any]) -> Rows:
    """TAR at FAR over all pairs of photos."""
    rows = [row for row in result["rows"] if "all_pairs" in row]
    fars = [each["far"] for each in rows[0]["all_pairs"]["tar_at_far"]]
    heads = [
        "",
        *(f"TAR at FAR {far:.0e}, %" for far in fars),
        "EER, %",
        "FMR at the threshold",
        "FNMR at the threshold, %",
    ]
    out = [heads]
    for row in rows:
        every = row["all_pairs"]
        at = every["at_threshold"]
        tars = [_percent(each["tar"]["value"]) for each in every["tar_at_far"]]
        false = at["fmr"]
        fmr = f"{false['value']:.2e} ({false['low']:.1e} to {false['high']:.1e})"
        out.append([_scale(row), *tars, _percent(every["eer"]), fmr, _rate(at["fnmr"])])
    return out


def identification_rows(result: dict[str, Any]) -> Rows:
    """Rank-1 and TPIR at FPIR."""
    rows = [row for row in result["rows"] if row.get("identification")]
    first = rows[0]["identification"]
    fpirs = [each["fpir"] for each in first["open_set"]]
    heads = ["", f"rank-1 of {first['mated_probes']:,} in {first['gallery']:,}, %"]
    out = [heads + [f"TPIR at FPIR {fpir:g} of {first['strangers']:,} strangers, %" for fpir in fpirs]]
    for row in rows:
        found = row["identification"]
        tpirs = [_rate(each["tpir"]) for each in found["open_set"]]
        out.append([_scale(row), _rate(found["rank_1"]), *tpirs])
    return out


def invariance_rows(result: dict[str, Any]) -> Rows:
    """Displacement against the distance between people, and the change of the errors."""
    table = result["invariance"]
    base = table["unaltered"]
    out = [["attribute", "level", "displacement / distance between people", "consistency", "faces not found", "FNMR, %",
            "change, points", "FMR, %"]]  # fmt: skip
    within = table["distance_within_people"] / table["distance_between_people"]
    out.append(["two photos as they are", "", f"{within:.3f}", "", str(base["not_found"]), _rate(base["fnmr"], 1), "",
                _percent(base["fmr"]["value"], 3)])  # fmt: skip
    for row in table["rows"]:
        relative = "-" if row["relative"] is None else f"{row['relative']:.3f}"
        consistency = "-" if row["consistency"] is None else f"{row['consistency']:.2f}"
        change = 100 * (row["fnmr"]["value"] - base["fnmr"]["value"])
        out.append(
            [
                row["attribute"],
                f"{row['level']:g} {row['unit']}",
                relative,
                consistency,
                str(row["not_found"]),
                _rate(row["fnmr"], 1),
                f"{change:+.1f}",
                _percent(row["fmr"]["value"], 3),
            ]
        )
    return out


def encrypted_rows(result: dict[str, Any]) -> Rows:
    """Decisions of two servers beside plain integers."""
    found = result["encrypted"]
    return [
        ["engine", "key", "pairs", "equal to plain integers", "right", "false matches", "false non-matches",
         "s an enrolment", "s a question"],
        [
            found["engine"],
            f"{found['bits']} bits",
            f"{found['pairs']:,} of {found['of']:,}",
            f"{found['equal_to_plain_integers']:,}",
            f"{found['right']:,}",
            str(found["false_matches"]),
            str(found["false_non_matches"]),
            f"{found['enrol_s'] / found['pairs']:.3f}",
            f"{found['verify_s'] / found['pairs']:.3f}",
        ],
    ]  # fmt: skip


# --- plots --------------------------------------------------------------------------------------


def _roc(axes: Any, result: dict[str, Any]) -> None:
    """FNMR against FMR, both logarithmic."""
    for row in result["rows"]:
        if "roc" in row:
            fmr, fnmr = zip(*row["roc"], strict=True)
            axes.loglog(fmr, [max(each, 1e-5) for each in fnmr], label=_scale(row), linewidth=1.3)
    at = result["rows"][0].get("all_pairs", result["rows"][0]["pairs"])["at_threshold"]
    axes.plot(max(at["fmr"]["value"], 1e-7), max(at["fnmr"]["value"], 1e-5), "k+", markersize=11, label="threshold")
    axes.set(xlabel="false match rate", ylabel="false non-match rate")
    axes.legend()


def _scores(axes: Any, result: dict[str, Any]) -> None:
    """How scores of one person and of two are spread, and the threshold."""
    scores = result["scores"]
    edges = scores["edges"]
    for name, colour in (("impostor", "tab:red"), ("genuine", "tab:green")):
        total = max(1, sum(scores[name]))
        axes.stairs([count / total for count in scores[name]], edges, fill=True, alpha=0.5, color=colour, label=name)
    axes.axvline(result["policy"]["threshold"], color="black", linewidth=1, label="threshold")
    axes.set(xlabel="cosine", ylabel="share of pairs")
    axes.legend()


def _invariance(axes: Any, result: dict[str, Any]) -> None:
    """Displacement and false non-matches, a group of bars for each attribute."""
    table = result["invariance"]
    rows = table["rows"]
    places = range(len(rows))
    names = [f"{row['attribute']} {row['level']:g}" for row in rows]
    axes.barh(
        [p + 0.2 for p in places],
        [row["relative"] or 0 for row in rows],
        0.4,
        label="displacement / distance between people",
    )
    axes.barh([p - 0.2 for p in places], [row["fnmr"]["value"] for row in rows], 0.4, label="false non-match rate")
    axes.axvline(table["unaltered"]["fnmr"]["value"], color="tab:orange", linewidth=1, linestyle="--")
    axes.set_yticks(list(places), names, fontsize=7)
    axes.invert_yaxis()
    axes.legend(fontsize=8)

"""The figures of a run as tables and plots.

`result` is a result file of `pura bench accuracy`, as read from JSON.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import rich.table
from rich.console import Console

Row = dict[str, Any]
SMALL = 1e-3
"""Below it a rate is written as a power of ten."""


@dataclasses.dataclass(frozen=True)
class Table:
    """rows: a dict each; their keys are the heads.

    A cell is text, a number, or a rate or estimate with its interval, as a dict.
    """

    title: str
    rows: list[Row]

    def as_text(self) -> list[list[str]]:
        """The heads, then the rows."""
        heads = list(dict.fromkeys(head for row in self.rows for head in row))
        return [heads, *([cell(row.get(head)) for head in heads] for row in self.rows)]

    def show(self, console: Console) -> None:
        """Print it."""
        heads, *rows = self.as_text()
        out = rich.table.Table(*heads, title=self.title)
        for row in rows:
            out.add_row(*row)
        console.print(out)


def cell(value: Any) -> str:
    """A rate, which has a count `k`, in per cent with its interval; an estimate, which has none, as it is."""
    match value:
        case None:
            return "-"
        case {"n": 0}:
            return "none"
        case {"k": 0, "n": n, "high": 0.0}:
            return f"0 of {n:,}"  # nobody to draw: no interval
        case {"k": _, "value": rate, "low": low, "high": high, "n": n}:
            return f"{share(rate)} ({share(low)} to {share(high)}) of {n:,}"
        case {"value": middle, "low": low, "high": high, **more}:
            of = f", n = {more['n']:,}" if "n" in more else ""
            return f"{middle:.3f} ({low:.3f} to {high:.3f}{of})"
        case float():
            return f"{value:.4g}"
        case int() if not isinstance(value, bool):
            return f"{value:,}"
        case _:
            return str(value)


def share(value: float) -> str:
    """In per cent; a small one as a power of ten."""
    return f"{value:.1e}" if 0 < value < SMALL else f"{100 * value:.2f} %" if value else "0"


def parts(result: Row) -> list[tuple[str, list[list[str]], str]]:
    """(title, table as text, plot as data URI or "") of each part of a result."""
    from pura_bench.report.plots import draw

    painters: dict[str, tuple[Callable[..., None], tuple[float, float]]] = {
        "Accuracy": (_roc, (7, 4)),
        "Threshold": (_scores, (7, 4)),
        "Invariance": (_invariance, (9, 5.5)),
    }
    out = []
    for table in tables(result):
        found = next((one for head, one in painters.items() if table.title.startswith(head)), None)
        image = "" if found is None else draw(found[1], functools.partial(found[0], result=result))
        out.append((table.title, table.as_text(), image))
    return out


def tables(result: Row) -> list[Table]:
    """A table of each part of a result."""
    name = result["data_set"]["name"]
    invariance, encrypted = result.get("invariance"), result.get("encrypted")
    found = [
        (f"Accuracy on {name}: floats and templates", _accuracy(result)),
        (f"Threshold: {_fitted_on(result)}", [_policy(result["policy"])]),
        (f"All pairs of photos of {name}: TAR at FAR", _each(result, "all_pairs", _all_pairs)),
        (f"Identification on {name}: one enrolled photo a person", _each(result, "identification", _identification)),
    ]
    if invariance:
        title = f"Invariance: {invariance['pairs']} pairs of {name}, one photo altered"
        found.append((title, list(_altered(invariance))))
    if encrypted:
        found.append((f"Through encryption: {name}", [_encrypted(encrypted)]))
    return [Table(title, rows) for title, rows in found if rows]


def _percent(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f}"


def _rate(rate: Row, digits: int = 2) -> str:
    """A rate in per cent with its interval; where nobody errs, whoever is drawn, there is none."""
    if rate["value"] == rate["high"] == 0:
        return f"0 of {rate['n']:,}"
    low, high = _percent(rate["low"], digits), _percent(rate["high"], digits)
    return f"{_percent(rate['value'], digits)} ({low} to {high})"


def _scale(row: Row) -> str:
    return "floats" if row["scale"] is None else f"S = {row['scale']}"


def _each(result: Row, part: str, cells: Callable[[Row], Row]) -> list[Row]:
    """A row for each scale that has this part."""
    return [{"": _scale(row), **cells(row[part])} for row in result["rows"] if row.get(part)]


def _accuracy(result: Row) -> list[Row]:
    """The protocol's pairs."""
    out = []
    for row in result["rows"]:
        pairs, at = row["pairs"], row["pairs"]["at_threshold"]
        folds = pairs["accuracy"]
        changed = "" if row["scale"] is None else f"{row['changed']} of {result['data_set']['pairs']}"
        spread = f"{_percent(folds['mean'])} ± {_percent(folds['std'])}"
        out.append(
            {
                "": _scale(row),
                "right at the threshold, %": _rate(at["accuracy"]),
                "FMR there, %": _rate(at["fmr"]),
                "FNMR there, %": _rate(at["fnmr"]),
                "decisions changed": changed,
                "EER, %": _percent(pairs["eer"]),
                "10 folds, each at the others' best threshold, %": spread,
            }
        )
    return out


def _fitted_on(result: Row) -> str:
    """Where the threshold comes from."""
    measured = result["policy"]["measured"]["data_set"]
    return f"fitted on {measured}" + ("" if result["held_out"] else ", which is also what is reported")


def _policy(policy: Row) -> Row:
    """The threshold and what it did where it was fitted."""
    measured = policy["measured"]
    low, high = measured["fmr_interval"]
    missed_low, missed_high = measured["fnmr_interval"]
    return {
        "wanted FMR": f"{policy['wanted_fmr']:.0e}",
        "threshold": f"{policy['threshold']:.4f}",
        "tau": f"{policy['tau']:,} at S = {policy['scale']}",
        "FMR there": f"{measured['fmr']:.2e}",
        "interval at 95 %": f"{low:.1e} to {high:.1e} ({measured['fmr_interval_method']})",
        "impostor pairs": f"{measured['impostor_pairs']:,}",
        "FNMR there, %": f"{_percent(measured['fnmr'])} ({_percent(missed_low)} to {_percent(missed_high)})",
    }


def _all_pairs(every: Row) -> Row:
    """TAR at FAR over all pairs of photos."""
    at, false = every["at_threshold"], every["at_threshold"]["fmr"]
    return {
        **{f"TAR at FAR {each['far']:.0e}, %": _percent(each["tar"]["value"]) for each in every["tar_at_far"]},
        "EER, %": _percent(every["eer"]),
        "FMR at the threshold": f"{false['value']:.2e} ({false['low']:.1e} to {false['high']:.1e})",
        "FNMR at the threshold, %": _rate(at["fnmr"]),
    }


def _identification(found: Row) -> Row:
    """Rank-1 and TPIR at FPIR."""
    strangers = f"{found['strangers']:,} strangers, %"
    return {
        f"rank-1 of {found['mated_probes']:,} in {found['gallery']:,}, %": _rate(found["rank_1"]),
        **{f"TPIR at FPIR {each['fpir']:g} of {strangers}": _rate(each["tpir"]) for each in found["open_set"]},
    }


def _altered(table: Row) -> Iterator[Row]:
    """Displacement against the distance between people, and the change of the errors."""
    base = table["unaltered"]
    within = table["distance_within_people"] / table["distance_between_people"]
    plain = {"attribute": "two photos as they are", "level": None, "unit": "", "relative": within, **base}
    for row in (plain, *table["rows"]):
        relative, consistency = row["relative"], row.get("consistency")
        change = 100 * (row["fnmr"]["value"] - base["fnmr"]["value"])
        yield {
            "attribute": row["attribute"],
            "level": "" if row is plain else f"{row['level']:g} {row['unit']}",
            "displacement / distance between people": "-" if relative is None else f"{relative:.3f}",
            "consistency": "" if row is plain else "-" if consistency is None else f"{consistency:.2f}",
            "faces not found": str(row["not_found"]),
            "FNMR, %": _rate(row["fnmr"], 1),
            "change, points": "" if row is plain else f"{change:+.1f}",
            "FMR, %": _percent(row["fmr"]["value"], 3),
        }


def _encrypted(found: Row) -> Row:
    """Decisions of two servers beside plain integers."""
    return {
        "engine": found["engine"],
        "key": f"{found['bits']} bits",
        "pairs": f"{found['pairs']:,} of {found['of']:,}",
        "equal to plain integers": f"{found['equal_to_plain_integers']:,}",
        "right": f"{found['right']:,}",
        "false matches": str(found["false_matches"]),
        "false non-matches": str(found["false_non_matches"]),
        "s an enrolment": f"{found['enrol_s'] / found['pairs']:.3f}",
        "s a question": f"{found['verify_s'] / found['pairs']:.3f}",
    }


# --- plots --------------------------------------------------------------------------------------


def _roc(axes: Any, result: Row) -> None:
    """FNMR against FMR, both logarithmic."""
    for row in result["rows"]:
        if "roc" in row:
            fmr, fnmr = zip(*row["roc"], strict=True)
            axes.loglog(fmr, [max(each, 1e-5) for each in fnmr], label=_scale(row), linewidth=1.3)
    at = result["rows"][0].get("all_pairs", result["rows"][0]["pairs"])["at_threshold"]
    axes.plot(max(at["fmr"]["value"], 1e-7), max(at["fnmr"]["value"], 1e-5), "k+", markersize=11, label="threshold")
    axes.set(xlabel="false match rate", ylabel="false non-match rate")
    axes.legend()


def _scores(axes: Any, result: Row) -> None:
    """How scores of one person and of two are spread, and the threshold."""
    scores = result["scores"]
    edges = scores["edges"]
    for name, colour in (("impostor", "tab:red"), ("genuine", "tab:green")):
        total = max(1, sum(scores[name]))
        axes.stairs([count / total for count in scores[name]], edges, fill=True, alpha=0.5, color=colour, label=name)
    axes.axvline(result["policy"]["threshold"], color="black", linewidth=1, label="threshold")
    axes.set(xlabel="cosine", ylabel="share of pairs")
    axes.legend()


def _invariance(axes: Any, result: Row) -> None:
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

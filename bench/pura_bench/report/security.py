"""What the report says about attacks: in a minute, every arm, and what came with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
Part = tuple[str, str, list[str], list[list[Any]]]
"""Title, what it shows, heads, rows."""
NOTHING = "no deployment"
CLAIM = (
    "What it comes to: two servers and a decision bit remove the score channel from the network, the database and "
    "either server. They do not stop an authorised client from asking: some 200 decisions after the first that is yes "
    "describe a template. What bounds that is how seldom a stranger's vector is accepted (the thresholds, and centred "
    "embeddings), the tries and the budget of questions, so they are part of the product."
)
STANDARD = (
    "In the terms of ISO/IEC 24745: irreversibility, what is stolen; unlinkability, D_sys; renewability: erase and "
    "enrol again, or a new key. This report makes no claim of conformity with that standard."
)


def worth(row: Row) -> tuple[float, int, int]:
    """How often its face is taken for the person enrolled, and for another photo; of equals the one that asks least."""
    first = row["verdicts"][0]
    rate = first["sar1"]["0.001"]
    return (rate["k"] / rate["n"] if rate["n"] else 0.0, first["sar2"]["0.001"]["k"], -row["budget"])


def notes(content: Row) -> list[str]:
    """What there is to know before the tables."""
    known = f"{content['known']} photos of the attacker's people" if "known" in content else ""
    about = [str(content[name]) for name in ("source", "network") if name in content]
    if "threshold" in content:
        about.append(f"deployments match at a cosine of {content['threshold']:.3f}, one in 1,000 strangers")
    unfinished = content.get("unfinished")
    said = [", ".join([*about, known]).strip(", "), CLAIM]
    if unfinished:
        said.append(f"Left out or not finished in this run: {', '.join(unfinished)}.")
    return [*said, STANDARD]


def parts(content: Row) -> list[Part]:
    """The tables that have a row."""
    rows = content["arms"]
    all_parts = [_in_a_minute(rows), _every(rows), *_first(rows), *_others(content)]
    return [part for part in all_parts if part[3]]


def _in_a_minute(rows: Sequence[Row]) -> Part:
    best = []
    for deployment in dict.fromkeys(row["deployment"] for row in rows):
        own = [row for row in rows if row["deployment"] == deployment]
        if deployment == NOTHING:
            own = [row for row in own if "random" in row["attack"]] or own
        row = max(own, key=worth)
        first, *others = row["verdicts"]
        critic = others[0]["sar1"]["0.001"] if others else None
        best.append(
            [deployment, row["attack"], row["budget"], percent(first["sar1"]["0.001"]), percent(first["sar2"]["0.001"]),
             percent(critic)]
        )  # fmt: skip
    heads = ["who answers, and what", "best attack of those tried", "questions", "passes as the enrolled photo",
             "as another photo", "fools the critic"]  # fmt: skip
    text = (
        "Success at a false match rate of 1 in 1,000, with Wilson's 95 % interval. The critic is another network, "
        "which no attack has seen; its column is about the enrolled photo."
    )
    return "In a minute", text, heads, best


def _every(rows: Sequence[Row]) -> Part:
    heads = ["deployment", "attack", "questions", "n", "network", "similarity", "SAR-1 at 1e-2", "SAR-1 at 1e-3",
             "SAR-2 at 1e-2", "SAR-2 at 1e-3", "accuracy", "answered by"]  # fmt: skip
    text = (
        "SAR-1: matches the enrolled photo; SAR-2: another photo of the person. Similarity, median and quartiles: the "
        "cosine, for dlib minus the distance. Accuracy: the paper's protocol, the first photo of each positive pair "
        "replaced by the reconstruction; total failure reads about 50 %."
    )
    cells = [
        [row["deployment"], row["attack"], row["budget"], row["n"], one["network"], median(one["similarity"]),
         *(percent(one[sar][far]) for sar in ("sar1", "sar2") for far in ("0.01", "0.001")),
         f"{100 * one['accuracy']:.1f} %", row["via"] + (f" ({row['note']})" if row.get("note") else "")]
        for row in rows for one in row["verdicts"]
    ]  # fmt: skip
    return "Every attack", text, heads, cells


def _first(rows: Sequence[Row]) -> list[Part]:
    accepts = {(r["deployment"], r["first_accept"]["probes"]): r["first_accept"] for r in rows if r.get("first_accept")}
    after = list(dict.fromkeys(key for one in accepts.values() for key in one["by"]))
    heads = ["deployment", "what is tried", "victims opened", "questions, median of those"]
    text = (
        "A decision-only attack must first be let in: it tries photos of other people one after the other, or vectors "
        "that are close to as many of them as possible."
    )
    cells = [
        [deployment, probes, f"{one['found']} of {one['of']}", one["median"], *(one["by"].get(key) for key in after)]
        for (deployment, probes), one in accepts.items()
    ]
    return [("Questions to the first accepted probe", text, heads + [f"after {key}" for key in after], cells)]


_COLUMNS: dict[str, tuple[str, str, dict[str, str]]] = {
    "templates": (
        "Templates won by asking",
        "Attacks in embedding space end with a template before any image is made: its cosine with the one enrolled.",
        {"deployment": "deployment", "attack": "attack", "budget": "questions", "template_cosine": "cosine"},
    ),
    "servers": (
        "Wholly through the servers",
        "Real processes with mTLS, the client's own library. `Differ` counts answers that are not the decision in the "
        "clear, which for a lockout counts near questions, too: 0 means that the rest may use it.",
        {"servers": "run", "engine": "engine", "victims": "victims", "questions": "questions", "compared": "compared",
         "differed": "differ", "refused": "refused", "ms_a_question": "ms a question",
         "template_cosine": "template's cosine at the end"},
    ),
    "transcripts": (
        "What a curious server's transcript gives",
        "The same attacker, the same questions, everything that the server receives and opens. Explained: how much of "
        "the best number is predicted from the other questions; some is, by chance: the same numbers, dealt out to "
        "other questions. p: Fisher's, of the cosines among those. Beside it: what somebody else's photo gives.",
        {"transcript": "transcript", "questions": "questions", "victims": "n", "numbers": "numbers seen",
         "explained": "explained", "cosine": "cosine of the template", "cosine_max": "at most",
         "cosine_by_chance": "by chance", "p": "p of all victims",
         "dictionary_cosine_95": "95 % of guesses are below", "matches": "matches", "dictionary": "by guessing",
         "beats_dictionary": "better than guessing"},
    ),
    "unlinkability": (
        "Unlinkability of what is stored (D_sys)",
        "0: two enrolments of one person look like those of two; 1: always told apart. By chance it is up to the "
        "floor, so a value below the floor is no finding.",
        {"unlinkability": "what", "score": "score", "d_sys": "D_sys", "floor": "floor", "mated": "mated",
         "non_mated": "non-mated"},
    ),
    "opens": (
        "What one server's share opens",
        "One server tries to decrypt alone.",
        {"opens": "where", "bits": "bits of N", "other_share": "other share recovered", "opened": "opened", "of": "of"},
    ),
}  # fmt: skip


def _others(content: Row) -> list[Part]:
    out: list[Part] = []
    for name, (title, text, columns) in _COLUMNS.items():
        rows = [[_cell(row.get(key)) for key in columns] for row in content.get(name, [])]
        out.append((title, text, list(columns.values()), rows))
    return out


def _cell(value: Any) -> Any:
    """A median, a rate, or numbers by how many questions were asked."""
    if isinstance(value, dict):
        if "median" in value or "n" in value:
            return median(value) if "median" in value else percent(value)
        return "; ".join(f"after {asked}: {_cell(numbers)}" for asked, numbers in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def percent(rate: Row | None) -> str:
    """A rate with its interval."""
    if rate is None or not rate["n"]:
        return "-"
    return f"{100 * rate['k'] / rate['n']:.0f} % ({100 * rate['low']:.0f} to {100 * rate['high']:.0f})"


def median(similarity: Row) -> str:
    """With its quartiles."""
    return f"{similarity['median']:.3f} ({similarity['low']:.3f} to {similarity['high']:.3f})"

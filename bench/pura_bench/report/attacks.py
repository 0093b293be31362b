"""What the report says about attacks: in a minute, every arm, and what came with them."""

from __future__ import annotations

from collections.abc import Sequence

from pura_bench.report.tables import Columns, Row, Table, counted, listed, named, percent

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


def security_tables(content: Row) -> list[Table]:
    """Of the arms and of what came with them."""
    rows = content["arms"]
    others = [
        listed(title, columns, content.get(name, []), about) for name, (title, about, columns) in _WITH_ARMS.items()
    ]
    return [_in_a_minute(rows), _every(rows), _first(rows), *others]


def _in_a_minute(rows: Sequence[Row]) -> Table:
    best = []
    for deployment in dict.fromkeys(row["deployment"] for row in rows):
        own = [row for row in rows if row["deployment"] == deployment]
        if deployment == NOTHING:
            own = [row for row in own if "random" in row["attack"]] or own
        best.append(max(own, key=worth))
    columns: Columns = {
        "who answers, and what": "deployment",
        "best attack of those tried": "attack",
        "questions": "budget",
        "passes as the enrolled photo": lambda row: percent(row["verdicts"][0]["sar1"]["0.001"]),
        "as another photo": lambda row: percent(row["verdicts"][0]["sar2"]["0.001"]),
        "fools the critic": lambda row: [percent(one["sar1"]["0.001"]) for one in row["verdicts"][1:2]] or "-",
    }
    about = (
        "Success at a false match rate of 1 in 1,000, with Wilson's 95 % interval. The critic is another network, "
        "which no attack has seen; its column is about the enrolled photo."
    )
    return listed("In a minute", columns, best, about)


def _every(rows: Sequence[Row]) -> Table:
    columns: Columns = {
        **named("deployment", "attack"),
        "questions": "budget",
        **named("n", "network", "similarity"),
        "SAR-1 at 1e-2": lambda row: percent(row["sar1"]["0.01"]),
        "SAR-1 at 1e-3": lambda row: percent(row["sar1"]["0.001"]),
        "SAR-2 at 1e-2": lambda row: percent(row["sar2"]["0.01"]),
        "SAR-2 at 1e-3": lambda row: percent(row["sar2"]["0.001"]),
        "accuracy": lambda row: f"{100 * row['accuracy']:.1f} %",
        "answered by": lambda row: row["via"] + (f" ({row['note']})" if row.get("note") else ""),
    }
    about = (
        "SAR-1: matches the enrolled photo; SAR-2: another photo of the person. Similarity, median and quartiles: the "
        "cosine, for dlib minus the distance. Accuracy: the paper's protocol, the first photo of each positive pair "
        "replaced by the reconstruction; total failure reads about 50 %."
    )
    return listed("Every attack", columns, ({**row, **one} for row in rows for one in row["verdicts"]), about)


def _first(rows: Sequence[Row]) -> Table:
    accepts = {(r["deployment"], r["first_accept"]["probes"]): r["first_accept"] for r in rows if r.get("first_accept")}
    shown = [{"deployment": deployment, **one, **one["by"]} for (deployment, _), one in accepts.items()]
    columns: Columns = {
        "deployment": "deployment",
        "what is tried": "probes",
        "victims opened": lambda row: f"{row['found']} of {row['of']}",
        "questions, median of those": "median",
        **{f"after {asked}": asked for asked in dict.fromkeys(asked for row in shown for asked in row["by"])},
    }
    about = (
        "A decision-only attack must first be let in: it tries photos of other people one after the other, or vectors "
        "that are close to as many of them as possible."
    )
    return listed("Questions to the first accepted probe", columns, shown, about)


_WITH_ARMS: dict[str, tuple[str, str, Columns]] = {
    "templates": (
        "Templates won by asking",
        "Attacks in embedding space end with a template before any image is made: its cosine with the one enrolled.",
        {**named("deployment", "attack"), "questions": "budget", "cosine": "template_cosine"},
    ),
    "servers": (
        "Wholly through the servers",
        "Real processes with mTLS, the client's own library. `Differ` counts answers that are not the decision in the "
        "clear, which for a lockout counts near questions, too: 0 means that the rest may use it.",
        {"run": "servers", **named("engine", "victims", "questions", "compared"), "differ": "differed",
         "refused": "refused", "ms a question": "ms_a_question", "template's cosine at the end": "template_cosine"},
    ),
    "transcripts": (
        "What a curious server's transcript gives",
        "The same attacker, the same questions, everything that the server receives and opens. Explained: how much of "
        "the best number is predicted from the other questions; some is, by chance: the same numbers, dealt out to "
        "other questions. p: Fisher's, of the cosines among those. Beside it: what somebody else's photo gives.",
        {**named("transcript", "questions"), "n": "victims", "numbers seen": "numbers", "explained": "explained",
         "cosine of the template": "cosine", "at most": "cosine_max", "by chance": "cosine_by_chance",
         "p of all victims": "p", "95 % of guesses are below": "dictionary_cosine_95", "matches": "matches",
         "by guessing": "dictionary", "better than guessing": "beats_dictionary"},
    ),
    "unlinkability": (
        "Unlinkability of what is stored (D_sys)",
        "0: two enrolments of one person look like those of two; 1: always told apart. By chance it is up to the "
        "floor, so a value below the floor is no finding.",
        {"what": "unlinkability", "score": "score", "D_sys": "d_sys", **named("floor", "mated"),
         "non-mated": "non_mated"},
    ),
    "opens": (
        "What one server's share opens",
        "One server tries to decrypt alone.",
        {"where": "opens", "bits of N": "bits", "other share recovered": "other_share", **named("opened", "of")},
    ),
}  # fmt: skip
"""Field of a result -> title, what it shows, columns."""


# --- decisions alone; several attackers together ------------------------------------------------------


def asking_tables(content: Row) -> list[Table]:
    """Each embedder under each limit: who was let in, the template's cosine, another photo matched."""
    limit = "none; asks {} people at once, the first who is named"
    at_once = [
        {**row, "limit": limit.format(row["people"]), "opened": row["somebody_opened"]}
        for row in content["everybody_at_once"]
    ]
    columns: Columns = {
        **named("embedder", "limit", "questions"),
        "let in": lambda row: f"{row['opened']['k']} of {row['opened']['n']}",
        "cosine of those": "cosine",
        "another photo matches, FMR 1e-3": "sar2",
    }
    return [listed("Each limit", columns, [*content["rows"], *at_once])]


def collusion_tables(content: Row) -> list[Table]:
    """A table of each arm, of credentials that share the work, and of tries over two of them."""
    who = named("attacker", "deployment", "attack")
    arm: Columns = {
        **who,
        "worked": lambda row: counted(row["succeeded"]),
        "what the client was told": lambda row: row["told"] or None,
        "control": lambda row: counted(row["control"]),
    }
    shared: Columns = {
        **named("credentials", "time", "questions", "attack"),
        "let in": lambda row: counted(row["opened"]),
        "another photo matches": lambda row: counted(row["sar2"]),
        "of a crowd": lambda row: counted(row["of_a_crowd"]),
        "binds": "binds",
    }
    locked: Columns = {
        **who,
        "entries locked": lambda row: counted(row["locked"]),
        "control: not yet, a question before": lambda row: counted(row["control"]),
    }
    names = dict.fromkeys(row["arm"] for row in content["rows"])
    return [
        *(listed(name.capitalize(), arm, (row for row in content["rows"] if row["arm"] == name)) for name in names),
        listed("Several credentials", shared, content["credentials"]),
        listed("Tries, over two credentials", locked, content["together"]),
    ]

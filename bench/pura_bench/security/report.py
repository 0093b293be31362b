"""The page: what a person understands in a minute, then the tables; the JSON beside it holds the same numbers."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from pura_bench.report.others import worth
from pura_bench.security import arms
from pura_bench.security.photos import Cast, Crops

FACES = 6
BAD, GOOD = 0.2, 0.05
CLAIM = (
    "What it comes to: two servers and a decision bit remove the score channel from the network, the database and "
    "either server. They do not stop an authorised client from asking: some 200 decisions after the first that is yes "
    "describe a template. What bounds that is how seldom a stranger's vector is accepted (the thresholds, and centred "
    "embeddings), the tries and the budget of questions, so they are part of the product."
)
ORDER = (
    arms.NOTHING, arms.STOLEN, arms.PLAINTEXT, arms.ROUND_01, arms.ROUND_1, arms.BITS, arms.PUBLISHED_S2,
    arms.SPLIT_PUBLISHED, arms.PREPARED, arms.PREPARED_CENTRED, arms.PREPARED_BUDGET, arms.PREPARED_CENTRED_BUDGET,
    arms.PREPARED_LOCKOUT,
    arms.PREPARED_LOCKOUT_FIVE, arms.PREPARED_S1, arms.PREPARED_S2, arms.FOLDERS, arms.DISK_S1,
    arms.DISK_S2, arms.SPLIT_S1,
    arms.SPLIT_S2,
)  # fmt: skip


def render(data: dict[str, Any], work: Path, cast: Cast, *, faces: bool) -> str:
    """The HTML. Without `faces` it shows no photo of anybody."""
    rows = data["arms"]
    source = resources.files("pura_bench.security").joinpath("report.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    columns, pictures = _faces(rows, work, cast) if faces else ([], [])
    return environment.from_string(source).render(
        **{k: data[k] for k in ("when", "source", "victims", "known", "network", "threshold", "command", "critic")},
        summary=_in_a_minute(rows),
        claim=CLAIM,
        unfinished=_unfinished(data),
        faces=pictures,
        face_columns=columns,
        plot=_plot(rows),
        rows=[{**r, "verdicts": [_verdict(v) for v in r["verdicts"]]} for r in rows],
        tables=[t for t in _tables(data, rows) if t["rows"]],
        machine=" · ".join(f"{k}: {v}" for k, v in data["machine"].items()),
    )


def markdown(data: dict[str, Any]) -> str:
    """The numbers without any face, to be kept with a project."""
    rows = data["arms"]
    head = ["who answers, and what", "best attack of those tried", "questions", "passes as the enrolled photo",
            "as another photo", "fools the critic"]  # fmt: skip
    top = _in_a_minute(rows)
    lines = [
        "# What each deployment leaks",
        f"{data['source']}. {data['victims']} victims, {data['known']} photos of the attacker's people, "
        f"{data['eigenfaces']} eigenfaces, network {data['network']}, critic {data['critic']}; deployments match at a "
        f"cosine of {data['threshold']:.3f} (FMR 1e-3). {data['when']}.",
        f"    {data['command']}",
        f"{data['machine']['cpu']}, {data['machine']['cores']} cores.",
        "Success at FMR 1e-3 with Wilson's 95 % intervals:",
        _table(head, [[r[k] for k in ("deployment", "attack", "budget", "sar1", "sar2", "critic")] for r in top]),
        CLAIM,
        *([text] if (text := _unfinished(data)) else []),
        "## Every arm",
        _table(
            ["deployment", "attack", "questions", "n", "network", "similarity", "SAR-1 at 1e-2", "SAR-1 at 1e-3",
             "SAR-2 at 1e-2", "SAR-2 at 1e-3", "accuracy", "answered by"],
            [[r["deployment"], r["attack"], r["budget"], r["n"], *_verdict(v).values(), r["via"]]
             for r in rows for v in r["verdicts"]],
        ),
    ]  # fmt: skip
    for t in _tables(data, rows):
        if t["rows"]:
            lines += [f"## {t['title']}", t["text"], _table(t["head"], t["rows"])]
    curves = [r for r in rows if r.get("curve")]
    if curves:
        lines.append("## Similarity against questions (median, quartiles)")
        for r in curves:
            points = ", ".join(f"{p['budget']}: {p['median']:.3f} ({p['low']:.3f}–{p['high']:.3f})" for p in r["curve"])
            lines.append(f"{r['deployment']}, {r['attack']}, n = {r['n']}: {points}.")
    return "\n\n".join(lines) + "\n"


def _unfinished(data: dict[str, Any]) -> str:
    """Which arms this run left out or did not finish; what there is of them is shown."""
    return f"Left out or not finished in this run: {', '.join(data['unfinished'])}." if data["unfinished"] else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    out += ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows]
    return "\n".join(out)


def _in_a_minute(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_summary(name, rows) for name in ORDER if any(r["deployment"] == name for r in rows)]


def place(row: dict[str, Any]) -> tuple[int, str, int]:
    """Where a row stands among others."""
    name = row["deployment"]
    return (ORDER.index(name) if name in ORDER else len(ORDER), row["attack"], row["budget"])


def percent(rate: dict[str, Any]) -> str:
    """A rate with its interval."""
    return (
        f"{100 * rate['k'] / rate['n']:.0f} % ({100 * rate['low']:.0f}–{100 * rate['high']:.0f})" if rate["n"] else "-"
    )


def _verdict(v: dict[str, Any]) -> dict[str, str]:
    s = v["similarity"]
    return {
        "network": v["network"],
        "similarity": f"{s['median']:.3f} ({s['low']:.3f}–{s['high']:.3f})",
        "sar1_2": percent(v["sar1"]["0.01"]),
        "sar1_3": percent(v["sar1"]["0.001"]),
        "sar2_2": percent(v["sar2"]["0.01"]),
        "sar2_3": percent(v["sar2"]["0.001"]),
        "accuracy": f"{100 * v['accuracy']:.1f} %",
    }


def _summary(deployment: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The best attack of a deployment; of equally good ones the one with fewest questions."""
    own = [r for r in rows if r["deployment"] == deployment]
    if deployment == arms.NOTHING:
        own = [r for r in own if "random" in r["attack"]] or own
    best = max(own, key=worth)
    first, share = best["verdicts"][0], worth(best)[0]
    return {
        "deployment": deployment,
        "attack": best["attack"],
        "budget": best["budget"],
        "sar1": percent(first["sar1"]["0.001"]),
        "sar2": percent(first["sar2"]["0.001"]),
        "critic": percent(best["verdicts"][1]["sar1"]["0.001"]) if len(best["verdicts"]) > 1 else "-",
        "kind": "bad" if share > BAD else "good" if share <= GOOD else "some",
    }


# --- pictures ----------------------------------------------------------------------------------------


def _faces(rows: Sequence[dict[str, Any]], work: Path, cast: Cast) -> tuple[list[str], list[list[str]]]:
    shown = [r for r in rows if r["deployment"] != arms.NOTHING]
    stacks = [np.load(work / r["pictures"]) for r in shown]
    columns = ["enrolled", "another photo", *(f"{r['deployment']}: {r['attack']}, {r['budget']}" for r in shown)]
    out = []
    for i in range(min(FACES, len(cast.enrolled.crops))):
        cells = [cast.enrolled.crops[i], cast.mates.crops[i], *(s[i] if i < len(s) else None for s in stacks)]
        out.append([_uri(c) if c is not None else "" for c in cells])
    return columns, out


def _uri(crop: Crops) -> str:
    import cv2

    done, raw = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(raw.tobytes()).decode()


def _plot(rows: Sequence[dict[str, Any]]) -> str:
    curves = [r for r in rows if r.get("curve")]
    if not curves:
        return ""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4), dpi=110)
    for r in curves:
        x = [p["budget"] for p in r["curve"]]
        (line,) = axes.plot(
            x, [p["median"] for p in r["curve"]], label=f"{r['attack']}, {r['deployment']}, n = {r['n']}"
        )
        axes.fill_between(
            x, [p["low"] for p in r["curve"]], [p["high"] for p in r["curve"]], alpha=0.15, color=line.get_color()
        )
    axes.set(xscale="log", xlabel="questions about one victim", ylabel="cosine with the enrolled photo", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    buffer = io.BytesIO()
    figure.tight_layout()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


# --- tables ------------------------------------------------------------------------------------------


def _tables(data: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    accepts = {(r["deployment"], r["first_accept"]["probes"]): r["first_accept"] for r in rows if r.get("first_accept")}
    return [
        {
            "title": "Questions to the first accepted probe",
            "text": "A decision-only attack must first be let in: it tries photos of other people one after the other, "
            "or vectors that are close to as many of them as possible.",
            "head": ["deployment", "what is tried", "victims opened", "questions, median of those",
                     *(f"after {b}" for b in arms.ACCEPTED_BY)],
            "rows": [
                [d, probes, f"{a['found']} of {a['of']}", "-" if a["median"] is None else f"{a['median']:.0f}",
                 *(a["by"].get(str(b), "-") for b in arms.ACCEPTED_BY)] for (d, probes), a in accepts.items()
            ],
        },
        {
            "title": "Templates won by asking",
            "text": "Attacks in embedding space end with a template before any image is made: its cosine with the one "
            "that is enrolled.",
            "head": ["deployment", "attack", "questions", "cosine, median (quartiles)"],
            "rows": [
                [r["deployment"], r["attack"], r["budget"],
                 "{median:.3f} ({low:.3f}–{high:.3f})".format(**r["template_cosine"])] for r in data["templates"]
            ],
        },
        {
            "title": "Wholly through the servers",
            "text": "Real processes with mTLS, the client's own library. `Differ` counts answers that are not the "
            "decision in the clear, which for a lockout counts near questions, too: 0 means that the rest may use it.",
            "head": ["run", "engine", "victims", "questions", "compared", "differ", "refused", "ms a question",
                     "template's cosine at the end"],
            "rows": [
                [s["servers"], s["engine"], s["victims"], s["questions"], s.get("compared", "-"),
                    s.get("differed", "-"),
                 s.get("refused", "-"), s["ms_a_question"], s["template_cosine"]] for s in data["servers"]
            ],
        },
        {
            "title": "What a curious server's transcript gives",
            "text": "The same attacker, the same questions, everything that the server receives and opens. "
            "`Explained`: how much of the best number is predicted from the other questions; some is, by chance. "
            "Beside it: what somebody else's photo gives.",
            "head": ["transcript", "questions", "n", "numbers seen", "explained", "cosine of the template",
                     "at most", "95 % of guesses are below", "matches", "by guessing", "better than guessing"],
            "rows": [
                [t["transcript"], t["questions"], t["victims"], t["numbers"],
                 "{median:.2f} ({low:.2f}–{high:.2f})".format(**t["explained"]),
                 "{median:.3f} ({low:.3f}–{high:.3f})".format(**t["cosine"]), t["cosine_max"],
                 t["dictionary_cosine_95"], percent(t["matches"]), percent(t["dictionary"]),
                 "yes" if t["beats_dictionary"] else "no"] for t in data["transcripts"]
            ],
        },
        {
            "title": "Unlinkability of what is stored (D_sys)",
            "text": "0: two enrolments of one person look like those of two; 1: always told apart. By chance it is up "
            "to the floor, so a value below the floor is no finding.",
            "head": ["what", "score", "D_sys", "floor", "mated", "non-mated"],
            "rows": [
                [u["unlinkability"], u["score"], u["d_sys"], u["floor"], u["mated"], u["non_mated"]]
                for u in data["unlinkability"]
            ],
        },
        {
            "title": "What one server's share opens",
            "text": "One server tries to decrypt alone.",
            "head": ["where", "bits of N", "other share recovered", "ciphertexts opened"],
            "rows": [
                [k["opens"], k["bits"], "yes" if k["other_share"] else "no", f"{k['opened']} of {k['of']}"]
                for k in data["opens"]
            ],
        },
    ]  # fmt: skip

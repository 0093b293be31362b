"""What is protected from whom: attackers across, deployments down, and in each cell the best attack that is known.

Figures come from the result files and nowhere else. A cell without figures names the argument that simulates what the
attacker sees, or the test in which the attack is stopped; or says that nobody ran it.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections.abc import Callable, Iterable

from pura.attack.metrics import Rate
from pura_bench.report.tables import Row, counted

DEFAULT = "sface-mirrored"
"""The embedder of new collections."""


class Verdict(enum.Enum):
    """What a cell says, in a word."""

    READS = "reads templates"
    NOTHING = "nothing more than is public"
    NOT_RUN = "not run"


@dataclasses.dataclass(frozen=True)
class Cell:
    """attack: the best one known; spent: questions and enrolments; rate: of victims on whom it works; see: an argument
    in docs/, or tests."""

    verdict: Verdict
    attack: str
    spent: str = ""
    rate: Rate | None = None
    see: str = ""

    @property
    def share(self) -> str:
        """The rate with its n and interval."""
        return "" if self.rate is None else counted(dataclasses.asdict(self.rate), digits=0)


@dataclasses.dataclass(frozen=True)
class Matrix:
    """cells[i][j]: deployment i, attacker j."""

    attackers: list[str]
    deployments: list[str]
    cells: list[list[Cell]]

    @property
    def sources(self) -> list[str]:
        """What cells refer to, each once: they are numbered from 1."""
        return list(dict.fromkeys(cell.see for row in self.cells for cell in row if cell.see))

    def joined(self, deployment: int) -> list[tuple[list[str], Cell]]:
        """A row, neighbours that say the same joined: whose cell it is, and the cell."""
        pairs = zip(self.attackers, self.cells[deployment], strict=True)
        groups = itertools.groupby(pairs, key=lambda pair: pair[1])
        return [([name for name, _ in group], cell) for cell, group in groups]


ATTACKERS = [
    "an outsider",
    "a client that may ask",
    "a client that may ask and enrol",
    "several clients",
    "one server",
    "one server and clients",
    "one server's disk",
    "both disks, without keys",
    "S1, deviating",
    "S2, deviating",
]
DEPLOYMENTS = [
    "plaintext, answers a score",
    "plaintext, answers a decision",
    "Pura, engine published",
    "Pura, engine prepared, no limit on tries",
    "Pura, engine prepared, as init writes it",
]


def matrix(contents: Iterable[Row]) -> Matrix:
    """The matrix, from all result files that there are. A figure whose file is missing is "not run"."""
    kinds = ("security", "asking", "defended", "rights", "collusion")
    found: Found = {}
    for content in contents:
        if content["kind"] in kinds:
            arms = found.get(content["kind"], {}).get("arms", [])  # the arms of several runs are read together
            found[content["kind"]] = {**content, "arms": [*arms, *content.get("arms", [])]}
    rows = [_score(found), _decision(found), _published(found), _unlimited(found), _defaults(found)]
    return Matrix(list(ATTACKERS), list(DEPLOYMENTS), rows)


# --- the rows -----------------------------------------------------------------------------------------

Found = dict[str, Row]
OUTSIDE = Cell(Verdict.NOTHING, "gets no further than the handshake", see="tests/grpc/test_hostile.py; hostile.md")


def _score(found: Found) -> list[Cell]:
    asks = _arm(found, "plaintext, score", "linear, then inversion", 500)
    reads = _arm(found, "stolen plaintext database", "inversion", 0)
    return [OUTSIDE, asks, asks, asks, *[reads] * 6]


def _decision(found: Found) -> list[Cell]:
    asks = _asked(found)
    reads = _arm(found, "stolen plaintext database", "inversion", 0)
    return [OUTSIDE, asks, _ruler(found), asks, *[reads] * 6]


def _published(found: Found) -> list[Cell]:
    s2 = _arm(found, "published engine, curious S2", "regression on what SCMP shows, then inversion", 500)
    alone = dataclasses.replace(s2, attack=f"S2: {s2.attack}", see="docs/security/published.md")
    see = "SECURITY.md, What was wrong during 0.1; collusion.json, without proofs"
    friends = Cell(Verdict.READS, "submits ciphertexts that it did not make", see=see)
    disk = Cell(Verdict.NOTHING, "shares of a key, ciphertexts", see="docs/security/published.md")
    asks = _asked(found)
    return [OUTSIDE, asks, _ruler(found), asks, alone, friends, disk, disk, friends, friends]


def _unlimited(found: Found) -> list[Cell]:
    asks = _asked(found)
    return _prepared(found, asks, dataclasses.replace(asks, attack=f"the same, shared out: {asks.attack}"))


def _defaults(found: Found) -> list[Cell]:
    return _prepared(found, _searched(found), _together(found))


def _prepared(found: Found, asks: Cell, several: Cell) -> list[Cell]:
    see = "docs/security/prepared.md"
    alone = Cell(Verdict.NOTHING, "simulated without the other's secrets", see=f"{see}; views.json")
    disk = Cell(Verdict.NOTHING, "uniform numbers", see=see)
    deviating = [_deviates(found, server) for server in ("S1", "S2")]
    return [OUTSIDE, asks, _ruler(found), several, alone, _friends(found), disk, disk, *deviating]


# --- figures ------------------------------------------------------------------------------------------


def _arm(found: Found, deployment: str, attack: str, budget: int) -> Cell:
    def read(content: Row) -> Cell:
        wanted = deployment, attack, budget
        (row,) = (r for r in content["arms"] if (r["deployment"], r["attack"], r["budget"]) == wanted)
        spent = f"{budget:,} questions" if budget else "no question"
        return Cell(Verdict.READS, attack, spent, _rate(row["verdicts"][0]["sar1"]["0.001"]), "security.json")

    return _read(found, "security", attack, read)


def _ruler(found: Found) -> Cell:
    """Distances by entries of one's own, and what they tell together; rights apart and budgets bound it."""
    attack = "a ruler of its own entries, then linear algebra"

    def read(content: Row) -> Cell:
        row = _most(row for row in content["rows"] if row["arm"] == "ruler, then linear")
        spent = f"{row['questions']:,} questions and as many enrolments"
        see = "rights.json; tests/grpc/test_ruler.py: stopped where rights are apart, bounded by the enrolments' budget"
        return Cell(Verdict.READS, attack, spent, _rate(row["sar2"]), see)

    return _read(found, "rights", attack, read)


def _asked(found: Found) -> Cell:
    """By decisions alone, without a limit."""
    attack = "belief by decisions"

    def read(content: Row) -> Cell:
        row = _most(r for r in content["rows"] if r["embedder"] == DEFAULT and r["limit"] == "none")
        return Cell(Verdict.READS, attack, f"{row['questions']:,} questions", _rate(row["sar2"]), "asking.json")

    return _read(found, "asking", attack, read)


def _searched(found: Found) -> Cell:
    """By identify, which counts nothing."""

    def read(content: Row) -> Cell:
        row = next(r for r in content["identify"] if r["embedder"] == DEFAULT)
        median = row["somebody_named_quartiles"][1]
        attack = f"searches {row['people']} people until somebody is named, then belief by decisions"
        return Cell(Verdict.READS, attack, f"{median:,} questions to the first name (median)", None, "defended.json")

    return _read(found, "defended", "search, then belief by decisions", read)


def _together(found: Found) -> Cell:
    """Sixteen credentials for a month, by identify; by verify `tries` count what all of them ask."""

    def read(content: Row) -> Cell:
        rows = [r for r in content["credentials"] if (r["credentials"], r["time"]) == (16, "30 days")]
        by = {row["attack"].split()[-1]: row for row in rows}
        verify = by["verify"]["sar2"]
        attack = (
            "16 credentials search for 30 days, then belief by decisions; "
            f"by verify, which counts: {verify['k']} of {verify['n']}"
        )
        return Cell(Verdict.READS, attack, "", _rate(by["identify"]["sar2"]), "collusion.json")

    return _read(found, "collusion", "16 credentials share the work", read)


def _friends(found: Found) -> Cell:
    """The chosen ciphertexts, on the product; they work on builds without proofs."""
    attack = "its clients' answers, and nothing else: simulated with their secrets; the four attacks of 0.1 work"

    def read(content: Row) -> Cell:
        rows = [r for r in content["rows"] if r["arm"] == "chosen ciphertexts" and "product" in r["deployment"]]
        return Cell(Verdict.NOTHING, attack, "", _all_of(rows), "docs/security/proof.md; collusion.json")

    return _read(found, "collusion", attack, read)


def _deviates(found: Found, who: str) -> Cell:
    """What a deviating server gets with a client that may ask; alone it turns answers. Other lies are noticed."""
    attack = (
        "with a client: shifts keys by halves; alone: an answer names whom it likes; forged or old ones are noticed"
    )

    def read(content: Row) -> Cell:
        rows = [r for r in content["rows"] if r["attacker"].startswith(who) and "exact template" in r["attack"]]
        return Cell(Verdict.READS, attack, "", _all_of(rows), "SECURITY.md, What a client notices; collusion.json")

    return _read(found, "collusion", attack, read)


def _read(found: Found, kind: str, attack: str, read: Callable[[Row], Cell]) -> Cell:
    if kind not in found:
        return Cell(Verdict.NOT_RUN, attack, see=f"{kind}.json")
    try:
        return read(found[kind])
    except (StopIteration, ValueError):  # a run that left it out
        return Cell(Verdict.NOT_RUN, attack, see=f"{kind}.json")


def _most(rows: Iterable[Row]) -> Row:
    """The row of the most questions. Raises `ValueError` for none."""
    return max(rows, key=lambda row: int(row["questions"]))


def _all_of(rows: list[Row]) -> Rate:
    """The tries of many rows together. Raises `ValueError` for none."""
    if not rows:
        raise ValueError
    return Rate.count(*(sum(int(row["succeeded"][name]) for row in rows) for name in ("k", "n")))


def _rate(rate: Row) -> Rate:
    return Rate(int(rate["k"]), int(rate["n"]), float(rate["low"]), float(rate["high"]))

"""From what a curious server noted to numbers, question by question; see `pura.attack.transcript`."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.attack.oracle import Floats

QUESTION = ("QuestionOpen", "MatchOpen", "Sealed", "OpenReply")
"""A session with one of these messages answers a question; others are enrolments and offline work."""
WORDS = 64
MOST = 6_000


def sessions_of(lines: Iterable[str]) -> list[list[dict[str, Any]]]:
    """The notes of each question, in the order in which questions began."""
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        note = json.loads(line)
        groups[note["session"]].append(note)
    return [notes for _, notes in sorted(groups.items()) if any(n.get("kind") in QUESTION for n in notes)]


def features_of(
    questions: list[list[dict[str, Any]]], n: int, matches: Sequence[bool], *, only: str | None = None
) -> tuple[Floats, NDArray[np.bool_]]:
    """A row for each question that was answered "no match", and which of all they are.

    Opened plaintexts as they are, as logarithms, and as their distance from N/2; of each message its length, its mean
    byte, its bits that are set, and its first words. `only`: of one protocol, for an attacker who knows where to look.

    What a match says the client knows without any transcript; it is left out, so that it is not taken for a leak.
    """
    if only is not None:
        questions = [[note for note in notes if note.get("protocol") == only] for notes in questions]
    rows = [_numbers(notes, n // 2) for notes, match in zip(questions, matches, strict=True) if not match]
    common = sorted(set.intersection(*(set(row) for row in rows))) if rows else []
    out = np.array([[row[name] for name in common] for row in rows], np.float64)
    return out[:, :MOST], ~np.asarray(matches, bool)


def _numbers(notes: list[dict[str, Any]], half: int) -> dict[tuple[int, str, int, int], float]:
    seen: dict[str, int] = defaultdict(int)
    out: dict[tuple[int, str, int, int], float] = {}
    for note in notes:
        name = str(note.get("protocol") or note.get("kind"))
        turn, seen[name] = seen[name], seen[name] + 1
        if note["what"] == "opened":
            for i, text in enumerate(note["values"]):
                value = int(text)
                # opened numbers come first: they are what a comparison would leak through
                edge = half - abs(value)
                out[0, name, turn, 4 * i] = _log(value)
                out[0, name, turn, 4 * i + 1] = _log(edge)
                out[0, name, turn, 4 * i + 2] = float(value) if abs(value) < 1 << 200 else float(value > 0)
                out[0, name, turn, 4 * i + 3] = float(edge) if abs(edge) < 1 << 200 else _log(edge)
        else:
            raw = np.frombuffer(bytes.fromhex(note["body"]), np.uint8)
            words = np.frombuffer(raw.tobytes()[: 8 * (len(raw) // 8)], ">u8")[:WORDS].astype(np.float64)
            numbers = [float(len(raw)), float(raw.mean()), float(np.unpackbits(raw).mean()), *words.tolist()]
            out.update({(1, name, turn, i): x for i, x in enumerate(numbers)})
    return out


def _log(value: int) -> float:
    shift = max(0, abs(value).bit_length() - 60)
    return math.log2((abs(value) >> shift) + 1) + shift

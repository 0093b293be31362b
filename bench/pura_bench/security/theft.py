"""What lies on disks and in shares of a key: whether it can be opened, and whether it can be linked."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pura.attack import keysplit
from pura.attack.metrics import unlinkability
from pura.attack.oracle import Floats, unit
from pura.bigint import Integer
from pura.crypto.keys import load_share
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import KeyShare
from pura.ids import Engine, Party
from pura.params import DEFAULT_SCALE
from pura_bench.security.arms import (
    CIPHERTEXTS,
    DISK_S1,
    DISK_S2,
    NOTHING_OPENED,
    SPLIT_PUBLISHED,
    SPLIT_S1,
    SPLIT_S2,
    STOLEN,
    Stage,
)
from pura_bench.security.lab import Lab

TOY_BITS = 1024
DISK, MADE_KEY = "read from the disk", "a key made for it"


def disks(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """Each victim is enrolled twice, with two photos. Do the ciphertexts open, alone or with the share that lies beside
    them; and can it be told which two belong together (D_sys, and what it would be by chance)?"""
    pk = lab.keys.public
    both = np.concatenate([stage.enrolled, stage.cast.mates.embeddings])
    count = len(stage.enrolled)
    with lab.deploy(Engine.PACKED, gallery=both) as deployment:
        folder = deployment.folder
    stored = {side: _entries(folder / side / "data" / "gallery.db") for side in ("s1", "s2")}
    first = [int.from_bytes(body[: pk.ciphertext_bytes], "big") for body, _ in stored["s1"][:count]]
    rows = [stage.row(CIPHERTEXTS, NOTHING_OPENED, 0, stage.guesses(), DISK)]
    for name, side, party in ((DISK_S1, "s1", Party.S1), (DISK_S2, "s2", Party.S2)):
        rows += _alone(stage, lab, name, load_share(folder / side / f"{side}.share", pk, party), first, DISK)
    same, other = _pairs(count)
    a, b = unit(stage.enrolled), unit(stage.cast.mates.embeddings)
    what = {
        (STOLEN, "the embeddings' cosine"): (a @ b.T).astype(np.float64),
        (CIPHERTEXTS, "a template's ciphertexts, equal bits"): _bits([body for body, _ in stored["s1"]], count),
        (DISK_S1, "its share of the norm, difference"): _differences([share for _, share in stored["s1"]], count),
        (DISK_S2, "its share of the norm, difference"): _differences([share for _, share in stored["s2"]], count),
    }
    return rows + [_linked(where, how, score[same], score[other]) for (where, how), score in what.items()]


def _alone(
    stage: Stage, lab: Lab, name: str, share: KeyShare, ciphertexts: Sequence[Integer], via: str
) -> list[dict[str, Any]]:
    """One server tries to open ciphertexts with its share. What it opens is counted; it has no face from it."""
    opened = keysplit.decrypt_ours_alone(lab.keys.public, share, ciphertexts)
    count = sum(m is not None for m in opened)
    return [
        stage.row(name, NOTHING_OPENED if count == 0 else "what its share opens", 0, stage.guesses(), via),
        {"opens": name, "bits": lab.keys.public.n_bits, "opened": count, "of": len(opened), "other_share": False},
    ]


def _entries(file: Path) -> list[tuple[bytes, bytes]]:
    """The row ciphertexts and the norm share of each entry, oldest first."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT body, norm_share FROM entry ORDER BY seq").fetchall()
    db.close()
    return [(bytes(body), bytes(share)) for body, share in rows]


def _pairs(count: int) -> tuple[Any, Any]:
    same = np.eye(count, dtype=bool)
    return same, ~same


def _bits(stored: list[bytes], count: int) -> Floats:
    """The share of equal bits of each first entry with each second one."""
    bits = np.array([np.unpackbits(np.frombuffer(raw, np.uint8)) for raw in stored]).astype(np.float32) * 2 - 1
    out: Floats = bits[:count] @ bits[count:].T / bits.shape[1]
    return out


def _differences(stored: list[bytes], count: int) -> Floats:
    """Minus the distance of two shares modulo 2^64."""
    values = np.array([int.from_bytes(raw[-8:], "big") for raw in stored], np.uint64)
    gap = values[:count, None] - values[None, count:]
    out: Floats = -np.minimum(gap, np.uint64(0) - gap).astype(np.float64)
    return out


def _linked(where: str, how: str, mated: Floats, non_mated: Floats) -> dict[str, Any]:
    got = unlinkability(mated, non_mated)
    return {"unlinkability": where, "score": how, **{k: round(v, 4) for k, v in dataclasses.asdict(got).items()}}


def key_split(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """The published split undone by S2, on a key made by the published formula, with every template under it; the same
    attack on ours."""
    rng, pk = SystemRng(), lab.keys.public
    toy = keysplit.published_keys(TOY_BITS, rng)
    templates = np.rint(DEFAULT_SCALE * unit(stage.enrolled)).astype(np.int64)
    theirs = [
        [keysplit.decrypt_alone(toy.n, toy.sk2, keysplit.published_encrypt(toy.n, int(x), rng)) for x in template]
        for template in templates
    ]
    right = sum(
        m == int(x) for row, template in zip(theirs, templates, strict=True) for m, x in zip(row, template, strict=True)
    )
    got = np.array([[m or 0 for m in row] for row in theirs], np.float64)
    made = stage.invert(got, "templates opened by S2 of the published split")
    rows = [
        stage.row(SPLIT_PUBLISHED, "decryption alone, then inversion", 0, made, MADE_KEY, templates=got),
        {
            "opens": SPLIT_PUBLISHED,
            "bits": TOY_BITS,
            "opened": right,
            "of": templates.size,
            "other_share": bool(keysplit.recover_sk1(toy.n, toy.sk2) == toy.sk1),
        },
    ]
    ours = [pk.encrypt(int(template[0]), rng) for template in templates]
    for name, share in ((SPLIT_S1, lab.keys.s1), (SPLIT_S2, lab.keys.s2)):
        rows += _alone(stage, lab, name, share, ours, MADE_KEY)
    return rows


ARMS = {"keysplit": key_split, "disks": disks}

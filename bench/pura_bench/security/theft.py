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
from pura.crypto.encoding import quantise_many
from pura.crypto.keys import load_share
from pura.crypto.maskfile import load_masks
from pura.crypto.paillier import PublicKey
from pura.crypto.rng import SystemRng
from pura.crypto.threshold import KeyShare
from pura.ids import Engine, Party
from pura.params import DEFAULT_SCALE, Params
from pura.protocols.prepared.correlations import SLOTS
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.template import seal_template
from pura_bench.security.arms import (
    DISK_S1,
    DISK_S2,
    FOLDERS,
    NOTHING_OPENED,
    SPLIT_PUBLISHED,
    SPLIT_S1,
    SPLIT_S2,
    STOLEN,
    Stage,
)
from pura_bench.security.lab import Lab
from pura_server.prepared.gallery import entry_masks, load_rows
from pura_server.prepared.slots import MASKING

TOY_BITS = 1024
DISK, MADE_KEY = "read from the disk", "a key made for it"


def disks(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """Each victim is enrolled twice, with two photos. Do templates on their way open with the share that lies on a
    server's disk; and can it be told which two entries belong together, by E, which both servers have, and with the
    masks of one of them (D_sys, and what it would be by chance)?"""
    pk = lab.keys.public
    both = np.concatenate([stage.enrolled, stage.cast.mates.embeddings])
    count = len(stage.enrolled)
    with lab.deploy(Engine.PREPARED, gallery=both) as deployment:
        folder, params = deployment.folder, deployment.params
    rng = SystemRng()
    sent = [seal_template(pk, params, y, rng).ciphertexts[0] for y in quantise_many(stage.enrolled, params)]
    rows = [stage.row(FOLDERS, NOTHING_OPENED, 0, stage.guesses(), DISK)]
    for name, side, party in ((DISK_S1, "s1", Party.S1), (DISK_S2, "s2", Party.S2)):
        rows += _alone(stage, lab, name, load_share(folder / side / f"{side}.share", pk, party), sent, DISK)
    same, other = _pairs(count)
    a, b = unit(stage.enrolled), unit(stage.cast.mates.embeddings)
    what = {
        (STOLEN, "the embeddings' cosine"): (a @ b.T).astype(np.float64),
        (FOLDERS, "E of an entry, equal bits"): _bits([body for body, *_ in _entries(folder, Party.S1)], count),
        (DISK_S1, "E and its own masks, cosine"): _cosines(_unmasked(folder, Party.S1, pk, params), count),
        (DISK_S2, "E and its own masks, cosine"): _cosines(_unmasked(folder, Party.S2, pk, params), count),
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


def _entries(folder: Path, party: Party) -> list[tuple[bytes, int, int, bytes]]:
    """E, block, slot and how it is masked of each entry, oldest first."""
    file = folder / party.name.lower() / "data" / "gallery.db"
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT body, block, slot, masking FROM entry ORDER BY seq").fetchall()
    db.close()
    return [(bytes(body), int(block), int(slot), bytes(how)) for body, block, slot, how in rows]


def _unmasked(folder: Path, party: Party, pk: PublicKey, params: Params) -> Floats:
    """What one server can make of its entries: E + B_p, as numbers around 0, (n, D)."""
    sizes, entries = Sizes.of(params), _entries(folder, party)
    keys = load_masks(folder / party.name.lower() / f"{party.name.lower()}.masks", party, pk.key_id)
    places = np.array([block * SLOTS + slot for _, block, slot, _ in entries], np.int64)
    masking = np.frombuffer(b"".join(how for *_, how in entries), MASKING)
    e = load_rows([body for body, *_ in entries], sizes.dimension, sizes.key_bits)
    half = 1 << (sizes.key_bits - 1)
    shifted = (e + entry_masks(keys, party, sizes, places, masking) + np.uint32(half)) & np.uint32(2 * half - 1)
    out: Floats = shifted.astype(np.float64) - half
    return out


def _pairs(count: int) -> tuple[Any, Any]:
    same = np.eye(count, dtype=bool)
    return same, ~same


def _bits(stored: list[bytes], count: int) -> Floats:
    """The share of equal bits of each first entry with each second one."""
    bits = np.array([np.unpackbits(np.frombuffer(raw, np.uint8)) for raw in stored]).astype(np.float32) * 2 - 1
    out: Floats = bits[:count] @ bits[count:].T / bits.shape[1]
    return out


def _cosines(rows: Floats, count: int) -> Floats:
    """The cosine of each first entry with each second one."""
    out: Floats = unit(rows[:count]) @ unit(rows[count:]).T
    return out


def _linked(where: str, how: str, mated: Floats, non_mated: Floats) -> dict[str, Any]:
    got = unlinkability(mated, non_mated)
    return {"unlinkability": where, "score": how, **{k: round(v, 4) for k, v in dataclasses.asdict(got).items()}}


def key_split(stage: Stage, lab: Lab) -> list[dict[str, Any]]:
    """The published split undone by S2, on a key made by the published formula, with every template under it; the same
    attack on ours."""
    rng, pk = SystemRng(), lab.keys.public
    toy = keysplit.published_keys(TOY_BITS, rng)
    pk = lab.keys.public
    params = Params(pk.key_id, pk.n_bits, dimension=stage.enrolled.shape[1], scale=DEFAULT_SCALE)
    templates = quantise_many(stage.enrolled, params)
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

"""What lies on disks and in shares of a key: whether it can be opened, and whether it can be linked."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Sequence
from pathlib import Path

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
from pura.ids import Party
from pura.params import DEFAULT_SCALE, Params
from pura.protocols.prepared.correlations import SLOTS
from pura.protocols.prepared.sizes import Sizes
from pura.protocols.prepared.template import seal_template
from pura_bench.security.arms import Row, Stage, Where
from pura_server.prepared.gallery import entry_masks, load_rows
from pura_server.prepared.slots import MASKING

NOTHING_OPENED = "nothing is opened, so a guess: somebody else's photo"
TOY_BITS = 1024
DISK, MADE_KEY = "read from the disk", "a key made for it"


def disks(stage: Stage) -> list[Row]:
    """Each victim is enrolled twice, with two photos. Do templates on their way open with the share that lies on a
    server's disk; and can it be told which two entries belong together, by E, which both servers have, and with the
    masks of one of them (D_sys, and what it would be by chance)?"""
    pk, mates = stage.keys_for().public, stage.cast.mates.embeddings
    with stage.deploy(gallery=np.concatenate([stage.enrolled, mates])) as deployment:
        folder, params = deployment.folder, deployment.params
    rng = SystemRng()
    sent = [seal_template(pk, params, y, rng).ciphertexts[0] for y in quantise_many(stage.enrolled, params)]
    rows = [stage.row(Where.FOLDERS, NOTHING_OPENED, 0, stage.guesses(), DISK)]
    stored = np.array([np.unpackbits(np.frombuffer(body, np.uint8)) for body, *_ in _entries(folder, Party.S1)])
    compared = [
        (Where.STOLEN, "the embeddings' cosine", unit(np.concatenate([stage.enrolled, mates]))),
        (Where.FOLDERS, "E of an entry, equal bits", stored.astype(np.float32) * 2 - 1),
    ]
    for where, party in ((Where.DISK_S1, Party.S1), (Where.DISK_S2, Party.S2)):
        rows += _alone(stage, where, load_share(_on_disk(folder, party, "share"), pk, party), sent, DISK)
        compared.append((where, "E and its own masks, cosine", unit(_unmasked(folder, party, pk, params))))
    same = np.eye(len(stage.enrolled), dtype=bool)
    for where, how, vectors in compared:
        first, second = np.split(vectors, 2)
        score = first @ second.T
        found = dataclasses.asdict(unlinkability(score[same], score[~same]))
        rows.append({"unlinkability": where, "score": how, **{k: round(v, 4) for k, v in found.items()}})
    return rows


def _alone(stage: Stage, where: Where, share: KeyShare, ciphertexts: Sequence[Integer], via: str) -> list[Row]:
    """One server tries to open ciphertexts with its share. What it opens is counted; it has no face from it."""
    pk = stage.keys_for().public
    opened = keysplit.decrypt_ours_alone(pk, share, ciphertexts)
    count = sum(m is not None for m in opened)
    return [
        stage.row(where, NOTHING_OPENED if count == 0 else "what its share opens", 0, stage.guesses(), via),
        {"opens": where, "bits": pk.n_bits, "opened": count, "of": len(opened), "other_share": False},
    ]


def _on_disk(folder: Path, party: Party, kind: str) -> Path:
    """A server's share or masks."""
    side = party.name.lower()
    return folder / side / f"{side}.{kind}"


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
    keys = load_masks(_on_disk(folder, party, "masks"), party, pk.key_id)
    places = np.array([block * SLOTS + slot for _, block, slot, _ in entries], np.int64)
    masking = np.frombuffer(b"".join(how for *_, how in entries), MASKING)
    e = load_rows([body for body, *_ in entries], sizes.dimension, sizes.key_bits)
    half = 1 << (sizes.key_bits - 1)
    shifted = (e + entry_masks(keys, party, sizes, places, masking) + np.uint32(half)) & np.uint32(2 * half - 1)
    out: Floats = shifted.astype(np.float64) - half
    return out


def key_split(stage: Stage) -> list[Row]:
    """The published split undone by S2, on a key made by the published formula, with every template under it; the same
    attack on ours."""
    rng, keys = SystemRng(), stage.keys_for()
    pk, toy = keys.public, keysplit.published_keys(TOY_BITS, rng)
    params = Params(pk.key_id, pk.n_bits, dimension=stage.enrolled.shape[1], scale=DEFAULT_SCALE)
    templates = quantise_many(stage.enrolled, params)
    numbers = [int(x) for x in templates.flat]
    theirs = [keysplit.decrypt_alone(toy.n, toy.sk2, keysplit.published_encrypt(toy.n, x, rng)) for x in numbers]
    got = np.array([m or 0 for m in theirs], np.float64).reshape(templates.shape)
    made = stage.invert(got, "templates opened by S2 of the published split")
    rows = [
        stage.row(Where.SPLIT_PUBLISHED, "decryption alone, then inversion", 0, made, MADE_KEY, got),
        {
            "opens": Where.SPLIT_PUBLISHED,
            "bits": TOY_BITS,
            "opened": sum(m == x for m, x in zip(theirs, numbers, strict=True)),
            "of": templates.size,
            "other_share": bool(keysplit.recover_sk1(toy.n, toy.sk2) == toy.sk1),
        },
    ]
    ours = [pk.encrypt(int(template[0]), rng) for template in templates]
    for where, share in ((Where.SPLIT_S1, keys.s1), (Where.SPLIT_S2, keys.s2)):
        rows += _alone(stage, where, share, ours, MADE_KEY)
    return rows


ARMS = {"keysplit": key_split, "disks": disks}

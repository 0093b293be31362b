"""The peers: what is installed for each, and what it protects from whom."""

from __future__ import annotations

import dataclasses
from typing import Any

TENSEAL = ("tenseal==0.3.18", "numpy==2.4.6")
SPU = ("spu==0.9.5", "numpy==1.26.4", "jax[cpu]==0.4.34")
CRYPTEN = ("torch==2.13.0", "numpy==2.4.6", "onnx==1.23.2", "omegaconf==2.4.0", "pyyaml==6.0.4")
OPENFHE = (
    ("3.10", ("openfhe==1.6.1.0.22.4", "numpy==2.2.6")),
    ("3.12", ("openfhe==1.2.3.0.24.4", "numpy==2.4.6")),
)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a way to match gives up. The first four: whether that is computed without showing anything, "yes" or
    "no: why"."""

    query: str
    gallery: str
    minimum: str
    threshold: str
    score_known_to: str
    trust: str


PLAIN_GALLERY = Facts(
    query="yes",
    gallery="no: plaintext at the server",
    minimum="no: by the client, in the clear",
    threshold="no: by the client",
    score_known_to="the client, all M",
    trust="one server; the client holds the only key",
)
CLIENTS_KEY = dataclasses.replace(
    PLAIN_GALLERY,
    gallery="yes, under the client's own key",
    trust="one server; every client holds the key of the whole gallery",
)
OPENED_BY_BOTH = Facts(
    query="yes",
    gallery="yes",
    minimum="no: all scores are opened",
    threshold="no: after opening",
    score_known_to="whoever combines the decryptions, all M",
    trust="two key holders; both must take part to open",
)
SHARED = Facts(
    query="yes, shared",
    gallery="yes, shared",
    minimum="yes",
    threshold="yes",
    score_known_to="nobody",
    trust="two servers that do not collude, no helper",
)
DEALER = dataclasses.replace(
    SHARED,
    trust="two servers and a trusted dealer of triples, played by the first server: it could open everything",
)


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to match under encryption, and what it gives up.

    packages: pinned requirements; loose: those installed without what they ask for; builds: pins by the version of
    CPython for peers that have wheels for some versions only; slow: rough CPU seconds an entry and query, to leave out
    sizes that would take too long.
    """

    name: str
    title: str
    script: str
    environment: str
    packages: tuple[str, ...]
    facts: Facts
    loose: tuple[str, ...] = ()
    builds: tuple[tuple[str, tuple[str, ...]], ...] = ()
    slow: float = 0.0


PEERS: tuple[Peer, ...] = (
    Peer("seal", "SEAL CKKS, diagonals", "seal_ckks", "tenseal", TENSEAL, PLAIN_GALLERY),
    Peer(
        "seal-encrypted",
        "SEAL CKKS, diagonals, encrypted gallery",
        "seal_ckks_encrypted",
        "tenseal",
        TENSEAL,
        CLIENTS_KEY,
    ),
    Peer("tenseal", "TenSEAL, as its tutorials", "tenseal_tutorial", "tenseal", TENSEAL, CLIENTS_KEY, slow=0.02),
    Peer(
        "openfhe",
        "OpenFHE CKKS, 2-of-2 threshold keys",
        "openfhe_threshold",
        "openfhe",
        (),
        OPENED_BY_BOTH,
        builds=OPENFHE,
    ),
    Peer(
        "phe",
        "phe (Paillier), plaintext gallery",
        "phe_plain",
        "phe",
        ("phe==1.5.0", "gmpy2==2.3.2", "numpy==2.4.6"),
        PLAIN_GALLERY,
        slow=0.025,
    ),
    Peer("crypten", "CrypTen, two parties", "crypten_2pc", "crypten", CRYPTEN, DEALER, loose=("crypten==0.4.1",)),
    Peer("spu-semi2k", "SPU semi2k", "spu_semi2k", "spu", SPU, DEALER),
    Peer("spu-cheetah", "SPU Cheetah", "spu_cheetah", "spu", SPU, SHARED),
)

QUOTED: tuple[dict[str, Any], ...] = (
    {
        "name": "mp-spdz",
        "title": "MP-SPDZ semi2k (quoted)",
        "entries": 1000,
        "dimension": 128,
        "wall_s": 1.08,
        "bytes_peer": 268_000_000,
        **dataclasses.asdict(SHARED),
        "note": "Not measured in this run: it is no Python package. Measured before on this kind of machine, idle.",
    },
)
"""Figures that are known from elsewhere; the tables mark them as quoted."""


def row(name: str, title: str, shape: tuple[int, int], packages: tuple[str, ...], facts: Facts) -> dict[str, Any]:
    """A row of the result without figures. shape: of the gallery, (M, D)."""
    entries, dimension = shape
    about = {"name": name, "title": title, "entries": entries, "dimension": dimension, "packages": list(packages)}
    return about | dataclasses.asdict(facts)

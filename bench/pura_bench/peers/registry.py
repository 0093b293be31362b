"""The peers: what is installed for each, and what it protects from whom."""

from __future__ import annotations

import dataclasses

TENSEAL = ("tenseal==0.3.18", "numpy==2.4.6")
SPU = ("spu==0.9.5", "numpy==1.26.4", "jax[cpu]==0.4.34")


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
    packages: tuple[str, ...]
    query: str
    gallery: str
    minimum: str
    threshold: str
    score_known_to: str
    trust: str
    environment: str
    loose: tuple[str, ...] = ()
    builds: tuple[tuple[str, tuple[str, ...]], ...] = ()
    slow: float = 0.0

    @property
    def protects_all(self) -> bool:
        """Query, gallery, minimum and threshold are all computed without showing anything."""
        return all(text.startswith("yes") for text in (self.query, self.gallery, self.minimum, self.threshold))


PEERS: tuple[Peer, ...] = (
    Peer(
        name="seal",
        title="SEAL CKKS, diagonals",
        script="seal_ckks",
        packages=TENSEAL,
        query="yes",
        gallery="no: plaintext at the server",
        minimum="no: by the client, in the clear",
        threshold="no: by the client",
        score_known_to="the client, all M",
        trust="one server; the client holds the only key",
        environment="tenseal",
    ),
    Peer(
        name="seal-encrypted",
        title="SEAL CKKS, diagonals, encrypted gallery",
        script="seal_ckks_encrypted",
        packages=TENSEAL,
        query="yes",
        gallery="yes, under the client's own key",
        minimum="no: by the client, in the clear",
        threshold="no: by the client",
        score_known_to="the client, all M",
        trust="one server; every client holds the key of the whole gallery",
        environment="tenseal",
    ),
    Peer(
        name="tenseal",
        title="TenSEAL, as its tutorials",
        script="tenseal_tutorial",
        packages=TENSEAL,
        query="yes",
        gallery="yes, under the client's own key",
        minimum="no: by the client, in the clear",
        threshold="no: by the client",
        score_known_to="the client, all M",
        trust="one server; every client holds the key of the whole gallery",
        environment="tenseal",
        slow=0.02,
    ),
    Peer(
        name="openfhe",
        title="OpenFHE CKKS, 2-of-2 threshold keys",
        script="openfhe_threshold",
        packages=(),
        query="yes",
        gallery="yes",
        minimum="no: all scores are opened",
        threshold="no: after opening",
        score_known_to="whoever combines the decryptions, all M",
        trust="two key holders; both must take part to open",
        environment="openfhe",
        builds=(
            ("3.10", ("openfhe==1.6.1.0.22.4", "numpy==2.2.6")),
            ("3.12", ("openfhe==1.2.3.0.24.4", "numpy==2.4.6")),
        ),
    ),
    Peer(
        name="phe",
        title="phe (Paillier), plaintext gallery",
        script="phe_plain",
        packages=("phe==1.5.0", "gmpy2==2.3.2", "numpy==2.4.6"),
        query="yes",
        gallery="no: plaintext at the server",
        minimum="no: by the client, in the clear",
        threshold="no: by the client",
        score_known_to="the client, all M",
        trust="one server; the client holds the only key",
        environment="phe",
        slow=0.025,
    ),
    Peer(
        name="crypten",
        title="CrypTen, two parties",
        script="crypten_2pc",
        packages=("torch==2.13.0", "numpy==2.4.6", "onnx==1.23.2", "omegaconf==2.4.0", "pyyaml==6.0.4"),
        loose=("crypten==0.4.1",),
        query="yes, shared",
        gallery="yes, shared",
        minimum="yes",
        threshold="yes",
        score_known_to="nobody",
        trust="two servers and a trusted dealer of triples, played by the first server: it could open everything",
        environment="crypten",
    ),
    Peer(
        name="spu-semi2k",
        title="SPU semi2k",
        script="spu_semi2k",
        packages=SPU,
        query="yes, shared",
        gallery="yes, shared",
        minimum="yes",
        threshold="yes",
        score_known_to="nobody",
        trust="two servers and a trusted dealer of triples, played by the first server: it could open everything",
        environment="spu",
    ),
    Peer(
        name="spu-cheetah",
        title="SPU Cheetah",
        script="spu_cheetah",
        packages=SPU,
        query="yes, shared",
        gallery="yes, shared",
        minimum="yes",
        threshold="yes",
        score_known_to="nobody",
        trust="two servers that do not collude, no helper",
        environment="spu",
    ),
)

QUOTED = (
    {
        "name": "mp-spdz",
        "title": "MP-SPDZ semi2k (quoted)",
        "entries": 1000,
        "dimension": 128,
        "wall_s": 1.08,
        "bytes_peer": 268_000_000,
        "query": "yes, shared",
        "gallery": "yes, shared",
        "minimum": "yes",
        "threshold": "yes",
        "score_known_to": "nobody",
        "trust": "two servers that do not collude, no helper",
        "note": "Not measured in this run: it is no Python package. Measured before on this kind of machine, idle.",
    },
)
"""Figures that are known from elsewhere; the tables mark them as quoted."""

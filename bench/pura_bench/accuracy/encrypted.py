"""Pairs through the encrypted system itself: real keys, two server processes, mTLS, engine and key length as asked.

The first photo of each pair is enrolled, the second verified against it; every decision must be the one of plain
integers, ||x - y||^2 <= tau.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pura.ids import Engine
from pura.policy import Policy
from pura_bench import loopback
from pura_bench.accuracy.embeddings import Embedded, Vectors
from pura_bench.accuracy.evaluate import integer_scores, of_pairs, quantised
from pura_client.processes import two_servers
from pura_client.session import Client, connect
from pura_client.templates import Ready
from pura_server.config import Collection

DEADLINE_S = 3600.0
_LIMITS = """
[limits]
question_s = 3600.0
change_s = 7200.0
"""


def sample(embedded: Embedded, size: int, seed: int) -> NDArray[np.int64]:
    """Places of pairs: all in order if there are no more than `size`, else as many of one person as of two, drawn by a
    seed. Pairs with a photo without a face cannot be asked."""
    data = embedded.data
    usable = np.flatnonzero(embedded.found[data.pairs].all(1))
    if len(usable) <= size:
        return usable
    draw = np.random.default_rng(seed)
    parts = []
    for flag in (True, False):
        places = usable[data.same[usable] == flag]
        parts.append(draw.permutation(places)[: (size + 1) // 2 if flag else size // 2])
    return np.sort(np.concatenate(parts))


@contextlib.contextmanager
def deployed(policy: Policy, engine: Engine, bits: int) -> Iterator[tuple[Client, Path]]:
    """A new collection with the policy's threshold, both servers running: a client's session, and where they lie."""
    with tempfile.TemporaryDirectory(prefix="pura-accuracy-") as name:
        folder = Path(name)
        keys = loopback.new_keys(folder, engine, bits)
        collection = Collection(
            engine=engine,
            allow_leaky=engine is Engine.PUBLISHED,
            dimension=policy.dimension,
            scale=policy.scale,
            tau=policy.tau,
            embedder=policy.embedder,
        )
        s1, s2, client = loopback.lay(folder / "made", keys, collection)
        for path in (s1, s2):
            path.write_text(f"{path.read_text()}{_LIMITS}")
        client.write_text(re.sub("(?m)^deadline_s = .*$", f"deadline_s = {DEADLINE_S}", client.read_text()))
        with two_servers(s1, s2, client, timeout_s=600.0), connect(client) as session:
            yield session, folder / "made"


def enrol(session: Client, templates: Vectors, advance: Callable[[int], None] = lambda _: None) -> None:
    """Enrol templates (n, D) as "face 0", "face 1", ...; raises the first error."""
    faces = ((Ready(x), f"face {k}") for k, x in enumerate(templates))
    loopback.handles_of(session.enroll_many(faces, lambda _: advance(1)))


def through_encryption(
    embedded: Embedded,
    policy: Policy,
    pairs: NDArray[np.int64],
    engine: Engine,
    bits: int,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """The decisions of the encrypted system on pairs (places in the data set), beside those of plain integers."""
    data, vectors = embedded.data, embedded.vectors
    first, second = vectors[data.pairs[pairs, 0]], vectors[data.pairs[pairs, 1]]
    plain = of_pairs(integer_scores, quantised(vectors, policy.scale), data.pairs[pairs]) >= -policy.tau
    answers = np.zeros(len(pairs), np.bool_)
    with deployed(policy, engine, bits) as (session, _):
        began = time.monotonic()
        enrol(session, first, advance)
        enrolled = time.monotonic()
        for k, x in enumerate(second):
            answers[k] = session.verify(Ready(x), f"face {k}").match
            advance(1)
        verified = time.monotonic()
    same = data.same[pairs]
    return {
        "engine": engine.value,
        "bits": bits,
        "scale": policy.scale,
        "tau": policy.tau,
        "threshold": policy.threshold,
        "pairs": len(pairs),
        "of": len(data.pairs),
        "equal_to_plain_integers": int((answers == plain).sum()),
        "right": int((answers == same).sum()),
        "false_matches": int((answers & ~same).sum()),
        "false_non_matches": int((~answers & same).sum()),
        "enrol_s": enrolled - began,
        "verify_s": verified - enrolled,
    }

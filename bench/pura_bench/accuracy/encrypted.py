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

from pura.crypto.encoding import distance2, quantise_many
from pura.ids import Engine, KeyId
from pura.params import Params
from pura.policy import Policy
from pura_bench import loopback
from pura_bench.accuracy.embeddings import Embedded
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
def deployed(policy: Policy, engine: Engine, bits: int, workers: int = 0) -> Iterator[tuple[Client, Path]]:
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
            path.write_text(f"{path.read_text()}{_LIMITS}\n[workers]\ncount = {workers}\n")
        client.write_text(re.sub("(?m)^deadline_s = .*$", f"deadline_s = {DEADLINE_S}", client.read_text()))
        with two_servers(s1, s2, client, timeout_s=600.0), connect(client) as session:
            yield session, folder / "made"


def through_encryption(
    embedded: Embedded,
    policy: Policy,
    pairs: NDArray[np.int64],
    engine: Engine,
    bits: int,
    progress: Callable[[], None] = lambda: None,
    workers: int = 0,
) -> dict[str, Any]:
    """The decisions of the encrypted system on pairs (places in the data set), beside those of plain integers."""
    data, vectors = embedded.data, embedded.vectors
    first, second = vectors[data.pairs[pairs, 0]], vectors[data.pairs[pairs, 1]]
    plain = decisions(first, second, policy)
    with deployed(policy, engine, bits, workers) as (session, _):
        began = time.monotonic()
        for outcome in session.enroll_many(
            ((Ready(first[k]), f"pair {k}") for k in range(len(pairs))), lambda _: progress()
        ):
            if outcome.error is not None:
                raise outcome.error
        enrolling = time.monotonic() - began
        began = time.monotonic()
        answers = np.zeros(len(pairs), np.bool_)
        for k in range(len(pairs)):
            answers[k] = session.verify(Ready(second[k]), f"pair {k}").match
            progress()
        verifying = time.monotonic() - began
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
        "enrol_s": enrolling,
        "verify_s": verifying,
    }


def decisions(first: NDArray[np.float64], second: NDArray[np.float64], policy: Policy) -> NDArray[np.bool_]:
    """What plain integers decide: the client's own quantisation, and ||x - y||^2 <= tau."""
    params = Params(
        KeyId(b"\0" * 16),
        2048,
        dimension=policy.dimension,
        scale=policy.scale,
    )
    xs, ys = quantise_many(first, params), quantise_many(second, params)
    return np.array([int(distance2(x, y[None])[0]) <= policy.tau for x, y in zip(xs, ys, strict=True)], np.bool_)

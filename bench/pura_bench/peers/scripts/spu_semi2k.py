"""SPU, two parties, both inputs shared; the minimum and the threshold stay secret; only the place of the match opens.

semi2k takes its Beaver triples from a trusted first party. Both parties run in this process over memory, as SPU's own
simulator does it: no network, which favours it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spu.libspu as lib
import spu.utils.frontend as frontend
from spu import api

jax.config.update("jax_enable_x64", True)

Ask = Callable[[Any], tuple[int, int, int, None]]


def start(gallery: Any, tau: int, scale: int, *, kind: str = "SEMI2K", keyed: bool = True) -> Ask:
    """Compiles and asks once. `keyed` carries the place in the low bits of the distance, else argmin."""
    config = lib.RuntimeConfig(protocol=getattr(lib.ProtocolKind, kind), field=lib.FieldType.FM64)
    config.enable_pphlo_profile = True  # it logs the bytes, which is the only way to see them
    place = max(1, (len(gallery) - 1).bit_length())

    def with_key(x: Any, xx: Any, ys: Any, yy: Any) -> Any:
        d = yy + xx - 2 * (ys @ x)
        least = jnp.min(d * (1 << place) + jnp.arange(len(gallery), dtype=jnp.int64))
        return jnp.where(least < (tau + 1) << place, jnp.bitwise_and(least, (1 << place) - 1), -1)

    def with_argmin(x: Any, xx: Any, ys: Any, yy: Any) -> Any:
        d = yy + xx - 2 * (ys @ x)
        return jnp.where(jnp.min(d) <= tau, jnp.argmin(d), -1)

    kept = [gallery, (gallery * gallery).sum(axis=1)]
    names = ["x", "xx", "ys", "yy"]
    nobody = np.zeros(gallery.shape[1], np.int64)
    secret = lib.Visibility.VIS_SECRET
    shapes = [nobody, np.int64(0), *kept]
    compiled, _ = frontend.compile(
        frontend.Kind.JAX,
        with_key if keyed else with_argmin,
        shapes,
        {},
        names,
        [secret] * 4,
        lambda flat: [f"out{i}" for i in range(len(flat))],
    )
    io = api.Io(2, config)
    description = lib.link.Desc()
    for rank in range(2):
        description.add_party(f"id_{rank}", f"thread_{rank}")

    def both(work: Callable[[int], Any]) -> list[Any]:
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(work, range(2)))

    def connect(rank: int) -> Any:
        return api.Runtime(lib.link.create_mem(description, rank), lib.RuntimeConfig(config))

    parties = both(connect)

    def give(name: str, value: Any) -> int:
        shares = io.make_shares(np.asarray(value), secret)
        for party, share in zip(parties, shares, strict=True):
            party.set_var(name, share)
        return 8 * int(np.asarray(value).size) * 2

    for name, value in zip(names[2:], kept, strict=True):
        give(name, value)

    def ask(probe: Any) -> tuple[int, int, int, None]:
        sent = give("x", probe) + give("xx", np.int64(probe @ probe))
        both(lambda rank: parties[rank].run(compiled))
        answer = io.reconstruct([party.get_var(compiled.output_names[0]) for party in parties])
        return int(answer), sent, 2 * 8, None

    ask(nobody)  # the first run makes the base OTs and caches
    return ask

"""SPU, two parties, both inputs shared; the minimum and the threshold stay secret; only the place of the match opens.

semi2k takes its Beaver triples from a trusted first party. Both parties run in this process over memory, as SPU's own
simulator does it: no network, which favours it.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spu.libspu as lib
import spu.utils.frontend as frontend
from spu import api

jax.config.update("jax_enable_x64", True)


def run(gallery: Any, probes: Any, tau: int, scale: int, *, kind: str = "SEMI2K", keyed: bool = True) -> dict[str, Any]:
    """Compiles once, then asks each probe. `keyed` carries the place in the low bits of the distance, else argmin."""
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
    began, began_cpu = time.perf_counter(), time.process_time()
    secret = lib.Visibility.VIS_SECRET
    shapes = [probes[0], np.int64(0), *kept]
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
    parties: list[Any] = [None, None]

    def both(work: Any) -> list[Any]:
        out: list[Any] = [None, None]

        def one(rank: int) -> None:
            out[rank] = work(rank)

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return out

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
    answers: list[int] = []

    def ask(probe: Any) -> int:
        sent = give("x", probe) + give("xx", np.int64(probe @ probe))
        both(lambda rank: parties[rank].run(compiled))
        answers.append(int(io.reconstruct([p.get_var(compiled.output_names[0]) for p in parties])))
        return sent + 2 * 8

    ask(probes[0])  # the first run makes the base OTs and caches
    answers.clear()
    out: dict[str, Any] = {
        "setup_s": time.perf_counter() - began,
        "setup_cpu_s": time.process_time() - began_cpu,
        "answers": answers,
    }
    walls, cpus = [], []
    for probe in probes:
        wall, cpu = time.perf_counter(), time.process_time()
        out["bytes_client"] = ask(probe)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    out["wall_s"], out["cpu_s"] = statistics.median(walls), statistics.median(cpus)
    return out

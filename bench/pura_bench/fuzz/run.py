"""`pura bench fuzz`: nearly right bytes for every reader, and for every call of two real servers."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import grpc

from pura.errors import PuraError
from pura_bench import results
from pura_bench.fuzz.mutate import mutated
from pura_bench.fuzz.targets import Target, targets

Row = dict[str, Any]
SLOWER = 10
"""A slow reader gets so many times fewer inputs."""
KEPT = 20
"""Inputs of one reader that are kept, of those that broke it."""


def feed(target: Target, inputs: Iterator[bytes]) -> tuple[Row, list[tuple[bytes, str]]]:
    """Give a reader some inputs: how many it took, how many it refused by a typed error, and what broke it."""
    taken = refused = 0
    broken: dict[str, tuple[bytes, str]] = {}
    for raw in inputs:
        try:
            target.take(raw)
            taken += 1
        except PuraError:
            refused += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            kind = f"{type(error).__name__}: {error}"[:120]
            broken.setdefault(kind, (raw, kind))
    row = {"reader": target.name, "inputs": taken + refused + len(broken), "taken": taken, "refused": refused}
    return row | {"broken": sorted(broken)}, list(broken.values())[:KEPT]


def drawn(target: Target, count: int, seed: str) -> Iterator[bytes]:
    """Its samples, and so many inputs that are nearly like them."""
    yield from target.samples
    rng = random.Random(f"{seed} {target.name}")  # noqa: S311 - inputs, not secrets
    for _ in range(count // SLOWER if target.slow else count):
        yield mutated(target.samples, rng)


def keep(folder: Path, target: Target, raw: bytes) -> None:
    """Put an input into the corpus."""
    place = folder / target.folder
    place.mkdir(parents=True, exist_ok=True)
    (place / hashlib.sha256(raw).hexdigest()[:16]).write_bytes(raw)


def corpus(folder: Path, target: Target) -> list[bytes]:
    """What was kept for a reader."""
    return [path.read_bytes() for path in sorted((folder / target.folder).glob("*"))]


def calls(count: int, seed: str) -> list[Row]:
    """Nearly right messages for every call of S1, by a client that may do everything; an honest question after each."""
    from pura.ids import Engine
    from pura.wire._pb import pura_pb2 as pb
    from pura_bench.speed.deployment import prepared, running
    from pura_bench.workload import make
    from pura_client.config import load as load_client

    rows = []
    load = make(20, 16, 2, 1)
    with tempfile.TemporaryDirectory(prefix="pura-fuzz-") as work:
        deployment, _ = prepared(Path(work), Engine.PREPARED, 2048, load, 1, lambda _: None)
        with running(deployment, 1) as now:
            settings = load_client(deployment.client)
            ca, key, cert = (path.read_bytes() for path in (settings.ca, settings.key, settings.cert) if path)
            with grpc.secure_channel(settings.server, grpc.ssl_channel_credentials(ca, key, cert)) as channel:
                for service in ("Gateway", "Operator"):
                    for name, method in pb.DESCRIPTOR.services_by_name[service].methods_by_name.items():
                        rng = random.Random(f"{seed} {name}")  # noqa: S311 - as above
                        samples = [_whole(method.input_type, rng) for _ in range(20)]
                        rows.append(_called(channel, f"/pura.v1.{service}/{name}", samples, rng, count))
                        now.session.identify(load.probes[0])  # raises what an honest client is told
            alive = all(server.exit_status is None for server in now.servers)
            rows.append({"reader": "both servers", "alive": alive, "ready": now.session.status().peer_ready})
    return rows


def _whole(kind: Any, rng: random.Random) -> bytes:
    """A message of a kind with something in each field, as bytes."""
    from google.protobuf import message_factory
    from google.protobuf.descriptor import FieldDescriptor

    made = message_factory.GetMessageClass(kind)()
    for field in kind.fields:
        place = getattr(made, field.name)
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            inner = place.add() if field.is_repeated else place
            inner.MergeFromString(_whole(field.message_type, rng))
            continue
        value: Any = rng.randbytes(rng.choice((0, 16, 32, 64, 600)))
        if field.type == FieldDescriptor.TYPE_STRING:
            value = "text"
        elif field.type != FieldDescriptor.TYPE_BYTES:
            value = rng.choice((0, 1, 7, 2**31 - 1))
        if field.is_repeated:
            place.append(value)
        else:
            setattr(made, field.name, value)
    out: bytes = made.SerializeToString()
    return out


def _called(channel: grpc.Channel, path: str, samples: list[bytes], rng: random.Random, count: int) -> Row:
    call = channel.unary_stream(path, request_serializer=bytes, response_deserializer=bytes)
    codes: collections.Counter[str] = collections.Counter()
    for _ in range(count):
        try:
            for _reply in call(mutated(samples, rng), timeout=30):
                pass
            code = "ok"
        except grpc.RpcError as error:
            told = {item.key: item.value for item in error.trailing_metadata() or ()}
            code = str(told.get("pura-code", f"grpc {error.code().name}"))
        codes[code] += 1
    return {"reader": path, "inputs": count, "codes": dict(sorted(codes.items()))}


@click.command()
@click.option("--inputs", default=10_000, show_default=True, help="For each reader; slow ones get a tenth.")
@click.option("--messages", default=0, show_default=True, help="For each call of two real servers.")
@click.option("--only", multiple=True, help="These readers only.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--keep", "kept", type=click.Path(path_type=Path, file_okay=False), help="Where inputs that broke something go."
)
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here too.")
def fuzz(inputs: int, messages: int, only: tuple[str, ...], seed: int, kept: Path | None, file: Path | None) -> None:
    """Nearly right bytes for every reader of a file or message: a typed error is right, and anything else a fault.

    Exit status 1 if something broke."""
    rows: list[Row] = []
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there
    with contextlib.ExitStack() as stack:
        load = stack.enter_context(results.watch_load())
        place = tempfile.TemporaryDirectory(prefix="pura-fuzz-", dir=memory if memory.is_dir() else None)
        folder = Path(stack.enter_context(place))
        for target in targets(folder):
            if only and target.name not in only:
                continue
            began = time.process_time()
            row, broken = feed(target, drawn(target, inputs, str(seed)))
            rows.append(row | {"cpu_s": round(time.process_time() - began, 1)})
            click.echo(
                f"{target.name:24} {row['inputs']:9,} inputs, {row['taken']:,} taken, {len(row['broken'])} faults"
            )
            for raw, why in broken:
                click.echo(f"    {why}")
                if kept is not None:
                    keep(kept, target, raw)
        called = calls(messages, str(seed)) if messages else []
        for row in called:
            click.echo(f"{row['reader']:34} {row.get('codes', row)}")
    if file is not None:
        results.write(file, results.body("fuzz", seed, rows, load, calls=called))
    internal = any("internal" in row.get("codes", {}) or row.get("ready") is False for row in called)
    if internal or any(row["broken"] for row in rows):
        click.get_current_context().exit(1)

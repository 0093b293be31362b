"""`pura bench accuracy`: recognition in floats, quantised, altered and through encryption, on one data set."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from pura import policy as policies
from pura.crypto.paillier import STRENGTHS
from pura.errors import BadConfig
from pura.ids import Engine
from pura.params import DEFAULT_SCALE
from pura_bench import results
from pura_bench.accuracy import attributes, encrypted, evaluate, groups, report
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.fit import fit
from pura_bench.accuracy.topic import SHARED, Photos, command, watched, with_options
from pura_bench.cli import Lazy
from pura_bench.screen import wide

TOPICS: dict[str, tuple[str, str]] = {
    "templates": ("pura_bench.accuracy.templates:templates", "Means of several photos, mirror images, a quality gate."),
    "gallery": ("pura_bench.accuracy.gallery:gallery", "One among many: people x threshold, photos for a label."),
    "groups": ("pura_bench.accuracy.groups:groups", "Who bears the errors: FMR and FNMR by a labels file."),
    "centres": ("pura_bench.accuracy.centres:centres", "What is taken out of embeddings, and another population's."),
    "covering": ("pura_bench.accuracy.covering:covering", "Vectors that are made to be near many people."),
    "tells": ("pura_bench.accuracy.tells:tells", "What a template tells beside identity, and to whom."),
    "geometry": ("pura_bench.accuracy.geometry:geometry", "How attributes move embeddings: alignment, KS, a probe."),
    "weather": ("pura_bench.accuracy.weather:weather", "Whether restoring a photo helps: haze, rain, noise."),
    "curve": ("pura_bench.accuracy.curve:curve", "Record the curve that `pura-server init --people` uses."),
}
"""Name -> (module:attribute, help)."""


@click.group(cls=Lazy, lazy=TOPICS, invoke_without_command=True)
@with_options(*SHARED)
@click.option("--fmr", default=1e-4, show_default=True, help="Wanted false match rate, for the threshold.")
@click.option(
    "--scale", default=DEFAULT_SCALE, show_default=True, type=click.IntRange(16, 4096), help="S of the policy."
)
@click.option("--policy", "given", type=click.Path(path_type=Path), help="Use this threshold; none is fitted.")
@click.option("--write-policy", "written", type=click.Path(path_type=Path), help="Write the fitted threshold here.")
@click.option("--attributes", "altered", default=100, show_default=True, help="Pairs in the invariance table; 0: none.")
@click.option("--encrypted", "through", default=0, show_default=True, help="Pairs through two real servers.")
@click.option(
    "--engine", default=Engine.PREPARED.value, show_default=True, type=click.Choice([e.value for e in Engine])
)
@click.option("--bits", default="3072", show_default=True, type=click.Choice([str(b) for b in STRENGTHS]))
@click.option(
    "--groups", "labels", multiple=True, type=click.Path(path_type=Path), help="For errors by group in the policy."
)
@click.option("--keep", is_flag=True, help="Keep the file's altered and encrypted pairs if this run leaves them out.")
@click.pass_context
def accuracy(
    ctx: click.Context, /, data: str, embedder: str, seed: int, file: Path | None, keep: bool, **options: Any
) -> None:
    """How well faces are recognised: in floats, quantised at S = 16 ... 1024, altered, and through encryption.

    The threshold is fitted for a wanted false match rate on the data set's training half if it has one (LFW View 1),
    else on the same photos; it can be written as a policy file that `pura-server init --policy` takes. Embeddings are
    kept in the user's cache. The commands below are topics of their own, with options of their own.
    """
    if ctx.invoked_subcommand is not None:
        return
    console = wide()
    with watched() as load:
        found = measure(Photos(data, embedder, console), seed, **options)
    body = results.body("accuracy", seed, found.pop("rows"), load, **found)
    body["machine"]["command"] = command()
    body["machine"]["versions"]["opencv"] = version("opencv-python-headless")
    for table in report.tables(body):
        table.show(console)
    if file is not None:
        if keep:
            keep_parts(file, body)
        results.write(file, body)


def measure(
    photos: Photos,
    seed: int,
    fmr: float,
    scale: int,
    given: Path | None,
    written: Path | None,
    altered: int,
    through: int,
    engine: str,
    bits: str,
    labels: tuple[Path, ...],
) -> dict[str, Any]:
    """All figures of one data set, by the options of the command."""
    spec = photos.faces.spec
    policy, by = policies.read(given) if given else None, groups.read(labels) if labels else None
    held, fitted = photos.embed(photos.reported), photos.embed(photos.fitted_on)
    policy = policy or fit(fitted, spec, fmr, scale, seed, by)
    if (policy.embedder, policy.dimension) != (spec.name, spec.dimension):
        raise BadConfig(f"the policy is for the embedder {policy.embedder!r}, not for {spec.name!r}")
    if written:
        policy.write(written)
    at = policy.threshold
    scales = sorted({*evaluate.SCALES, policy.scale})
    with photos.bar("scoring", 1 + len(scales)) as advance:
        rows = []
        for each in (None, *scales):
            rows.append(evaluate.table(held, at, each, seed))
            if each not in (None, scales[0], policy.scale):
                del rows[-1]["roc"]  # they lie on each other
            advance(1)
    invariance = through_servers = None
    if altered:
        invariance = attributes.invariance(held, photos, at, altered, seed)
    if through:
        pairs = encrypted.sample(held, through, seed)
        with photos.bar("enrolling and verifying", 2 * len(pairs)) as advance:
            through_servers = encrypted.through_encryption(held, policy, pairs, Engine(engine), int(bits), advance)
    return {
        "data_set": describe(held),
        "fitted_on": None if given else describe(fitted),
        "held_out": given is not None or photos.training is not None,
        "embedder": spec.model_dump(mode="json", include={"name", "sha256", "dimension"}),
        "policy": policy.model_dump(mode="json"),
        "rows": rows,
        "scores": evaluate.histogram(*evaluate.genuine_and_impostor(held)),
        "invariance": invariance,
        "encrypted": through_servers,
    }


def keep_parts(file: Path, body: dict[str, Any]) -> None:
    """Take the long parts that this run left out from an earlier result on the same photos, model and threshold.

    Such a part says of which run it is.
    """
    try:
        old = json.loads(file.read_text())
    except (OSError, ValueError):
        return
    if any(old.get(name) != body[name] for name in ("data_set", "embedder", "policy")):
        return
    for part in ("invariance", "encrypted"):
        if body[part] is None and old.get(part):
            of_run = {name: old["machine"][name] for name in ("command", "time", "cpu")}
            body[part] = {"of_run": of_run, **old[part]}


def describe(embedded: Embedded) -> dict[str, Any]:
    """What a data set is, in numbers."""
    data = embedded.data
    return {
        "name": data.name,
        "photos": len(data.photos),
        "people": None if data.people is None else int(data.people.max() + 1),
        "pairs": len(data.pairs),
        "genuine_pairs": int(data.same.sum()),
        "without_face": int((~embedded.found).sum()),
        "sha256": data.digest,
    }

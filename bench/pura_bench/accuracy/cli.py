"""`pura bench accuracy`: recognition in floats, quantised, altered and through encryption, on one data set."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from pura import policy as policies
from pura.crypto.paillier import STRENGTHS
from pura.errors import BadConfig, PuraError
from pura.face.spec import BUILT_IN, MIRRORED, EmbedderSpec
from pura.ids import Engine
from pura.params import DEFAULT_SCALE
from pura.policy import Policy
from pura_bench import results
from pura_bench.accuracy import attributes, datasets, encrypted, evaluate, groups
from pura_bench.accuracy import report as tables
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.fit import fit
from pura_bench.accuracy.topic import Photos, show
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
@click.option("--data", default="orl", show_default=True, help=f"One of {', '.join(datasets.FORMS)}.")
@click.option("--fmr", default=1e-4, show_default=True, help="Wanted false match rate, for the threshold.")
@click.option(
    "--scale", default=DEFAULT_SCALE, show_default=True, type=click.IntRange(16, 4096), help="S of the policy."
)
@click.option("--policy", type=click.Path(path_type=Path), help="Use this threshold; none is fitted.")
@click.option("--write-policy", type=click.Path(path_type=Path), help="Write the fitted threshold here.")
@click.option("--attributes", "altered", default=100, show_default=True, help="Pairs in the invariance table; 0: none.")
@click.option("--encrypted", "through", default=0, show_default=True, help="Pairs through two real servers.")
@click.option(
    "--engine", default=Engine.PREPARED.value, show_default=True, type=click.Choice([e.value for e in Engine])
)
@click.option("--bits", default="3072", show_default=True, type=click.Choice([str(b) for b in STRENGTHS]))
@click.option(
    "--embedder",
    default=MIRRORED,
    show_default=True,
    help=f"{', '.join(BUILT_IN)}, or a TOML file with the tables [embedder], [detector].",
)
@click.option(
    "--groups", multiple=True, type=click.Path(path_type=Path), help="Labels, for errors by group in the policy."
)
@click.option("--seed", default=1, show_default=True, help="Seed of samples, noise and intervals.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
@click.option("--keep", is_flag=True, help="Keep the file's altered and encrypted pairs if this run leaves them out.")
@click.pass_context
def accuracy(ctx: click.Context, /, data: str, file: Path | None, keep: bool, **options: Any) -> None:
    """How well faces are recognised: in floats, quantised at S = 16 ... 1024, altered, and through encryption.

    The threshold is fitted for a wanted false match rate on the data set's training half if it has one (LFW View 1),
    else on the same photos; it can be written as a policy file that `pura-server init --policy` takes. Embeddings are
    kept in the user's cache. The commands below are topics of their own, with options of their own.
    """
    if ctx.invoked_subcommand is not None:
        return
    console = wide()
    try:
        run = Run(data, console, **options)
        with results.watch_load() as load:
            found = run.measure()
    except PuraError as error:
        raise click.ClickException(f"{error} [{error.code}]") from error
    body = results.body("accuracy", run.seed, found.pop("rows"), load, **found)
    body["machine"]["command"] = run.command
    body["machine"]["versions"]["opencv"] = version("opencv-python-headless")
    for title, rows in tables.tables(body):
        show(console, title, rows)
    if file is not None:
        if keep:
            keep_parts(file, body)
        results.write(file, body)


class Run:
    """One data set, from photos to figures."""

    def __init__(self, data: str, console: Console, **options: Any) -> None:
        self.data, self.console, self.seed = data, console, int(options["seed"])
        self.fmr, self.scale = float(options["fmr"]), int(options["scale"])
        self.given: Path | None = options["policy"]
        self.written: Path | None = options["write_policy"]
        self.altered, self.through = int(options["altered"]), int(options["through"])
        self.engine, self.bits = Engine(options["engine"]), int(options["bits"])
        self.groups: tuple[Path, ...] = options["groups"]
        self.named = options["embedder"] if options["embedder"] in BUILT_IN else None
        self.photos = Photos(data, options["embedder"], console)
        self.faces = self.photos.faces

    @property
    def command(self) -> str:
        """The command of this run, without places on this machine."""
        parts = ["pura bench accuracy", f"--data {datasets.shown(self.data)}", f"--scale {self.scale}"]
        parts += [f"--policy {self.given.name}"] if self.given else [f"--fmr {self.fmr:g}"]
        parts += [f"--embedder {self.named}"] if self.named else []
        parts += [f"--attributes {self.altered}", *(f"--groups {file.name}" for file in self.groups)]
        if self.through:
            parts += [f"--encrypted {self.through}", f"--engine {self.engine}", f"--bits {self.bits}"]
        return " ".join([*parts, f"--seed {self.seed}"])

    def measure(self) -> dict[str, Any]:
        """All figures. Raises what is wrong with the data set, the models or the servers."""
        given = policies.read(self.given) if self.given else None
        training = self.photos.training
        held = self.photos.embed(self.photos.reported)
        fitted = held if training is None else self.photos.embed(training)
        labels = groups.read(self.groups) if self.groups else None
        policy = given or fit(fitted, self.faces.spec, self.fmr, self.scale, self.seed, labels)
        check(policy, self.faces.spec)
        if self.written:
            policy.write(self.written)
        at = policy.threshold
        scales = sorted({*evaluate.SCALES, policy.scale})
        with self.photos.bar("scoring", 1 + len(scales)) as advance:
            rows = []
            for scale in (None, *scales):
                rows.append(evaluate.table(held, at, scale, self.seed))
                if scale not in (None, scales[0], policy.scale):
                    del rows[-1]["roc"]  # they lie on each other
                advance(1)
        genuine, impostor = evaluate.impostors_and_genuine(held)
        return {
            "data_set": describe(held),
            "fitted_on": None if given else describe(fitted),
            "held_out": given is not None or training is not None,
            "embedder": self.faces.spec.model_dump(mode="json", include={"name", "sha256", "dimension"}),
            "policy": policy.model_dump(mode="json"),
            "rows": rows,
            "scores": evaluate.histogram(genuine, impostor),
            "invariance": self._invariance(held, at) if self.altered else None,
            "encrypted": self._encrypted(held, policy) if self.through else None,
        }

    def _invariance(self, held: Embedded, threshold: float) -> dict[str, Any]:
        size = min(self.altered, int(held.data.same.sum()))
        levels = sum(len(each.levels) for each in attributes.ATTRIBUTES)
        with self.photos.bar("altering photos", size * levels) as advance:
            return attributes.invariance(held, self.faces, threshold, self.altered, self.seed, lambda: advance(1))

    def _encrypted(self, held: Embedded, policy: Policy) -> dict[str, Any]:
        pairs = encrypted.sample(held, self.through, self.seed)
        with self.photos.bar("enrolling and verifying", 2 * len(pairs)) as advance:
            return encrypted.through_encryption(held, policy, pairs, self.engine, self.bits, lambda: advance(1))


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


def check(policy: Policy, spec: EmbedderSpec) -> None:
    """Raises `BadConfig` when a policy was measured with another model."""
    if (policy.embedder, policy.dimension) != (spec.name, spec.dimension):
        raise BadConfig(f"the policy is for the embedder {policy.embedder!r}, not for {spec.name!r}")


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

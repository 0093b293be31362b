"""`pura bench liveness`: APCER and BPCER of the gate on presentations made from photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from pura.crypto.rng import SeededRng
from pura.errors import PuraError
from pura.face.liveness.challenge import Challenge, draw
from pura.face.liveness.gate import ChallengeGate
from pura.face.liveness.observe import Observer
from pura.face.pipeline import FacePipeline
from pura_bench import results
from pura_bench.liveness import presentations as made
from pura_bench.liveness.presentations import FPS, Face, Pixels, script

SIDE = 500
_STEPS_KNOWN = 34
"""How many different challenges of three steps there are: one recording fits one of them."""


@click.command()
@click.option("--photos", type=click.Path(exists=True, path_type=Path), required=True, help="A folder of photos.")
@click.option("--number", type=click.IntRange(2), default=40, show_default=True, help="How many of them.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the rows there.")
def liveness(photos: Path, number: int, seed: int, out: Path | None) -> None:
    """How often the gate lets an attack in (APCER) and keeps a bona fide presentation out (BPCER), with n.

    All presentations are made from photos, the bona fide ones too. No conformity with ISO/IEC 30107 is claimed.
    """
    pipeline = FacePipeline()

    def embed(frame: Pixels) -> NDArray[np.float32] | None:
        try:
            return np.asarray(pipeline.embed(frame, largest=True), np.float32)
        except PuraError:
            return None

    rng = np.random.default_rng(seed)
    with results.watch_load() as load, Observer(embed=embed) as observer:
        faces = _faces(photos, number, rng, observer)
        rows = [_row(kind, play, faces, observer, seed) for kind, play in _kinds(faces)]
    click.echo(f"{'presentation':34} {'n':>4} {'let in':>7}  reasons of the others")
    for row in rows:
        why = ", ".join(f"{count} {reason.split(':')[0]}" for reason, count in row["reasons"].items())
        click.echo(f"{row['presentation']:34} {row['n']:4} {row['let_in']:7}  {why}")
    click.echo(f"a recording of one challenge fits the next one drawn with probability 1/{_STEPS_KNOWN}")
    if out is not None:
        results.write(out, results.body("liveness", seed, rows, load, photos=len(faces)))


Play = Callable[[int, Challenge, np.random.Generator], Iterable[Pixels]]


def _kinds(faces: list[Face]) -> list[tuple[str, Play]]:
    """Each presentation, of face number i under a challenge."""

    def of(maker: Callable[..., Iterable[Pixels]]) -> Play:
        return lambda i, challenge, rng: maker(faces[i], script(challenge.steps), rng)

    def another(i: int, challenge: Challenge, rng: np.random.Generator) -> Iterable[Pixels]:
        steps = challenge.steps
        while steps == challenge.steps:
            steps = draw(SeededRng(int(rng.integers(1 << 30)))).steps
        return made.head(faces[i], script(steps), rng)

    return [
        ("bona fide: a head, simulated", of(made.head)),
        ("print, held", of(made.held)),
        ("one frame, frozen", of(made.frozen)),
        ("print, turned", of(made.turned_print)),
        ("print, bent and turned", of(made.bent_print)),
        ("screen, turned", of(made.screen)),
        ("cut-out with living eyes", of(made.cutout)),
        ("recording in a loop", of(made.looped)),
        ("recording of another challenge", another),
        ("recording of this very challenge", of(made.head)),  # which looks as the head did
        (
            "another face for the end",
            lambda i, c, rng: made.swapped(faces[i], faces[(i + 1) % len(faces)], script(c.steps), rng),
        ),
    ]


def _row(kind: str, play: Play, faces: list[Face], observer: Observer, seed: int) -> dict[str, Any]:
    reasons: Counter[str] = Counter()
    let_in = 0
    for i in range(len(faces)):
        challenge = draw(SeededRng(f"{seed} {i}"))
        frames = play(i, challenge, np.random.default_rng((seed, i)))
        seen = [observer.see(frame, j / FPS) for j, frame in enumerate(frames)]
        verdict = ChallengeGate(challenge).judge(seen)
        let_in += verdict.live
        reasons.update(reason.value for reason in verdict.reasons)
    return {"presentation": kind, "n": len(faces), "let_in": let_in, "reasons": dict(reasons.most_common())}


def _faces(folder: Path, number: int, rng: np.random.Generator, observer: Observer) -> list[Face]:
    """Photos with one face that looks ahead, eyes open, serious: as somebody comes to a gate."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    found: list[Face] = []
    for i in rng.permutation(len(paths)):
        read = cv2.imread(str(paths[i]))
        if read is None:
            continue
        photo = np.asarray(cv2.cvtColor(cv2.resize(read, (SIDE, SIDE)), cv2.COLOR_BGR2RGB), np.uint8)
        seen, points = observer.see(photo, 0.0), observer.depth(photo)
        if seen.faces == 1 and abs(seen.yaw) < 8 and seen.blink < 0.2 and seen.smile < 0.2:
            found.append(Face(photo, points))
            if len(found) == number:
                break
    return found

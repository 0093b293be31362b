"""`pura bench security` at a small size: a linear encoder in place of a network, plaintext servers in processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from markupsafe import escape

from pura.attack.oracle import Floats, quiet, unit
from pura.crypto.keys import load_public, load_share
from pura.crypto.threshold import KeySet
from pura.errors import BadConfig
from pura.face import centre
from pura.ids import Engine, Party

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from pura.attack import basis as eigenfaces  # noqa: E402
from pura.attack.embedders import LinearEmbed  # noqa: E402
from pura_bench.security import arms, centred, cli, judge, photos, report, servers, theft  # noqa: E402
from pura_bench.security.arms import Where  # noqa: E402

FIXTURES = Path(__file__).parents[1] / "fixtures" / "test-keys-2048"
SIDE, D, PEOPLE, EACH, VICTIMS = 8, 16, 60, 4, 5


class Linear:
    """The judge's side of the encoder."""

    name = "linear"
    euclidean = False

    def __init__(self, embed: LinearEmbed) -> None:
        self._embed = embed

    def __call__(self, crops: photos.Crops) -> Floats:
        return self._embed(eigenfaces.vectors(crops))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> arms.Stage:
    """People are points in a space of 24 directions; photos of one person differ by a tenth of that."""
    rng = np.random.default_rng(3)
    directions = rng.standard_normal((24, SIDE * SIDE * 3))
    people = np.repeat(rng.standard_normal((PEOPLE, 24)), EACH, 0)
    points = people + 0.3 * rng.standard_normal(people.shape)
    crops = np.clip(128 + 8 * points @ directions, 0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE, 3)
    mean = eigenfaces.vectors(crops).mean(0)
    embed = LinearEmbed(torch.from_numpy(rng.standard_normal((SIDE * SIDE * 3, D)).astype(np.float32)), mean)
    names = tuple(f"p{i // EACH:02d}/{i % EACH}.png" for i in range(len(crops)))
    everyone = photos.Photos(crops, unit(embed(eigenfaces.vectors(crops))), names)
    cast = photos.deal(everyone, None, VICTIMS, seed=2)
    base = eigenfaces.fit(cast.known.crops, 24, mirrored=False)
    plan = arms.Plan(victims=VICTIMS, image_victims=VICTIMS, budgets=(60, 200), inversion_steps=60, long_victims=2)
    network = judge.Judge(Linear(embed), cast, cast.known)
    work = tmp_path_factory.mktemp("security")
    stage: Any = arms.Stage(
        plan, cast, base, embed, embed, [network], network.thresholds[1e-2], work, lambda name: quiet
    )  # type: ignore[arg-type]
    return stage


def test_attack_bench_deals_people_to_one_side_only(stage: arms.Stage) -> None:
    cast = stage.cast
    assert not set(cast.known.people) & set(cast.enrolled.people + cast.strangers[0].people)
    assert cast.enrolled.people == cast.mates.people
    assert cast.enrolled.names != cast.mates.names
    assert all(a != b for a, b in zip(cast.strangers[0].people, cast.strangers[1].people, strict=True))


def test_attack_bench_deals_as_the_pairs_of_lfw_say(tmp_path: Path) -> None:
    names = [f"{who}/{who}_{i:04d}.jpg" for who in ("Ann", "Bob", "Cid", "Dot") for i in (1, 2)]
    some = photos.Photos(np.zeros((8, 2, 2, 3), np.uint8), np.eye(8), tuple(names))
    (tmp_path / photos.TRAIN).write_text("1\nAnn\t1\t2\nAnn\t1\tBob\t1\n")
    (tmp_path / photos.TEST).write_text("2\nCid\t1\t2\nDot\t1\t2\nCid\t2\tDot\t1\nDot\t2\tCid\t1\n")
    cast = photos.deal(some, tmp_path, 40, seed=0)
    assert set(cast.known.people) == {"Ann", "Bob"}
    assert cast.enrolled.names == ("Cid/Cid_0001.jpg", "Dot/Dot_0001.jpg")
    assert cast.strangers[1].names == ("Dot/Dot_0001.jpg", "Cid/Cid_0001.jpg")
    (tmp_path / photos.TEST).write_text("1\nAnn\t1\t2\nBob\t1\t2\n")
    with pytest.raises(BadConfig):
        photos.deal(some, tmp_path, 40, seed=0)


def test_attack_bench_whole_path(stage: arms.Stage) -> None:
    for name, arm in arms.ARMS.items():
        stage.keep(name, arm(stage))
    data = cli.collect(stage, list(arms.ARMS))
    rows = {(r["deployment"], r["attack"], r["budget"]): r for r in data["arms"]}
    ceiling = rows[Where.NOTHING, "ceiling: another photo of the victim", 0]["verdicts"][0]
    assert ceiling["similarity"]["median"] > 0.7
    linear = rows[Where.PLAINTEXT, "linear, then inversion", 60]
    assert linear["template_cosine"]["median"] > 0.999
    assert linear["verdicts"][0]["sar1"]["0.01"]["k"] == VICTIMS
    darkerbb = rows[Where.PLAINTEXT, "DarkerBB", 200]
    curve = [point["median"] for point in darkerbb["curve"]]
    assert curve[-1] > curve[0] > 0.5
    published = rows[Where.PUBLISHED_S2, "regression on what SCMP shows, then inversion", 200]
    assert published["template_cosine"]["median"] > 0.9
    naive = next(r for r in data["arms"] if r["attack"] == "DarkerBB with the bit as its score")
    assert naive["verdicts"][0]["sar1"]["0.01"]["n"] == VICTIMS
    page = report.page(data, stage.work, stage.cast, faces=True)
    assert "Faces: who is enrolled" in page
    assert "no claim of conformity" in page
    bare = report.page(data, stage.work, stage.cast, faces=False)
    assert "Faces: who is enrolled" not in bare
    assert len(page) > len(bare) + 10_000
    assert f">{Where.STOLEN}</td>" in page
    assert str(stage.work) not in json.dumps(data) + page


def test_attack_bench_whole_path_through_servers(stage: arms.Stage, tmp_path: Path) -> None:
    plan = dataclasses.replace(
        stage.plan, budgets=(60, 120), server_questions=120, transcript_questions=24, transcript_victims=3
    )
    pk = load_public(FIXTURES / "public.key")
    keys = KeySet(pk, load_share(FIXTURES / "s1.share", pk, Party.S1), load_share(FIXTURES / "s2.share", pk, Party.S2))
    small = dataclasses.replace(stage, work=tmp_path, plan=plan, keys={Engine.PREPARED: keys})
    some = {"keysplit", "disks", "prepared-lockout", "transcripts"}
    todo = {name: arm for name, arm in (theft.ARMS | servers.ARMS).items() if name in some}
    for name, arm in todo.items():
        small.keep(name, arm(small))
    data = cli.collect(small, list(todo))
    rows = {(r["deployment"], r["budget"]): r for r in data["arms"]}
    opened = {r["opens"]: (r["opened"], r["of"]) for r in data["opens"]}
    assert opened.pop(Where.SPLIT_PUBLISHED) == (VICTIMS * D, VICTIMS * D)
    assert set(opened.values()) == {(0, VICTIMS)}
    assert rows[Where.SPLIT_PUBLISHED, 0]["template_cosine"]["low"] > 0.999
    assert rows[Where.SPLIT_PUBLISHED, 0]["verdicts"][0]["sar1"]["0.01"]["k"] == VICTIMS
    through = data["servers"][0]
    assert through["compared"] == through["questions"] > arms.LOCKOUT
    assert through["differed"] == through["refused"] == 0
    for side in (Where.PREPARED_S1, Where.PREPARED_S2):
        assert rows[side, 24]["n"] == 3
    seen = {r["transcript"]: r for r in data["transcripts"]}
    assert seen[Where.PREPARED_S1]["questions"] == 24
    for row in seen.values():
        assert 0 < row["p"] <= 1
        assert row["cosine_by_chance"]["low"] < row["cosine_by_chance"]["high"]
    # three victims in a space this small may match by chance: test_attack_servers judges that nothing is read
    assert [seen[side]["matches"]["n"] for side in (Where.PREPARED_S1, Where.PREPARED_S2)] == [3, 3]
    assert {r["unlinkability"] for r in data["unlinkability"]} > {Where.STOLEN, Where.FOLDERS}
    page = report.page(data, small.work, small.cast, faces=False)
    for name in (Where.PREPARED_LOCKOUT, Where.PREPARED_S1, Where.DISK_S1, Where.SPLIT_S2):
        assert f">{escape(name)}</td>" in page


def test_attack_bench_centred_templates_are_restored(stage: arms.Stage) -> None:
    mean = unit(stage.cast.known.embeddings).mean(0)
    there = centred.centred(stage, centre.basis([centre.Mean("known", 1, mean)]))
    assert np.abs(there.enrolled @ mean).max() < 1e-6
    assert 0 < there.threshold < 1
    back, direction = there.restored(there.enrolled), unit(mean[None])[0]
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1)
    np.testing.assert_allclose(back @ direction, np.linalg.norm(mean))  # as much as people have of it on average
    np.testing.assert_allclose(unit(back - np.outer(back @ direction, direction)), there.enrolled, atol=1e-6)
    assert not there.restored(np.zeros((1, D))).any()


def test_attack_bench_goes_on_after_it_was_stopped(stage: arms.Stage, tmp_path: Path) -> None:
    calls = iter([False] * 40 + [True] * 1000)
    stopped = dataclasses.replace(stage, work=tmp_path, late=lambda: next(calls))
    stopped.keep("exact", arms.ARMS["exact"](stopped))
    assert not stopped.has("exact")
    assert {r["budget"] for r in stopped.kept("exact") if r["attack"] == "DarkerBB"} == {60}
    on = dataclasses.replace(stage, work=tmp_path)
    on.keep("exact", arms.ARMS["exact"](on))
    assert on.has("exact")
    assert {r["budget"] for r in on.kept("exact") if r["attack"] == "DarkerBB"} == {60, 200}


def test_attack_bench_command_line() -> None:
    runner = CliRunner()
    shown = runner.invoke(cli.security, ["--help"])
    assert shown.exit_code == 0
    assert "--demo" in shown.output
    wrong = runner.invoke(cli.security, ["--photos", "/does/not/exist"])
    assert wrong.exit_code == 2

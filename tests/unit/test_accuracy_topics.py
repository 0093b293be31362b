"""The topics of `pura bench accuracy` on made embeddings and made pictures, with known answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx_file import pooled_network
from PIL import Image

from pura.attack.oracle import unit
from pura.errors import BadWeights
from pura.face import align
from pura.face.detect import Face
from pura.policy import read
from pura_bench.accuracy import attributes, gallery, geometry, groups, people, report, tells, templates, topic, weather
from pura_bench.accuracy.cli import TOPICS, accuracy
from pura_bench.accuracy.datasets import BadDataSet, DataSet, ten_folds
from pura_bench.accuracy.embeddings import Embedded
from pura_bench.accuracy.evaluate import similarities
from pura_bench.accuracy.people import Errors


def made(people: int = 40, each: int = 4, spread: float = 0.6, seed: int = 3, at: Path = Path("p")) -> Embedded:
    """People as random directions, photos near them."""
    draw = np.random.default_rng(seed)
    who = np.repeat(np.arange(people), each)
    vectors = unit(draw.normal(size=(people, 32)))[who] + spread / 5 * draw.normal(size=(len(who), 32))
    photos = tuple(at / f"n{i:03}" / f"n{i:03}_{k}.png" for i in range(people) for k in range(each))
    pairs = np.stack([np.arange(0, len(who), each), np.arange(1, len(who), each)], 1)
    same = np.ones(len(pairs), np.bool_)
    data = DataSet("made", photos, who, pairs, same, ten_folds(same))
    return Embedded(data, unit(vectors), np.linalg.norm(vectors, axis=1))


def test_every_topic_can_be_called() -> None:
    for name in TOPICS:
        result = CliRunner().invoke(accuracy, [name, "--help"])
        assert result.exit_code == 0, result.output
        assert "--embedder" in result.output


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"k": 5, "n": 1000, "value": 0.005, "low": 0.002, "high": 0.01}, "0.50 % (0.20 % to 1.00 %) of 1,000"),
        ({"k": 1, "n": 10**6, "value": 1e-6, "low": 0.0, "high": 3e-6}, "1.0e-06 (0 to 3.0e-06) of 1,000,000"),
        ({"value": 0.981, "low": 0.97, "high": 0.99, "n": 963}, "0.981 (0.970 to 0.990, n = 963)"),
        ({"k": 0, "n": 0}, "none"),
        ({"k": 0, "n": 9, "value": 0.0, "low": 0.0, "high": 0.0}, "0 of 9"),
        (None, "-"), (1234, "1,234"), (0.43, "0.43"), (True, "True"),
    ],
)  # fmt: skip
def test_cells(value: Any, text: str) -> None:
    assert report.cell(value) == text


# --- who bears the errors -----------------------------------------------------------------------


def test_labels_files_of_both_forms(tmp_path: Path) -> None:
    (tmp_path / "red_names.txt").write_text("n000_0.png\nn000_1.png\nn001_0.png\n")
    (tmp_path / "blue_names.txt").write_text("n002_0.png\nn001_0.png\n")
    (tmp_path / "more.csv").write_text("n003,blue\nn004,red\nn004_2.png,blue\n")
    labels = groups.read([tmp_path / name for name in ("red_names.txt", "blue_names.txt", "more.csv")])
    assert labels["n001_0.png"] is None  # in both lists
    by = groups.of_people(made(6), labels)
    assert np.flatnonzero(by["red"]).tolist() == [0]
    assert np.flatnonzero(by["blue"]).tolist() == [2, 3]  # n004's photos are of two groups
    (tmp_path / "bad.csv").write_text("a,b,c\n")
    for name, word in (("bad.csv", "bad"), ("none.csv", "none")):
        with pytest.raises(BadDataSet, match=word):
            groups.read([tmp_path / name])
    with pytest.raises(BadDataSet, match="anybody"):
        groups.of_people(made(3), {"else": "red"})


def test_labels_of_people_and_of_photos_together() -> None:
    """Expression differs by photo, gender does not; only photos with both are used."""
    half = made(4, each=3)
    by_people = {f"n{person:03d}": "red" if person < 2 else "blue" for person in range(3)}
    by_photos = {"n000_0.png": "calm", "n000_1.png": "happy", "n001_2.png": "happy", "n002_0.png": "calm"}
    by_photos |= {"n003_0.png": "calm"}  # of a person without a label
    given = tells.Given.of(half, by_people, by_photos)
    used = [half.data.photos[i].name for i in np.flatnonzero(given.labelled)]  # type: ignore[union-attr]
    assert used == ["n000_0.png", "n000_1.png", "n001_2.png", "n002_0.png"]
    assert given.labels["blue"][given.labelled].tolist() == [False, False, False, True]
    assert given.labels["calm"][given.labelled].tolist() == [True, False, False, True]
    assert list(tells.Given.of(half, by_people, {}).labels) == ["blue"]
    with pytest.raises(BadDataSet, match="any photo"):
        tells.Given.of(half, by_people, {"else": "calm"})


def test_the_group_whose_photos_differ_more_bears_more_errors(tmp_path: Path) -> None:
    calm, wild = made(30, spread=0.5), made(30, spread=1.4, seed=5)
    vectors = np.where((calm.who < 15)[:, None], calm.vectors, wild.vectors)
    both = Embedded(calm.data, vectors)
    mask = np.arange(30) < 15
    errors = Errors.of(vectors, both.who, similarities, 0.6, 1)
    rows = {row["who"]: row for row in groups.rows(errors, {"calm": mask, "wild": ~mask}, {})}
    assert rows["calm"]["FNMR"]["high"] < rows["wild"]["FNMR"]["low"]
    assert rows["calm"]["people"] == 15
    assert rows["all people"]["FNMR"]["n"] == rows["calm"]["FNMR"]["n"] + rows["wild"]["FNMR"]["n"]
    ratio = rows["largest / smallest"]["FNMR"]
    assert ratio is None or ratio["low"] > 1
    policy_groups = groups.measured(errors, {"calm": mask, "wild": ~mask})
    assert [each.name for each in policy_groups] == ["calm", "wild"]
    assert policy_groups[1].fnmr == rows["wild"]["FNMR"]["value"]


# --- one among many, several photos -------------------------------------------------------------


def test_a_mean_of_several_photos_matches_more_often() -> None:
    embedded = made(60, spread=1.0)
    one, mean = (templates.Trial.of(embedded, embedded.found, count, 1) for count in (1, templates.ALL))
    assert mean.tar(0.01).value > one.tar(0.01).value
    assert one.share(one.own >= -2).n == 240  # every photo asks about its own person
    assert len(one.impostors) == 240 * 59
    low, high = one.tar(0.01).interval
    assert low <= one.tar(0.01).value <= high


def test_a_template_never_holds_the_photo_that_asks() -> None:
    embedded = made(5, each=2)
    trial = templates.Trial.of(embedded, embedded.found, 9, 1)
    for row, person in enumerate(trial.who):
        other = row + 1 if row % 2 == 0 else row - 1
        assert trial.own[row] == pytest.approx(float(embedded.vectors[row] @ embedded.vectors[other]))
        assert person == row // 2


def test_refused_photos_neither_ask_nor_are_enrolled() -> None:
    embedded = made(10)
    usable = np.ones(40, np.bool_)
    usable[:3] = False
    trial = templates.Trial.of(embedded, usable, 9, 1)
    assert len(trial.who) == 37
    assert not trial.several[0]
    assert trial.several[1:].all()


def test_more_photos_of_a_label_are_more_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "ENTRIES", (1, 4, 500))
    monkeypatch.setattr(gallery, "LABELS_AT", (0.3,))
    one, four, many = gallery._entries(made(60, spread=1.2), made(60, seed=9), 1)
    assert four["as entries of their own"]["value"] > one["as entries of their own"]["value"]
    assert one["as entries of their own"]["value"] == one["as one template"]["value"]
    assert "as entries of their own" not in many  # nobody has 500 photos here
    assert many["were they of different people"] != one["were they of different people"]


# --- geometry -----------------------------------------------------------------------------------


def test_alignment_of_known_fields() -> None:
    draw = np.random.default_rng(0)
    x = unit(draw.normal(size=(60, 16)))
    identity = np.zeros(60, np.int64)
    same = np.stack([x - 0.1 * np.eye(16)[0], x, x + 0.1 * np.eye(16)[0]])
    assert geometry.alignments(same, identity)["N10"] == pytest.approx(np.zeros(60), abs=1e-9)
    own = draw.normal(size=(60, 16))
    found = geometry.alignments(np.stack([x - own, x, x + own]), identity)
    assert {name: len(values) for name, values in found.items()} == {"N10": 60, "1/d": 60, "ball": 60}
    assert all(abs(values.mean() - 1) < 0.1 for values in found.values())
    # the definition, by hand, for one photo
    j = 7
    near = np.argsort(-(x @ x[j]))[1:11]
    v = unit(2 * own)
    assert found["N10"][j] == pytest.approx(float(np.mean([1 - v[j] @ v[i] for i in near])))
    # averaged over identities
    assert len(geometry.alignments(same, np.arange(60) // 10)["N10"]) == 6
    assert geometry.alignments(np.stack([x, x, x]), identity) == {}


def test_a_probe_and_ks_see_a_shift_and_no_difference() -> None:
    draw = np.random.default_rng(1)
    x = draw.normal(size=(120, 16))
    who = np.concatenate([np.arange(120)] * 2)
    assert geometry.probe(x + 1.0, x, who, 1)["value"] > 0.9
    assert geometry.macroscale(x[:60] + 1.0, x[60:]) > 0.3
    nothing = geometry.probe(draw.normal(size=(120, 16)), draw.normal(size=(120, 16)), who, 1)
    assert nothing["value"] == pytest.approx(0.5, abs=0.12)


def picture() -> np.ndarray:
    draw = np.random.default_rng(0)
    small = draw.integers(40, 200, (12, 10, 3)).astype(np.uint8)
    return np.array(Image.fromarray(small).resize((112, 112)))


FACE = Face((0.0, 0.0, 112.0, 112.0), align.TEMPLATE, 1.0)


@pytest.mark.parametrize("attribute", geometry.STEPS, ids=lambda each: each.name)
def test_steps_of_every_attribute(attribute: attributes.Attribute) -> None:
    image = picture()
    minus, zero, plus = (
        attribute.apply(image, FACE, level, np.random.default_rng(2))
        if level != 0 or attribute.name != "blur"
        else image
        for level in attribute.levels
    )
    assert minus.shape == plus.shape == image.shape
    assert not np.array_equal(minus, plus)
    assert not np.array_equal(zero, plus)
    if attribute.levels[0] and attribute.name not in ("JPEG", "hue"):  # of two sides: the middle is the photo
        assert np.array_equal(zero, image)


def test_glasses_are_dark_and_around_the_eyes() -> None:
    image = np.full((112, 112, 3), 200, np.uint8)
    out = attributes.glasses(image, FACE, 8, np.random.default_rng(0))
    rows, columns = np.nonzero(out[..., 0] < 100)
    assert len(rows) > 50
    assert rows.max() < align.TEMPLATE[2, 1]  # above the tip of the nose
    assert columns.min() < align.TEMPLATE[0, 0] < align.TEMPLATE[1, 0] < columns.max()


# --- weather ------------------------------------------------------------------------------------


def test_remedies_undo_what_they_are_for() -> None:
    image = picture()

    def off(one: np.ndarray) -> float:
        return float(np.abs(one.astype(float) - image).mean())

    for name, level, remedy in (("haze", 60, weather.dark_channel), ("noise", 25, weather.non_local)):
        attribute = next(each for each in attributes.ATTRIBUTES if each.name == name)
        worse = attribute.apply(image, FACE, level, np.random.default_rng(1))
        assert off(remedy(worse)) < off(worse)
    streaks = np.full((40, 40, 3), 90, np.uint8)
    streaks[:, 20] = 250
    assert (weather.opening(streaks) == 90).all()


def test_a_restorer_of_one_s_own(tmp_path: Path) -> None:
    file = pooled_network(tmp_path, 112, 4)
    with pytest.raises(BadWeights, match="gives"):  # a network, but none that gives pictures
        weather.learned(file)(picture())
    (tmp_path / "no.onnx").write_bytes(b"no")
    with pytest.raises(BadWeights, match=r"no\.onnx"):
        weather.learned(tmp_path / "no.onnx")


# --- what a template tells ----------------------------------------------------------------------


def test_inference_finds_what_is_there_and_nothing_else() -> None:
    draw = np.random.default_rng(2)
    labels = {"has": draw.random(200) < 0.5, "tossed": draw.random(200) < 0.5}
    x = draw.normal(size=(200, 16)) + labels["has"][:, None]
    found = tells.across(x, labels, 1)
    assert found["has"]["low"] > 0.9
    assert found["tossed"]["low"] < 0.55
    other = tells.inferred(x[:100], {k: v[:100] for k, v in labels.items()}, x[100:],
                           {k: v[100:] for k, v in labels.items()}, 1)  # fmt: skip
    assert other["has"]["low"] > 0.9
    assert other["has"]["n"] == 100


def test_auc_by_people() -> None:
    positive = np.array([True, True, False, False])
    assert people.auc(positive, np.array([3.0, 2.0, 1.0, 0.0]), np.arange(4), 1)["value"] == 1.0
    assert people.auc(positive, np.ones(4), np.arange(4), 1)["value"] == 0.5


# --- commands, from one end to the other --------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Path]:
    """The options for InsightFace's crops with names: a folder of crops of 6 people, and an embedder for them."""
    monkeypatch.setenv("PURA_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(4)
    lines = []
    for person in range(8):
        home = tmp_path / "crops" / f"p{person}"
        home.mkdir(parents=True)
        base = draw.uniform(20, 235, (4, 4, 3))
        for number in (1, 2):
            pixels = np.clip(np.kron(base, np.ones((8, 8, 1))) + draw.normal(0, 20, (32, 32, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(home / f"p{person}_{number:04d}.png")
        lines += [f"p{person} 1 2", f"p{person} 1 p{(person + 1) % 8} 2"]
    (tmp_path / "pairs.txt").write_text("\n".join(["8", *lines]) + "\n")
    network = pooled_network(tmp_path, 32, 4)
    (tmp_path / "mean.toml").write_text(
        f'[embedder]\nname = "mean"\npath = "{network.name}"\ndimension = 48\ninput_size = 32\nmean = 127\nstd = 60\n'
    )
    (tmp_path / "labels.csv").write_text("".join(f"p{i},{'red' if i % 2 else 'blue'}\n" for i in range(8)))

    def all_aligned(text: str, load: Any = topic.datasets.load) -> Any:
        import dataclasses

        training, reported = load(text)
        return training, dataclasses.replace(reported, aligned=True)

    monkeypatch.setattr(topic.datasets, "load", all_aligned)
    data = f"pairs:{tmp_path / 'crops'}:{tmp_path / 'pairs.txt'}"
    return ["--data", data, "--embedder", str(tmp_path / "mean.toml")], tmp_path


def run(args: list[str], at: Path) -> dict[str, Any]:
    result = CliRunner().invoke(accuracy, [*args, "--json", str(at / "out.json")])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads((at / "out.json").read_text())
    assert str(at) not in json.dumps(found)  # no place on this machine
    return found


def test_topics_print_and_write_their_tables(folder: tuple[list[str], Path]) -> None:
    options, at = folder
    by = run(["groups", *options, "--groups", str(at / "labels.csv"), "--fmr", "0.05"], at)
    assert (by["kind"], by["topic"]) == ("topic", "groups")
    assert "--groups labels.csv" in by["machine"]["command"]
    assert [row["who"] for row in by["tables"][0]["rows"]] == [
        "blue", "red", "blue with red", "all people", "largest / smallest"
    ]  # fmt: skip
    moved = run(["geometry", *options, "--people", "8", "--groups", str(at / "labels.csv")], at)
    rows = moved["tables"][0]["rows"]
    assert [row["attribute"] for row in rows] == [each.name for each in geometry.STEPS] + ["blue (labels)"]
    assert all(0 <= row["E"]["value"] <= 2 for row in rows[:-1])
    wet = run(["weather", *options, "--pairs", "4"], at)["tables"][0]["rows"]
    assert [row["remedy"] for row in wet[:5]] == list(weather.REMEDIES)
    assert {row["mended"] for row in wet if row["remedy"] == "none"} == {0}
    result = CliRunner().invoke(accuracy, ["gallery", *options])
    assert result.exit_code == 1
    assert "lfw1" in result.output


def test_a_policy_tells_who_bears_the_errors(folder: tuple[list[str], Path]) -> None:
    options, at = folder
    args = ["--groups", str(at / "labels.csv"), "--attributes", "0", "--write-policy", str(at / "p.toml")]
    result = CliRunner().invoke(accuracy, [*options, *args, "--fmr", "0.05"])
    assert result.exit_code == 0, result.output
    policy = read(at / "p.toml")
    assert [(group.name, group.people) for group in policy.measured.group] == [("blue", 4), ("red", 4)]
    assert policy.measured.fnmr_interval_method == people.METHOD

"""The experiment on entities: its corpus, its labels, and answers to figures that are known."""

from __future__ import annotations

import doctest
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from entities.alt_texts import Entity, Photos
from mofi import questions
from mofi.corpus import (
    ALT,
    DESCRIPTION,
    DESCRIPTION_SHARE,
    NOWHERE,
    CorpusConfig,
    NoisyTexts,
    divide,
    hypernyms,
    make_corpus,
)
from mofi.labels import label_quality, write_controls
from mofi.plan import MofiPlan, Trial, load_mofi
from mofi.questions import COSTS, QUESTIONS, pilot_lines
from mofi.report import write_mofi
from reproduce_mofi import main

from lesstext.entities.knowledge_base import open_kb
from lesstext.entities.labels.reading import read_labels, read_vocabulary
from tests.scripts.reproduction.conftest import png
from tests.train_clip.labelled import write_labels
from train_clip.comparison.arms import load_comparison

NAMES = (
    "goldfish", "giraffe", "koala", "gazelle", "teapot", "umbrella", "desk", "candle", "tractor",
    "pizza", "banana", "obelisk",
)  # fmt: skip
CONFIG = CorpusConfig(
    n_trained=9, photos_per_class=4, heldout_photos=1, unseen_photos=3, samples_per_shard=20
)
# Share of the photos that each arm names rightly, and mAP with the query.
FIGURES = {
    "alt": (0.20, 0.20),
    "entity-text": (0.40, 0.30),
    "entity": (0.10, 0.305),
    "multitask": (0.40, 0.31),
    "shuffled": (0.10, 0.12),
    "true": (0.50, 0.50),
}
N_PHOTOS, N_CLASSES = 200, 12


@pytest.fixture(scope="module")
def entities() -> list[Entity]:
    """Things that the built-in knowledge base knows, each with its path of hypernyms."""
    rows = [open_kb().named(name)[0] for name in NAMES]
    return [
        Entity(f"n{number:08}", name, row.description, ("top", row.types[1], row.entity_id))
        for number, (name, row) in enumerate(zip(NAMES, rows, strict=True))
    ]


@pytest.fixture(scope="module")
def photos(
    entities: list[Entity], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Photos, Photos]:
    """Five training and two validation photos of each."""
    folder = tmp_path_factory.mktemp("photos")
    for split, n, first in (("train", 5, 0), ("val", 2, 1000)):
        rows = [
            {"image": {"bytes": png(first + label * 10 + number)}, "label": label}
            for label in range(len(entities))
            for number in range(n)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    train, val = (Photos(entities, [folder / f"{split}.parquet"]) for split in ("train", "val"))
    return train, val


@pytest.fixture
def plan(photos: tuple[Photos, Photos], tmp_path: Path) -> MofiPlan:
    plan = MofiPlan(replace(load_mofi("small"), seeds=(0, 1)), tmp_path)
    make_corpus(*photos, open_kb(), plan.corpus, CONFIG)
    return plan


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def members(plan: MofiPlan) -> dict[str, bytes]:
    found = {}
    for shard in sorted(plan.shards.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


@pytest.mark.parametrize("name", ["smoke", "small", "gpu"])
def test_every_size_compares_arms_on_the_same_images(name: str, tmp_path: Path) -> None:
    plan = MofiPlan(load_mofi(name), tmp_path)
    plan.trial.write_settings()
    plan.pilot.write_settings()
    arms, pilot = load_comparison(plan.trial.settings), load_comparison(plan.pilot.settings)
    assert tuple(arms.arms) == plan.size.arms
    assert set(arms.arms) - set(pilot.arms) == {"shuffled", "true"}
    assert not set(arms.seeds) & set(pilot.seeds)
    selections = {one.sources[0].selection for one in (*arms.arms.values(), *pilot.arms.values())}
    assert selections == {str(plan.labels("selected"))}
    read = {arm: one.sources[0].labels for arm, one in arms.arms.items()}
    assert read["alt"] is None and read["true"] == str(plan.labels("true"))
    assert read["multitask"] == read["entity"] == str(plan.labels("selected"))
    assert {one.sources[0].labels for one in pilot.arms.values()} == {None, read["true"]}
    assert arms.arms["shuffled"].loss_options == arms.arms["multitask"].loss_options
    assert {arm for q in (*QUESTIONS, *COSTS) for arm in (q.arm, q.base)} <= set(plan.size.arms)
    CorpusConfig(**plan.size.corpus)
    if plan.size.claims:
        assert len(arms.seeds) >= 3


def test_what_alt_texts_say(entities: list[Entity]) -> None:
    above = hypernyms(entities, open_kb())
    foreign = [Entity(letter, f"foreign thing {letter}", "", ()) for letter in "xyz"]
    texts = NoisyTexts(entities, foreign, above, seed=0)
    giraffe = entities[1]
    drawn = [texts.draw(number, giraffe) for number in range(2000)]
    says = [text.says for text in drawn]
    assert says.count(NOWHERE) / 2000 == pytest.approx(0.2, abs=0.03)
    assert says.count(DESCRIPTION) / 2000 == pytest.approx(0.8 * DESCRIPTION_SHARE, abs=0.03)
    for text in drawn:
        assert (giraffe.name in text.alt) == (text.says == ALT)
        assert (text.description is not None) == (text.says == DESCRIPTION)
        assert text.description is None or giraffe.name in text.description
    kind = above[giraffe.entity_id]
    assert sum(kind in text.alt for text in drawn) / 2000 == pytest.approx(0.5, abs=0.05)
    assert sum("foreign thing" in text.alt for text in drawn) / 2000 > 0.4


def test_photos_are_in_one_place_only(plan: MofiPlan, entities: list[Entity]) -> None:
    trained, unseen = divide(entities, open_kb(), CONFIG)
    assert not {one.entity_id for one in trained} & {one.entity_id for one in unseen}
    found = members(plan)
    images = [data for name, data in found.items() if name.endswith(".jpg")]
    held = [path.read_bytes() for path in plan.heldout.rglob("*.jpg")]
    away = [path.read_bytes() for path in plan.unseen.rglob("*.jpg")]
    assert (len(images), len(held), len(away)) == (9 * 4, 9, 3 * 3)
    assert len({*images, *held, *away}) == len(images) + len(held) + len(away)
    assert {path.name for path in plan.unseen.iterdir()} == {one.name for one in unseen}
    ids = {one.group[-1] for one in trained}
    truth = {row["key"]: row for row in pq.read_table(plan.truth).to_pylist()}
    assert len(truth) == len(images) and {row["entity_id"] for row in truth.values()} == ids
    assert {f"{key}.json" in found for key in truth} == {True, False}
    for key, row in truth.items():
        assert (f"{key}.json" in found) == (row["says"] == DESCRIPTION)


def test_the_same_settings_give_the_same_bytes(
    plan: MofiPlan, photos: tuple[Photos, Photos], tmp_path: Path
) -> None:
    make_corpus(*photos, open_kb(), tmp_path / "again", CONFIG)
    assert contents(tmp_path / "again") == contents(plan.corpus)
    (plan.corpus / "train" / "00000.tar").write_bytes(b"kept")
    make_corpus(*photos, open_kb(), plan.corpus, CONFIG)
    assert (plan.corpus / "train" / "00000.tar").read_bytes() == b"kept"


def label_some(plan: MofiPlan) -> dict[str, list[str]]:
    """Of every three photos one has its true label, one its hypernym's, one none."""
    truth = pq.read_table(plan.truth).to_pylist()
    shown = {row["key"]: [row["entity_id"]] for row in truth[::3]}
    shown |= {row["key"]: [row["hypernym"]] for row in truth[1::3]}
    write_labels(plan.labels("selected"), plan.shards, shown)
    return shown


def test_controls_label_the_same_images(plan: MofiPlan) -> None:
    shown = label_some(plan)
    write_controls(plan)
    truth = {row["key"]: row["entity_id"] for row in pq.read_table(plan.truth).to_pylist()}
    rows = {
        kind: {row["key"]: row["entity_ids"] for row in pq.read_table(place).to_pylist()}
        for kind in ("true", "shuffled")
        if (place := plan.labels(kind))
    }
    assert rows["true"] == {key: [truth[key]] for key in shown}
    assert rows["shuffled"].keys() == shown.keys() and rows["shuffled"] != shown
    assert sorted(rows["shuffled"].values()) == sorted(shown.values())
    for kind in ("true", "shuffled"):
        vocabulary = read_vocabulary(read_labels(plan.labels(kind))).to_pylist()
        assert {row["entity_id"] for row in vocabulary} == {one[0] for one in rows[kind].values()}
        assert sum(row["n_images"] for row in vocabulary) == len(shown)
        assert all(row["description"] for row in vocabulary)
    before = plan.labels("true").stat().st_mtime_ns
    write_controls(plan)
    assert plan.labels("true").stat().st_mtime_ns == before


def test_how_right_labels_are(plan: MofiPlan) -> None:
    label_some(plan)
    found = label_quality(plan)
    assert (found.n_photos, found.n_labelled) == (36, 24)
    assert (found.right.value, found.right.n, found.hypernym.value) == (0.5, 24, 0.5)
    assert sum(share.n for share in found.found.values()) == 36
    right = sum(share.value * share.n for share in found.found.values())
    assert right == pytest.approx(12)


def write_run(trial: Trial, arm: str, seed: int) -> None:
    """A finished run that is right as FIGURES says."""
    zero_shot, precision = FIGURES[arm]
    folder = trial.run(arm, seed)
    (folder / "evaluation").mkdir(parents=True)
    evaluation = {"clean_top1": zero_shot, "clean_n": N_PHOTOS}
    result = {"step": 3, "n_steps": 3, "initial_weights": "equal", "evaluation": evaluation}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.jsonl").write_text("")
    right = np.arange(N_PHOTOS) < N_PHOTOS * zero_shot
    item = np.array([f"photo{i}" for i in range(N_PHOTOS)])
    np.savez(folder / "evaluation" / "step_00000003.npz", clean_right=right, clean_item=item)
    trial.by_text(arm, seed).parent.mkdir(parents=True, exist_ok=True)
    np.savez(trial.by_text(arm, seed), right=right, item=item)
    means: dict[str, Any] = {"n": 20, "with_query_random": 0.1, "without_query_random": 0.02}
    classes = {
        f"class{i}": {**means, "with_query": precision + 0.002 * i, "without_query": precision / 2}
        for i in range(N_CLASSES)
    }
    accuracy = {"knn": 0.3 + 0.1 * seed, "linear_probe": 0.4}
    overall = {**classes["class0"], "n": 20 * N_CLASSES}
    stored = {"overall": overall, "classes": classes, "accuracy": accuracy}
    out = trial.retrieval(arm, seed)
    out.mkdir(parents=True)
    (out / "image_retrieval.json").write_text(json.dumps(stored))


def finish(plan: MofiPlan) -> None:
    label_some(plan)
    for trial in (plan.trial, plan.pilot):
        for arm in trial.arms:
            for seed in trial.seeds:
                write_run(trial, arm, seed)
    row = {"command": "lesstext entities find", "seconds": 1.0, "commit": "abc"}
    (plan.out / "commands.jsonl").write_text(json.dumps(row) + "\n")


def test_the_answers_and_the_table(plan: MofiPlan) -> None:
    finish(plan)
    table = write_mofi(plan)
    stored = json.loads((plan.results / "results.json").read_text())
    answers = {row["question"]["text"]: row["answer"] for row in stored["answers"]}
    assert answers["does entity-text beat alt on mAP?"] == "yes"
    assert answers["does entity beat entity-text on mAP?"] == "yes"
    assert answers["is multitask no worse than entity on mAP?"] == "yes (within 1 point)"
    zero_shot = "is multitask no worse than entity-text on zero-shot?"
    assert answers[zero_shot] == "yes (within 3 points)"
    assert set(stored["claims"].values()) == {"yes"} and stored["void"] == ""
    assert "| alt | clip | none | 21.1 [" in table
    assert "| *random* | | | 10.0 | 2.0 | 11.1 | 11.1 |" in table
    assert "| true | multitask | true |" in table and "35.0 [30.0, 40.0]" in table
    assert "24 of 36 photos have one" in table and "Void" not in table
    assert "- entity-text minus alt, mAP: +10.0 [+10.0, +10.0]: told apart" in table
    lines = pilot_lines(plan.pilot)
    assert lines[-1].endswith("multitask minus entity-text, zero_shot: +0.0 [+0.0, +0.0]: "
                              "not told apart")  # fmt: skip
    before = contents(plan.results)
    assert write_mofi(plan) == table and contents(plan.results) == before


def test_a_claim_falls_with_a_part_of_it(plan: MofiPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FIGURES, "multitask", (0.3, 0.29))
    finish(plan)
    write_mofi(plan)
    claims = json.loads((plan.results / "results.json").read_text())["claims"]
    assert claims == {"a": "yes", "b": "yes", "c": "no", "control": "yes"}


def test_models_that_learnt_nothing_make_it_void(
    plan: MofiPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FIGURES, "true", (0.5, 0.05))
    finish(plan)
    assert "**Void: even on true labels" in write_mofi(plan)


def test_other_items_are_not_compared(plan: MofiPlan) -> None:
    finish(plan)
    place = plan.trial.by_text("alt", 1)
    buffer = io.BytesIO()
    np.savez(buffer, right=np.ones(2), item=np.array(["a", "b"]))
    place.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="the seeds of alt were measured on other items"):
        write_mofi(plan)


def test_a_stage_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match=r"--until must be one of corpus, .*, got 'arm'"):
        main("smoke", tmp_path, tmp_path / "out", "arm")
    assert not (tmp_path / "out").exists()


def test_examples() -> None:
    failed, attempted = doctest.testmod(questions)
    assert attempted > 0 and failed == 0

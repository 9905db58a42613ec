"""The experiment on selectors that read: its photos, what was kept of them, and its answers."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from make_corpus import CorpusConfig, make_corpus
from reading.kept import ROLES, Kept, excess, gain, ratio, read_kept, share
from reading.photos import CARTONS, write_cartons, write_scenes
from reading.plan import FILTERED, Lot, ReadingPlan, load_reading
from reading.questions import answers, gate, repaired
from reading.report import write_reading
from reading.training import label_sets, write_settings, write_true_labels
from reading_selector import main

from lesstext.entities.knowledge_base import open_kb
from lesstext.entities.labels.reading import read_labels, read_vocabulary
from lesstext.errors import UsageError
from tests.scripts.reproduction.conftest import png, tiny_imagenet
from tests.train_clip.labelled import write_labels
from train_clip.comparison.arms import load_comparison

__all__ = ["tiny_imagenet"]
CORPUS = CorpusConfig(renderings=1, photos_per_class=2, samples_per_shard=10, n_fonts=3)


@pytest.fixture
def plan(tiny_imagenet: Path, tmp_path: Path) -> ReadingPlan:
    """Two seeds, with a corpus of models and the photos to select for."""
    plan = ReadingPlan(replace(load_reading("small"), seeds=(0, 1)), tmp_path)
    make_corpus(tiny_imagenet, plan.models.plan.corpus, CORPUS)
    write_scenes(tiny_imagenet, plan.scenes, plan.models, words=2)
    return plan


def truth(lot: Lot) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = pq.read_table(lot.truth).to_pylist()
    return rows


def members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        return {m.name: file.read() for m in tar if (file := tar.extractfile(m)) is not None}


@pytest.mark.parametrize("name", ["smoke", "small"])
def test_every_size_is_one_that_can_be_run(name: str, tmp_path: Path) -> None:
    plan = ReadingPlan(load_reading(name), tmp_path)
    write_settings(plan)
    comparison = load_comparison(tmp_path / "runs.json")
    assert tuple(comparison.arms) == label_sets(plan) == (*plan.size.arms, "true")
    assert comparison.seeds == plan.size.seeds == plan.models.plan.size.seeds
    labels = [one.sources[0].labels for one in comparison.arms.values()]
    assert len(set(labels)) == len(labels)
    assert comparison.arms["blind"].evaluation.attacked == str(plan.models.plan.attr / "attacked")
    assert {"detector", "train"} <= plan.size.cartons.keys()
    if plan.size.claims:
        assert len(plan.size.seeds) >= 3


def test_the_printed_word_is_of_another_entity_that_the_alt_text_names(
    plan: ReadingPlan, tiny_imagenet: Path
) -> None:
    rows = truth(plan.scenes)
    assert len(rows) == 2 * 3 * 2  # variants, photos (one of each class), words
    names = {
        row["wnid"]: row["name"] for row in csv.DictReader((tiny_imagenet / "classes.csv").open())
    }
    clean, printed = (members(plan.scenes.shards / f"{v}-00000.tar") for v in ("clean", "printed"))
    for row in rows:
        assert len({row["true"], row["rival"], row["other"]}) == 3
        text = printed[f"{row['key']}.txt"].decode()
        assert all(names[row[role]] in text for role in ROLES)
    assert {name: data for name, data in clean.items() if name.endswith(".txt")} == {
        name: data for name, data in printed.items() if name.endswith(".txt")
    }
    photos = {row["key"]: row["photo"] for row in rows}
    assert len({clean[f"{key}.jpg"] for key in photos}) == len(set(photos.values())) == 3
    assert len({printed[f"{key}.jpg"] for key in photos} | set(clean.values())) > 6
    trained = members(next(plan.models.plan.train_shards.glob("*.tar")))
    assert not set(trained.values()) & set(clean.values())
    entities = open_kb(plan.scenes.kb).entities(sorted(names))
    assert [one.name for one in entities if one is not None] == [names[w] for w in sorted(names)]
    before = plan.scenes.truth.stat().st_mtime_ns
    write_scenes(tiny_imagenet, plan.scenes, plan.models, words=1)
    assert plan.scenes.truth.stat().st_mtime_ns == before


@pytest.fixture
def groceries(tmp_path: Path) -> Path:
    """Four groceries on cartons and three that are not, two photos of each in each split."""
    folder = tmp_path / "data" / "grocery"
    folder.mkdir(parents=True)
    first = CARTONS[0]
    shelf = {0: "Fruit", 1: "Fruit", 2: "Root", **dict.fromkeys(range(first, first + 4), "Milk")}
    lines = [
        f"{label},Grocery {label},{shelf.get(label, 'Unseen')},something" for label in range(81)
    ]
    (folder / "classes.csv").write_text("\n".join(["label,name,coarse,description", *lines]) + "\n")
    for split, seed in (("train", 0), ("val", 1000)):
        rows = [
            {"image": {"bytes": png(seed + 2 * label + n)}, "label": label}
            for label in shelf
            for n in range(2)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    return tmp_path / "data"


def test_cartons_are_told_from_what_lies_loose(groceries: Path, tmp_path: Path) -> None:
    lot = Lot(tmp_path / "cartons")
    write_cartons(groceries, lot, photos_per_class=1)
    rows = truth(lot)
    assert [row["variant"] for row in rows] == ["carton"] * 4 + ["loose"] * 3
    first, cartons = CARTONS[0], {f"grocery-{label:02}" for label in CARTONS}
    for row in rows:
        named = {row[role] for role in ROLES}
        assert len(named) == 3 and (named <= cartons) == (row["variant"] == "carton")
        text = members(lot.shards / f"{row['variant']}-00000.tar")[f"{row['key']}.txt"].decode()
        assert all(f"Grocery {int(one.removeprefix('grocery-'))}" in text for one in named)
    milk = {f"grocery-{label:02}" for label in range(first, first + 4)}
    assert all(row["rival"] in milk for row in rows if row["variant"] == "carton")
    trained = members(lot.train / "train-00000.tar")
    assert sum(name.endswith(".jpg") for name in trained) == 7
    assert not {data for name, data in trained.items() if name.endswith(".jpg")} & set(
        members(lot.shards / "carton-00000.tar").values()
    )


def kept(printed: float, clean: float, true: float, n: int = 400, seeds: int = 2) -> Kept:
    """Of n photos in each variant so many rivals are the most similar; of clean and printed images
    so many true entities, or those that the rivals leave."""
    one = np.zeros((2, n, 3))
    for variant, rival in enumerate((clean, printed)):
        number = np.arange(n)
        one[variant, number < n * rival, ROLES.index("rival")] = 1.0
        one[variant, number >= n * (1 - true), ROLES.index("true")] = 0.9
        one[variant, :, ROLES.index("other")] = 0.5
    photos = np.array([f"photo{i}" for i in range(n)] * 2)
    variants = np.array(["clean"] * n + ["printed"] * n)
    return Kept(np.stack([one.reshape(2 * n, 3)] * seeds), photos, variants)


def test_shares_of_what_is_kept() -> None:
    found = kept(printed=0.45, clean=0.1, true=0.5)
    assert share(found, Kept.first, "rival", "printed").mean == pytest.approx(0.45)
    assert share(found, Kept.first, "true", "clean").mean == pytest.approx(0.5)
    assert share(found, Kept.first, "other", "clean").mean == pytest.approx(0.4)
    assert ratio(found) == pytest.approx(4.5)
    assert excess(found, 3).mean == pytest.approx(0.15) and excess(found, 3).low > 0
    lost = gain(found, kept(printed=0.45, clean=0.1, true=0.4), "true", "clean")
    assert lost.mean == pytest.approx(-0.1) and lost.high < 0


def test_a_threshold_keeps_three_quarters_of_the_true_ones_of_clean_images() -> None:
    true = np.linspace(0.1, 1.0, 100)
    similarities = np.zeros((1, 200, 3))
    similarities[0, :, 0] = np.concatenate([true, true / 2])
    similarities[0, :, 1] = 0.6
    similarities[0, 0, 1] = -np.inf
    variants = np.array(["clean"] * 100 + ["printed"] * 100)
    found = Kept(similarities, np.array([str(i % 100) for i in range(200)]), variants)
    above = found.above("clean")
    assert above[0, :100, 0].mean() == pytest.approx(0.75, abs=0.02)
    assert above[0, 100:, 0].mean() < 0.5
    assert above[0, 1:, 1].all() and not above[0, 0, 1]


def test_the_gate_asks_for_three_times_as_often() -> None:
    assert gate(kept(printed=0.45, clean=0.1, true=0.5)).passed
    assert gate(kept(printed=0.3, clean=0.1, true=0.5)).passed
    failed = gate(kept(printed=0.25, clean=0.1, true=0.5))
    assert not failed.passed and "2.50 times as often (3 times is asked)" in failed.text
    assert not gate(kept(printed=0.0, clean=0.0, true=0.5)).passed


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (kept(printed=0.1, clean=0.1, true=0.5), "yes"),
        (kept(printed=0.3, clean=0.1, true=0.5), "no"),
        (kept(printed=0.1, clean=0.1, true=0.4), "no"),
        (kept(printed=0.14, clean=0.1, true=0.5), "cannot tell"),
    ],
)
def test_whether_hiding_repairs(hidden: Kept, expected: str) -> None:
    given = answers({"reading": kept(printed=0.45, clean=0.1, true=0.5), "hidden": hidden})
    assert given[0].answer == "yes" and "3 times" in given[0].question
    assert repaired(given) == expected


def write_picks(lot: Lot, folder: Path, best: Mapping[str, str]) -> None:
    """Tables in which the entity of a role, by variant, is the most similar."""
    by_shard: dict[str, list[dict[str, object]]] = {}
    for row in truth(lot):
        similar = [
            {"entity_id": row[role], "similarity": 0.9 if role == best[row["variant"]] else 0.1}
            for role in ROLES
        ]
        by_shard.setdefault(row["shard"], []).append({"key": row["key"], "picks": similar})
    folder.mkdir(parents=True)
    for shard, rows in by_shard.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard}.parquet")


def test_the_report(plan: ReadingPlan) -> None:
    fooled, right = {"clean": "true", "printed": "rival"}, {"clean": "true", "printed": "true"}
    pilot = plan.picks("pilot", 1000)
    write_picks(plan.scenes, pilot, fooled)
    for way in plan.size.arms:
        for seed in plan.seeds_of(way):
            chosen = fooled if way == "reading" else right
            write_picks(plan.scenes, plan.picks(way, seed), chosen)
    log = plan.commands("picks")
    log.parent.mkdir()
    log.write_text(json.dumps({"command": "lesstext", "seconds": 1.5, "commit": "abc"}) + "\n")
    found = gate(read_kept(plan.scenes, [pilot]))
    assert found.passed
    table = write_reading(plan, found)
    zero, all_ = "0.0 [0.0, 0.0]", "100.0 [100.0, 100.0]"
    assert f"| reading | {zero} | {all_} | inf | {all_} | {zero} |" in table
    assert f"| hidden | {zero} | {zero} | – | {all_} | {all_} |" in table
    assert "repair the reading selector? **yes**" in table and "Groceries" not in table
    stored = json.loads((plan.results / "results.json").read_text())
    assert stored["repaired"] == "yes" and stored["void"] == ""
    assert json.loads((plan.results / "provenance.json").read_text())["seconds"] == {"picks": 1.5}
    assert write_reading(plan, found) == table


def write_run(folder: Path, clean: float, fooled: float) -> None:
    """A finished run that is right of so many photos, and fooled by so many attacks."""
    (folder / "evaluation").mkdir(parents=True)
    number, item = np.arange(100), np.array([f"photo{i}" for i in range(100)])
    np.savez(
        folder / "evaluation" / "step_00000003.npz",
        clean_right=number < 100 * clean,
        clean_item=item,
        attacked_right=number >= 100 * (1 - clean / 2),
        attacked_fooled=number < 100 * fooled,
        attacked_item=item,
    )
    evaluation = {
        "clean_top1": clean,
        "attacked_top1": clean / 2,
        "attacked_attack_success": fooled,
    }
    result = {"step": 3, "n_steps": 3, "initial_weights": "equal", "evaluation": evaluation}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.jsonl").write_text("")


def test_the_report_of_cartons_and_training(plan: ReadingPlan, groceries: Path) -> None:
    right = {"clean": "true", "printed": "true", "carton": "true", "loose": "true"}
    pilot = plan.picks("pilot", 1000)
    write_picks(plan.scenes, pilot, right)
    for way in plan.size.arms:
        for seed in plan.seeds_of(way):
            write_picks(plan.scenes, plan.picks(way, seed), right)
    write_cartons(groceries, plan.cartons)
    for seed in plan.size.seeds:
        write_picks(plan.cartons, plan.carton_picks("reading", seed), right)
        write_picks(plan.cartons, plan.carton_picks("hidden", seed), {**right, "carton": "rival"})
        for name in label_sets(plan):
            fooled = 0.6 if name == "reading" else 0.1
            write_run(plan.runs / name / f"seed{seed}", 0.5, fooled)
    (plan.runs / "comparison.json").write_text("{}")
    plan.commands("picks").parent.mkdir()
    table = write_reading(plan, gate(read_kept(plan.scenes, [pilot])))
    zero, all_ = "0.0 [0.0, 0.0]", "100.0 [100.0, 100.0]"
    assert f"| carton | 8 | {all_} | {zero} | -100.0 [-100.0, -100.0] |" in table
    assert f"| loose | 6 | {all_} | {all_} | +0.0 [+0.0, +0.0] |" in table
    assert "| reading | 50.0 [" in table and "| 60.0 [" in table and "| true | 50.0 [" in table
    stored = json.loads((plan.results / "results.json").read_text())
    assert stored["training"]["true"]["success"]["mean"] == pytest.approx(0.1)


def test_true_labels_are_of_the_same_images(plan: ReadingPlan) -> None:
    rows = truth(plan.scenes)
    keys = {row["key"]: row["true"] for row in rows}
    labelled = {key: ["rival"] for key in list(keys)[:-1]}
    write_labels(plan.labels("reading"), plan.scenes.shards, labelled)
    write_true_labels(plan)
    stored = pq.read_table(plan.labels("true")).to_pylist()
    assert len(stored) == 2 * len(labelled)
    assert all(row["entity_ids"] == [keys[row["key"]]] for row in stored)
    vocabulary = read_vocabulary(read_labels(plan.labels("true"))).to_pylist()
    assert {row["entity_id"] for row in vocabulary} == set(keys.values())


def test_given_models_are_those_of_a_reproduction_or_a_tournament(tmp_path: Path) -> None:
    plan = ReadingPlan(replace(load_reading("small"), seeds=(0,)), tmp_path / "out", tmp_path)
    models = plan.models
    with pytest.raises(UsageError, match=r"--models .*classes\.csv is missing"):
        models.check()
    for folder in ("pilot", "runs/all/seed0", f"runs/{FILTERED[1]}/seed0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "result.json").write_text("{}")
    for folder in ("corpus", "attr/attacked"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "corpus" / "classes.csv").write_text("")
    models.check()
    assert models.run("filtered", 0) == tmp_path / "runs" / "less-is-more" / "seed0"


def test_a_stage_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match=r"--until must be one of models, .*, got 'arm'"):
        main("smoke", tmp_path, tmp_path / "out", None, "arm")
    assert not (tmp_path / "out").exists()

"""The evaluate and other commands, end to end on a tiny model and generated sets."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from attr_builder.building.build import run_build
from attr_builder.cli import app, main
from attr_builder.drawing.presets import make_recipe
from attr_builder.errors import SetError, SourceError, UsageError
from attr_builder.evaluation.evaluate import (
    CONTRAST_BINS,
    VISIBILITY_BINS,
    Bins,
    EvaluateConfig,
    open_sets,
    run_evaluation,
)
from attr_builder.evaluation.image_sets import OpenedSet, open_any, open_variants
from attr_builder.evaluation.outcomes import EvalSet
from attr_builder.evaluation.results import as_json, as_markdown
from attr_builder.labelled_images.classes import ClassList, imagenet_classes, write_class_list
from attr_builder.labelled_images.sources import open_source
from tests.attr_builder.conftest import SIX, MakeBuild, photo

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def attr_builder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """attr_builder(arguments…) -> exit code, stdout, stderr of the command's own entry point."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["attr-builder", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


def test_help_is_fast_and_names_every_command() -> None:
    start = time.monotonic()
    command = [sys.executable, "-m", "attr_builder.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 5  # 0.5 s on an idle machine
    for name in ("build", "verify", "inspect", "evaluate"):
        assert name in done.stdout
    heavy = "import sys, attr_builder.cli; print({'torch', 'pyarrow', 'PIL'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True)
    assert loaded.stdout.strip() == "set()"


def test_commands_from_build_to_evaluation(
    attr_builder: Run, photos: Path, tmp_path: Path, tiny_model: tuple[str, str]
) -> None:
    out, classes = tmp_path / "attr", tmp_path / "classes.csv"
    classes.write_text(write_class_list(SIX))
    build = ("build", photos, "--out", out, "--controls", "none,correct", "--classes", classes)
    code, said, progress = attr_builder(*build, "--strategy", "random")
    assert code == 0
    assert "| images | 18 | 18 | 18 |" in said and "18/18 images" in progress
    code, _, progress = attr_builder(*build, "--strategy", "random")
    assert code == 0 and "18 of 18 images done before" in progress
    code, said, _ = attr_builder("verify", out, "--source", photos, "--full")
    assert code == 0 and "54 drawn again: 0 problems" in said
    assert attr_builder("inspect", out)[0] == 0
    model = ("--model", tiny_model[0], "--pretrained", tiny_model[1], "--templates", 1)
    sets = ("--set", out, "--clean", photos, "--out", tmp_path / "res", "--workers", 0)
    assert attr_builder("evaluate", *model, *sets)[0] == 0
    results = json.loads((tmp_path / "res" / "results.json").read_text())
    assert list(results["variants"]) == ["clean", "attacked", "none", "correct"]
    attacked = results["variants"]["attacked"]
    assert attacked["n"] == 18 and attacked["drop"]["n"] == 18
    assert "visible in the crop: fully" in attacked["bins"]
    assert not results["is_full_paper_set"]
    assert "attack success" in (tmp_path / "res" / "results.md").read_text()
    rows = pq.read_table(tmp_path / "res" / "per_image.parquet").to_pylist()
    assert len(rows) == 72
    right = np.mean([r["predicted"] == r["label"] for r in rows if r["variant"] == "attacked"])
    assert right == pytest.approx(attacked["top1"]["value"])


def test_wrong_use_exits_with_2_and_one_line(
    attr_builder: Run, photos: Path, tmp_path: Path
) -> None:
    model = ("--model", "ViT-B-16", "--pretrained", "x")
    for arguments, message in (
        (("build", tmp_path / "nowhere", "--out", tmp_path / "o"), "no such folder"),
        (("build", photos, "--out", photos / "val" / "x"), "lies inside the input folder"),
        (("build", photos, "--out", tmp_path / "o", "--preset", "bold"), "no preset 'bold'"),
        (("build", photos, "--out", tmp_path / "o", "--strategy", "map"), "takes a file"),
        (("build", photos, "--out", tmp_path / "o", "--format", "zip"), "got 'zip'"),
        (("evaluate", *model), "nothing to evaluate"),
        (("evaluate", *model, "--clean", photos), "neither a file nor a tag"),
        (("evaluate", *model[:2], "--clean", photos), "name the weights of ViT-B-16"),
        (
            ("evaluate", "--model", "ViT-B-61", "--pretrained", "x", "--clean", photos),
            "knows no model 'ViT-B-61'",
        ),
    ):
        code, _, said = attr_builder(*arguments)
        assert code == 2, arguments
        assert message in said and "Traceback" not in said


def test_a_limit_builds_evenly_spread_photos_and_evaluates_as_many(
    attr_builder: Run, photos: Path, tmp_path: Path, tiny_model: tuple[str, str]
) -> None:
    out = tmp_path / "attr"
    build = ("build", photos, "--out", out, "--controls", "none")
    assert attr_builder(*build, "--limit", 5)[0] == 0
    stored = sorted(path.stem for path in (out / "attacked").rglob("*.jpg"))
    sources = sorted(path.stem for path in (photos / "val").rglob("*.JPEG"))
    assert stored == [sources[18 * i // 5] for i in range(5)]
    code, _, said = attr_builder(*build, "--limit", 6)
    assert code != 0 and str(out) in said
    assert attr_builder("verify", out, "--source", photos, "--full")[0] == 0
    model = ("--model", tiny_model[0], "--pretrained", tiny_model[1], "--templates", 1)
    options = ("--limit", 3, "--defence", "mean", "--detector", "fake", "--workers", 0)
    code, said, _ = attr_builder("evaluate", *model, "--set", out, "--clean", photos, *options)
    assert code == 0
    assert "| images | 3 | 3 | 3 |" in said and "| attacked | mean | 3 |" in said


def test_failed_images_exit_with_1_and_are_named(attr_builder: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in" / imagenet_classes().wnids[0]
    folder.mkdir(parents=True)
    photo(1).save(folder / "good.jpg")
    (folder / "bad.jpg").write_bytes(b"no image")
    code, said, _ = attr_builder("build", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 1
    assert "failed: 1" in said and "n01440764/bad" in said


def test_single_variants_and_controls_by_name(
    make_build: MakeBuild, photos: Path, tiny_model: tuple[str, str]
) -> None:
    recipe = make_recipe("paper", {"controls": ("none", "nonsense")})
    plan = make_build(recipe)
    run_build(plan)
    config = EvaluateConfig(
        model=tiny_model[0],
        pretrained=tiny_model[1],
        clean=str(photos),
        attacked=str(plan.out / "attacked"),
        controls={"nonsense": str(plan.out / "nonsense" / "val")},
        n_templates=1,
        n_workers=0,
    )
    evaluation = run_evaluation(config, open_sets(config))
    assert evaluation.baseline == "clean"
    assert list(evaluation.variants) == ["clean", "attacked", "nonsense"]
    attacked = evaluation.variants["attacked"]
    assert attacked.metrics.n_noop == 6
    binned = [m.n for name, m in attacked.bins.items() if name.startswith("visible")]
    assert sum(binned) == 18
    assert not evaluation.is_full_paper and "Published" not in as_markdown(evaluation)
    json.dumps(as_json(evaluation), allow_nan=False)


def test_several_attacks_per_image_widen_intervals(
    make_build: MakeBuild, tiny_model: tuple[str, str]
) -> None:
    changes = {"strategy": "random", "attacks_per_image": 3, "controls": ("none",)}
    plan = make_build(make_recipe("visible", changes), classes=SIX)
    run_build(plan)
    sets = open_variants(plan.out)
    assert len(sets["attacked"].images.items) == 54
    assert len(set(sets["attacked"].images.clusters)) == 18
    config = EvaluateConfig(
        model=tiny_model[0], pretrained=tiny_model[1], attr_set=plan.out, n_templates=1, n_workers=0
    )
    drop = run_evaluation(config, sets).variants["attacked"].metrics.drop
    assert drop is not None and drop.n == 54 and drop.test == "cluster-robust z"


def test_rta_files_name_their_classes(tmp_path: Path, tiny_model: tuple[str, str]) -> None:
    for i, (label, text) in enumerate((("apple", "hair dryer"), ("pen case", "apple"))):
        photo(i).save(tmp_path / f"label={label}_text={text}.jpg")
    opened = open_any(str(tmp_path), None, None)
    assert opened.classes.names == ("apple", "hair dryer", "pen case")
    assert [item.label for item in opened.images.items] == [0, 2]
    assert list(opened.images.attack_labels) == [1, 0]
    config = EvaluateConfig(
        model=tiny_model[0],
        pretrained=tiny_model[1],
        attacked=str(tmp_path),
        n_templates=1,
        n_workers=0,
    )
    result = run_evaluation(config, {"attacked": opened}).variants["attacked"].metrics
    assert result.attack_success is not None and result.attack_success.n == 2
    assert result.drop is None and result.top5.n == 2 and np.isnan(result.top5.value)


def test_scam_pairs_are_twins(tmp_path: Path, tiny_model: tuple[str, str]) -> None:
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "object", "written_word", "postit_area_percent"])
        writer.writerows([["img_1", "ball", "car", "1"], ["img_2", "cup", "ball", "2"]])
    for i, folder in enumerate(("SCAM", "NoSCAM")):
        (tmp_path / folder).mkdir()
        for name in ("img_1", "img_2"):
            photo(i).save(tmp_path / folder / f"{name}.webp")
    config = EvaluateConfig(
        model=tiny_model[0],
        pretrained=tiny_model[1],
        clean=str(tmp_path / "NoSCAM"),
        attacked=str(tmp_path / "SCAM"),
        n_templates=1,
        n_workers=0,
    )
    metrics = run_evaluation(config, open_sets(config)).variants["attacked"].metrics
    assert metrics.drop is not None and metrics.drop.n == 2
    assert metrics.pairwise_wins is not None and metrics.pairwise_wins.n == 2
    (tmp_path / "SCAM" / "img_2.webp").unlink()
    opened = open_sets(config)
    assert len(opened["attacked"].images.items) == 1 and len(opened["clean"].images.items) == 2
    photo(3).save(tmp_path / "SCAM" / "img_3.webp")
    with pytest.raises(SourceError, match=r"labels\.csv has no row for SCAM/img_3\.webp"):
        open_any(str(tmp_path / "SCAM"), None, None)


def test_published_table_stands_beside_the_full_paper_set(
    photos: Path, tiny_model: tuple[str, str]
) -> None:
    source = open_source(photos, classes=SIX)
    opened = OpenedSet(EvalSet.plain(source, source.keys), source.classes, is_full_paper=True)
    config = EvaluateConfig(
        model=tiny_model[0], pretrained=tiny_model[1], clean="x", n_templates=1, n_workers=0
    )
    text = as_markdown(run_evaluation(config, {"attacked": opened}))
    assert "| OpenAI CLIP | 400M | 68.35 | 31.65 |" in text


def test_sets_that_lost_images_or_classes_are_refused(
    make_build: MakeBuild, photos: Path, tmp_path: Path
) -> None:
    plan = make_build()
    run_build(plan)
    next((plan.out / "attacked").rglob("*.jpg")).unlink()
    with pytest.raises(SetError, match="holds 17 images, its manifest lists 18"):
        open_variants(plan.out)
    with pytest.raises(SetError, match="no built set"):
        open_variants(photos)
    source = open_source(photos)
    few = ClassList(("a",), ("cat",))
    sets = {
        "clean": OpenedSet(EvalSet.plain(source, source.keys), source.classes),
        "attacked": OpenedSet(EvalSet.plain(source, source.keys), few),
    }
    config = EvaluateConfig(model="m", pretrained="p", clean="x")
    with pytest.raises(UsageError, match="different class lists"):
        run_evaluation(config, sets)


@pytest.mark.parametrize(
    ("bins", "values"),
    [
        (VISIBILITY_BINS, [0, 1e-9, 0.5, 0.50001, 1 - 1e-9, 1]),
        (CONTRAST_BINS, [1, 1.5, 3, 4.5, 21]),
    ],
)
def test_bins_hold_every_value_once(bins: Bins, values: list[float]) -> None:
    array = np.array(values, dtype=np.float64)
    hits = np.sum([inside(array) for inside in bins.values()], axis=0)
    assert hits.tolist() == [1] * len(values)


def test_the_app_is_importable_without_side_effects() -> None:
    assert {
        command.callback.__name__ for command in app.registered_commands if command.callback
    } == {
        "build",
        "verify",
        "inspect",
        "evaluate",
    }

"""CLIP_benchmark's own command on a set that attr-builder wrote: the accuracy that we measure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from attr_builder.building.build import run_build
from attr_builder.drawing.presets import make_recipe
from attr_builder.evaluation.evaluate import EvaluateConfig
from attr_builder.verbs import evaluate
from tests.attr_builder.conftest import SIX, MakeBuild


@pytest.mark.parametrize("variant", ["none", "attacked"])
def test_its_accuracy_is_ours(
    variant: str,
    make_build: MakeBuild,
    tiny_model: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clip_benchmark.cli import main

    recipe = make_recipe("visible", {"strategy": "random", "controls": ("none",)})
    plan = make_build(recipe, formats=("imagefolder", "webdataset"), chunk_size=8, classes=SIX)
    run_build(plan)
    config = EvaluateConfig(model=tiny_model[0], pretrained=tiny_model[1], attr_set=plan.out)
    ours = evaluate(config).variants[variant].metrics
    output = tmp_path / "result.json"
    told = f"""eval --dataset wds/attr --dataset_root {plan.out / variant} --split test
        --task zeroshot_classification --model {Path(tiny_model[0]).stem}
        --pretrained {tiny_model[1]} --no_amp --num_workers 0 --output {output} --quiet"""
    monkeypatch.setattr(sys, "argv", ["clip_benchmark", *told.split()])
    main()
    theirs = json.loads(output.read_text())["metrics"]
    assert ours.n == 18
    assert theirs["acc1"] == pytest.approx(ours.top1.value)
    assert theirs["acc5"] == pytest.approx(ours.top5.value)
    assert theirs["mean_per_class_recall"] == pytest.approx(ours.mean_per_class_recall)
    assert 0 < ours.top5.value < 1  # of six classes: no agreement by chance

"""What the commands do, as plain calls: for notebooks and for scripts of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attr_builder.building.build import Build, run_build
from attr_builder.drawing.attacks import AttackMap, default_map
from attr_builder.drawing.painter import Painter
from attr_builder.drawing.presets import Recipe, make_recipe
from attr_builder.evaluation.evaluate import EvaluateConfig, Evaluation, open_sets, run_evaluation
from attr_builder.evaluation.results import write_results
from attr_builder.labelled_images.sources import open_source, parse_classes

if TYPE_CHECKING:
    from attr_builder.building.card import Statistics
    from attr_builder.building.writers import Format


def build_set(
    source: str,
    out: Path | str,
    recipe: Recipe | None = None,
    *,
    formats: Sequence[Format] = ("imagefolder",),
    classes: str | None = None,
    labels: Path | None = None,
    attack_map: AttackMap | None = None,
    n_workers: int = 1,
) -> Statistics:
    """Write a wrong class's name on every image of `source`; a second call does what is missing.

    `recipe` is by default `make_recipe("visible")`; `attack_map` says which class is written on
    which (None: what the recipe's strategy needs nothing else for). `classes` is a CSV file
    (None: ImageNet's), `labels` the ground truth of a flat folder. Raises UsageError, SourceError
    and SetError; images that fail are counted and have rows with a reason in the manifest.
    """
    recipe = recipe or make_recipe("visible")
    images = open_source(source, classes=parse_classes(classes), labels=labels)
    drawn_by = attack_map or default_map(recipe, images.classes)
    build = Build(
        source=images,
        painter=Painter(recipe, images.classes, drawn_by),
        out=Path(out),
        formats=tuple(formats),
    )
    return run_build(build, n_workers=n_workers)


def evaluate(config: EvaluateConfig, out: Path | str | None = None) -> Evaluation:
    """Measure a model on the sets that `config` names; with `out`, write the results there, too.

    Raises UsageError, SourceError and SetError.
    """
    evaluation = run_evaluation(config, open_sets(config))
    if out is not None:
        write_results(evaluation, Path(out))
    return evaluation

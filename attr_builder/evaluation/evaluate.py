"""`attr-builder evaluate`: one model, a clean set, its attacked twin and the controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attr_builder.errors import UsageError
from attr_builder.evaluation.image_sets import OpenedSet, open_any, open_variants
from attr_builder.evaluation.outcomes import Metrics, Predictions, compute_metrics, subset
from attr_builder.evaluation.statistics import Bools
from attr_builder.evaluation.zeroshot import classify
from attr_builder.labelled_images.classes import ClassList
from attr_builder.labelled_images.sources import parse_classes
from lesstext.clip import Precision, build_classifier, load_model, prompt_templates

Floats = NDArray[np.float64]
Bins = dict[str, Callable[[Floats], Bools]]
VISIBILITY_BINS: Bins = {
    "gone": lambda share: share == 0,
    "up to half": lambda share: (share > 0) & (share <= 0.5),
    "over half": lambda share: (share > 0.5) & (share < 1),
    "fully": lambda share: share == 1,
}
CONTRAST_BINS: Bins = {
    "below 1.5": lambda ratio: ratio < 1.5,
    "1.5 to 3": lambda ratio: (ratio >= 1.5) & (ratio < 3),
    "3 to 4.5": lambda ratio: (ratio >= 3) & (ratio < 4.5),
    "4.5 and more": lambda ratio: ratio >= 4.5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """One `attr-builder evaluate` command line; stored beside its results."""

    model: str
    pretrained: str | None
    attr_set: Path | None = None
    clean: str | None = None
    attacked: str | None = None
    controls: dict[str, str] = field(default_factory=dict)
    n_templates: int = 80
    classes: str | None = None
    labels: Path | None = None
    batch_size: int = 64
    n_workers: int = 2
    device: str = "cpu"
    amp: bool = False

    def __post_init__(self) -> None:
        if self.attr_set is None and self.clean is None and self.attacked is None:
            raise UsageError("nothing to evaluate: give --set, or --clean and/or --attacked")
        if self.attr_set is not None and self.attacked is not None:
            raise UsageError("--set and --attacked both name the attacked images: give one")
        for name in self.controls:
            if name in ("clean", "attacked"):
                raise UsageError(f"--controls: {name} has an option of its own")


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResult:
    """One variant's images, answers and measures; `bins` maps "visibility: fully" to measures."""

    opened: OpenedSet
    predictions: Predictions
    metrics: Metrics
    bins: dict[str, Metrics]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All variants; `baseline` names the one that holds the clean twins, if any does."""

    config: EvaluateConfig
    classes: ClassList
    baseline: str | None
    variants: dict[str, VariantResult]

    @property
    def is_full_paper(self) -> bool:
        """Whether the attacked set is the whole published one."""
        return any(result.opened.is_full_paper for result in self.variants.values())


def run_evaluation(
    config: EvaluateConfig,
    sets: dict[str, OpenedSet],
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Classify every image of `sets` and measure each variant against the clean twins.

    The twins are those of `--clean`; without it, of the control without text (`none`) or of a
    published set's clean variant. Raises UsageError before any image is classified.
    """
    classes = _common_classes(sets)
    baseline = _baseline(sets)
    precision: Precision = "amp_bf16" if config.amp else "fp32"
    model = load_model(config.model, config.pretrained, config.device, precision=precision)
    classifier = build_classifier(model, classes.names, prompt_templates(config.n_templates))
    answers = {
        name: classify(
            model,
            opened.images,
            classifier,
            batch_size=config.batch_size,
            n_workers=config.n_workers,
            on_batch=on_batch,
        )
        for name, opened in sets.items()
    }
    twin = answers.get(baseline) if baseline else None
    variants = {
        name: _measure(sets[name], answer, classes, twin if name != baseline else None)
        for name, answer in answers.items()
    }
    return Evaluation(config=config, classes=classes, baseline=baseline, variants=variants)


def open_sets(config: EvaluateConfig) -> dict[str, OpenedSet]:
    """Every set that the command line names, the clean one first; raises SourceError, SetError."""
    classes = parse_classes(config.classes)
    sets: dict[str, OpenedSet] = {}
    named = open_variants(config.attr_set, classes) if config.attr_set is not None else {}
    if classes is None and named:
        classes = next(iter(named.values())).classes
    if config.attacked is not None:
        named = {"attacked": open_any(config.attacked, classes, config.labels)}
        classes = classes or named["attacked"].classes
    if config.clean is not None:
        sets["clean"] = open_any(config.clean, classes, config.labels)
        named.pop("clean", None)
    sets |= named
    for name, spec in config.controls.items():
        sets[name] = open_any(spec, classes, config.labels)
    return sets


def _baseline(sets: Mapping[str, OpenedSet]) -> str | None:
    """The set of clean twins."""
    clean = [name for name, opened in sets.items() if opened.is_clean]
    return next((name for name in ("clean", "none", *clean) if name in sets), None)


def _common_classes(sets: dict[str, OpenedSet]) -> ClassList:
    first, *others = sets.items()
    for name, opened in others:
        if opened.classes != first[1].classes:
            raise UsageError(
                f"the sets {first[0]} ({len(first[1].classes)} classes) and {name} "
                f"({len(opened.classes)} classes) have different class lists"
            )
    return first[1].classes


def _measure(
    opened: OpenedSet, answers: Predictions, classes: ClassList, twin: Predictions | None
) -> VariantResult:
    metrics = compute_metrics(answers, classes, twin)
    bins: dict[str, Metrics] = {}
    for title, values, edges in (
        ("visible in the crop", opened.images.visible_in_crop, VISIBILITY_BINS),
        ("contrast", opened.images.contrast, CONTRAST_BINS),
    ):
        if values is None:
            continue
        kept = np.asarray(values, dtype=np.float64)[answers.rows]
        for name, inside in edges.items():
            if (mask := inside(kept)).any():
                bins[f"{title}: {name}"] = compute_metrics(subset(answers, mask), classes, twin)
    return VariantResult(opened=opened, predictions=answers, metrics=metrics, bins=bins)

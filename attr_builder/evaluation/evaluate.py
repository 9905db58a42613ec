"""`attr-builder evaluate`: one model, a clean set, its attacked twin, controls and defences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attr_builder.drawing.cards import Cards
from attr_builder.errors import UsageError
from attr_builder.evaluation.defences import Defended, find_regions
from attr_builder.evaluation.embeddings import Decode, open_as_trainers_do
from attr_builder.evaluation.image_sets import OpenedSet, cut, open_any, open_variants
from attr_builder.evaluation.outcomes import Metrics, Predictions, compute_metrics, subset
from attr_builder.evaluation.statistics import Bools, Rate
from attr_builder.evaluation.zeroshot import classify, reading_score
from attr_builder.labelled_images.classes import ClassList
from attr_builder.labelled_images.sources import parse_classes
from lesstext.clip import Precision, build_classifier, load_model, prompt_templates
from lesstext.fills import FILLS, Fill
from lesstext.text_detection.protocol import DEFAULT_DETECTOR, DetectorSettings, identify_detector

NO_DEFENCE = "none"
OnBatch = Callable[[int], None]
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
    """One `attr-builder evaluate` command line; stored beside its results.

    `limit` cuts to that many photos, the same ones in every set that shows them. Each of `defences`
    is a way to hide the text that `detector` finds; `regions` is a folder that keeps what it found.
    """

    model: str
    pretrained: str | None
    attr_set: Path | None = None
    clean: str | None = None
    attacked: str | None = None
    controls: dict[str, str] = field(default_factory=dict)
    n_templates: int = 80
    classes: str | None = None
    labels: Path | None = None
    limit: int | None = None
    defences: tuple[Fill, ...] = ()
    detector: str = DEFAULT_DETECTOR
    detector_size_px: int | None = None
    regions: Path | None = None
    batch_size: int = 64
    n_workers: int = 2
    device: str = "cpu"
    amp: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.defences if name not in FILLS]
        if unknown:
            raise UsageError(f"no defence named {unknown[0]!r}; there are {', '.join(FILLS)}")
        if len(set(self.defences)) < len(self.defences):
            raise UsageError(f"--defence: name each once, got {','.join(self.defences)}")
        if self.regions is not None and not self.defences:
            raise UsageError("--regions keeps what is found for --defence: name one")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be at least 1, got {self.limit}")
        if self.attr_set is None and self.clean is None and self.attacked is None:
            raise UsageError(
                "nothing to evaluate: give --set, --clean and/or --attacked, or --image-retrieval"
            )
        if self.attr_set is not None and self.attacked is not None:
            raise UsageError("--set and --attacked both name the attacked images: give one")
        for name in self.controls:
            if name in ("clean", "attacked"):
                raise UsageError(f"--controls: {name} has an option of its own")

    @property
    def detector_settings(self) -> DetectorSettings:
        """How text is found for the defences."""
        return DetectorSettings(
            name=self.detector, device=self.device, size_px=self.detector_size_px
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResult:
    """One variant's images, answers and measures under one defence.

    `bins` maps "visibility: fully" to measures.
    """

    variant: str
    defence: str
    opened: OpenedSet
    predictions: Predictions
    metrics: Metrics
    bins: dict[str, Metrics]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All variants; `baseline` names the one that holds the clean twins, if any does.

    `variants` are named `attacked`, or `attacked, mean` under a defence. `reading` is the reading
    score under each defence, empty where no set is attacked; `detector` the id of what found text.
    """

    config: EvaluateConfig
    classes: ClassList
    baseline: str | None
    variants: dict[str, VariantResult]
    reading: dict[str, Rate] = field(default_factory=dict)
    detector: str | None = None

    @property
    def is_full_paper(self) -> bool:
        """Whether the attacked set is the whole published one."""
        return any(result.opened.is_full_paper for result in self.variants.values())


def run_evaluation(
    config: EvaluateConfig, sets: dict[str, OpenedSet], on_batch: OnBatch | None = None
) -> Evaluation:
    """Classify every image of `sets` and measure each variant against the clean twins.

    The twins are those of `--clean`; without it, of the control without text (`none`) or of a
    published set's clean variant. Under a defence the twins are defended, too, and are themselves
    compared with the undefended ones. Raises UsageError before any image is classified.
    """
    classes, baseline = _common_classes(sets), _baseline(sets)
    precision: Precision = "amp_bf16" if config.amp else "fp32"
    model = load_model(config.model, config.pretrained, config.device, precision=precision)
    classifier = build_classifier(model, classes.names, prompt_templates(config.n_templates))
    variants: dict[str, VariantResult] = {}
    reading: dict[str, Rate] = {}
    undefended: Predictions | None = None
    for defence, decode in _decoders(config, sets, classes, on_batch).items():
        run: dict[str, Any] = {"decode": decode, "on_batch": on_batch}
        run |= {"batch_size": config.batch_size, "n_workers": config.n_workers}
        answers = {name: classify(model, o.images, classifier, **run) for name, o in sets.items()}
        twin = answers.get(baseline) if baseline else None
        for name, answer in answers.items():
            against = undefended if name == baseline else twin
            key = name if defence == NO_DEFENCE else f"{name}, {defence}"
            variants[key] = _measure(name, defence, sets[name], answer, classes, against)
        undefended = undefended or twin
        if _is_attacked(sets):
            reading[defence] = reading_score(model, classes, classifier, **run)
    return Evaluation(
        config=config,
        classes=classes,
        baseline=baseline,
        variants=variants,
        reading=reading,
        detector=identify_detector(config.detector_settings) if config.defences else None,
    )


def n_looks(config: EvaluateConfig, sets: Mapping[str, OpenedSet]) -> int:
    """How many images `run_evaluation` tells of: each is looked at once for every defence, once
    without, and once for its text."""
    n_images = sum(len(opened.images.items) for opened in sets.values())
    n_cards = len(Cards(_common_classes(sets))) if _is_attacked(sets) else 0
    return (n_images + n_cards) * (1 + len(config.defences) + bool(config.defences))


def open_sets(config: EvaluateConfig) -> dict[str, OpenedSet]:
    """Every set that the command line names, the clean one first; raises SourceError, SetError.

    With a limit, so many of the first one's photos, and the same ones of the others.
    """
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
    return sets if config.limit is None else cut(sets, config.limit)


def _decoders(
    config: EvaluateConfig,
    sets: Mapping[str, OpenedSet],
    classes: ClassList,
    on_image: OnBatch | None,
) -> dict[str, Decode]:
    """How images are decoded under each defence, the first without any."""
    ways: dict[str, Decode] = {NO_DEFENCE: open_as_trainers_do}
    if not config.defences:
        return ways
    seen = [opened.images.items for opened in sets.values()]
    seen += [Cards(classes)] if _is_attacked(sets) else []
    regions = find_regions(seen, config.detector_settings, folder=config.regions, on_image=on_image)
    return ways | {how: Defended(regions, how) for how in config.defences}


def _is_attacked(sets: Mapping[str, OpenedSet]) -> bool:
    return any(label >= 0 for opened in sets.values() for label in opened.images.attack_labels)


def _baseline(sets: Mapping[str, OpenedSet]) -> str | None:
    """The set of clean twins."""
    clean = [name for name, opened in sets.items() if opened.is_clean]
    return next((name for name in ("clean", "none", *clean) if name in sets), None)


def _common_classes(sets: Mapping[str, OpenedSet]) -> ClassList:
    first, *others = sets.items()
    for name, opened in others:
        if opened.classes != first[1].classes:
            raise UsageError(
                f"the sets {first[0]} ({len(first[1].classes)} classes) and {name} "
                f"({len(opened.classes)} classes) have different class lists"
            )
    return first[1].classes


def _measure(
    name: str,
    defence: str,
    opened: OpenedSet,
    answers: Predictions,
    classes: ClassList,
    twin: Predictions | None,
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
        for edge, inside in edges.items():
            if (mask := inside(kept)).any():
                bins[f"{title}: {edge}"] = compute_metrics(subset(answers, mask), classes, twin)
    return VariantResult(
        variant=name,
        defence=defence,
        opened=opened,
        predictions=answers,
        metrics=metrics,
        bins=bins,
    )

"""What the subcommands do: open, run, print, and an exit code. The options are cli.py's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attr_builder.building.writers import FORMATS, Format
from attr_builder.drawing.presets import Recipe, make_recipe
from attr_builder.errors import UsageError
from lesstext.console import progress, tell

if TYPE_CHECKING:
    from attr_builder.drawing.attacks import AttackMap
    from attr_builder.drawing.fonts import FontFile
    from attr_builder.evaluation.evaluate import EvaluateConfig
    from attr_builder.evaluation.image_retrieval.measure import RetrievalConfig
    from attr_builder.labelled_images.classes import ClassList
    from lesstext.fills import Fill

_RENDER_OPTIONS = (
    "placement",
    "size",
    "fit",
    "color",
    "stroke",
    "stroke_color",
    "box",
    "box_color",
    "min_contrast",
    "font",
    "encoding",
    "quality",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One `attr-builder build` command line."""

    source: str
    out: Path
    recipe: Recipe
    formats: tuple[Format, ...]
    classes: str | None
    labels: Path | None
    map_file: Path | None
    text_model: str
    text_pretrained: str
    limit: int | None
    workers: int
    chunk_size: int

    def __post_init__(self) -> None:
        if (self.recipe.strategy == "map") != (self.map_file is not None):
            raise UsageError("--strategy map:FILE takes a file, and only map does")


def build(request: BuildRequest) -> int:
    """Build a set and print its statistics; 1 when some images failed."""
    from attr_builder.building.build import Build, run_build
    from attr_builder.drawing.fonts import resolve_font
    from attr_builder.drawing.painter import Painter
    from attr_builder.labelled_images.sources import open_source, parse_classes
    from attr_builder.labelled_images.subset import some_of

    font = resolve_font(request.recipe.render.font)
    source = open_source(
        request.source, classes=parse_classes(request.classes), labels=request.labels
    )
    attack_map = _attack_map(request, source.classes)
    source = some_of(source, request.limit)
    plan = Build(
        source=source,
        painter=Painter(request.recipe, source.classes, attack_map),
        out=request.out,
        formats=request.formats,
        chunk_size=request.chunk_size,
    )
    _print_plan(plan.source.kind, len(source), source.n_ignored, font)
    with progress("building", len(source), "images") as shown:
        statistics = run_build(
            plan,
            n_workers=request.workers,
            on_chunk=lambda n, n_before: shown.advance(n, n_before=n_before),
        )
    print(statistics.as_table())
    print(f"set: {request.out}")
    if statistics.n_failed:
        print(f"failed: {statistics.n_failed} (rows with a reason in the manifest)")
        for line in statistics.failed_keys:
            print(f"  {line}")
    return 1 if statistics.n_failed else 0


def make_recipe_from(given: Mapping[str, Any]) -> Recipe:
    """The recipe that the options of `attr-builder build` ask for, by the options' names."""
    strategy, _, _ = (given["strategy"] or "").partition(":")
    changes = {
        "strategy": strategy or None,
        "controls": split_names(given["controls"]),
        "attacks_per_image": given["attacks_per_image"],
        "seed": given["seed"],
    }
    render = {name: given[name] for name in _RENDER_OPTIONS}
    return make_recipe(given["preset"], changes, {**render, "min_size_ratio": given["min_size"]})


def map_file(strategy: str | None) -> Path | None:
    """FILE of `--strategy map:FILE`."""
    _, _, name = (strategy or "").partition(":")
    return Path(name) if name else None


def verify(
    out: Path, source: str | None, *, labels: Path | None, n_sample: int, seed: int, full: bool
) -> int:
    """Check a set against its manifest; 1 when something differs."""
    from attr_builder.building.stored import CLASSES_NAME
    from attr_builder.building.verify import verify_set
    from attr_builder.labelled_images.classes import load_class_list
    from attr_builder.labelled_images.sources import open_source

    opened = None
    if source is not None:
        opened = open_source(source, classes=load_class_list(out / CLASSES_NAME), labels=labels)
    verdict = verify_set(out, opened, n_sample=n_sample, seed=seed, full=full)
    redrawn = f", {verdict.n_redrawn} drawn again" if opened is not None else ""
    print(f"{verdict.n_stored} stored images hashed{redrawn}: {len(verdict.problems)} problems")
    for problem in verdict.problems[:20]:
        print(f"  {problem}")
    return 1 if verdict.problems else 0


def evaluate(config: EvaluateConfig, out: Path | None) -> int:
    """Evaluate and print; 1 when some images could not be read."""
    from attr_builder.evaluation.evaluate import n_looks, open_sets, run_evaluation
    from attr_builder.evaluation.results import as_markdown, write_results

    sets = open_sets(config)
    with progress("evaluating", n_looks(config, sets), "images") as shown:
        evaluation = run_evaluation(config, sets, on_batch=shown.advance)
    print(as_markdown(evaluation))
    if out is not None:
        write_results(evaluation, out)
        print(f"results: {out}")
    return 1 if any(v.predictions.failures for v in evaluation.variants.values()) else 0


def evaluate_config_from(given: Mapping[str, Any]) -> EvaluateConfig:
    """What the options of `attr-builder evaluate` ask for of sets of images, by their names."""
    from attr_builder.evaluation.evaluate import EvaluateConfig
    from lesstext.text_detection.protocol import DEFAULT_DETECTOR

    for name in ("retrieval_train", "embeddings"):
        if given[name] is not None and given["image_retrieval"] is None:
            raise UsageError(f"--{name.replace('_', '-')} goes with --image-retrieval")
    return EvaluateConfig(
        attr_set=given["attr_set"],
        clean=given["clean"],
        attacked=given["attacked"],
        controls=parse_pairs(given["controls"]),
        n_templates=given["templates"],
        defences=parse_defences(given["defence"]),
        detector=given["detector"] or DEFAULT_DETECTOR,
        detector_size_px=given["detector_size"],
        regions=given["regions"],
        **_run_options(given),
    )


def retrieval_config_from(given: Mapping[str, Any]) -> RetrievalConfig:
    """What the options of `attr-builder evaluate` ask for of `--image-retrieval`."""
    from attr_builder.evaluation.image_retrieval.measure import RetrievalConfig

    return RetrievalConfig(
        spec=given["image_retrieval"],
        train=given["retrieval_train"],
        n_templates=given["templates"],
        probe=given["probe"],
        embeddings=given["embeddings"],
        **_run_options(given),
    )


def measure_retrieval(config: RetrievalConfig, out: Path | None) -> int:
    """Measure image retrieval and print; 1 when some images could not be read."""
    from attr_builder.evaluation.image_retrieval.measure import measure_images, open_images
    from attr_builder.evaluation.image_retrieval.report import retrieval_markdown, write_retrieval

    found = open_images(config)
    n_images = len(found.images) + len(found.train or ())
    with progress("embedding", n_images, "images") as shown:
        result = measure_images(config, found, on_batch=shown.advance)
    if config.embeddings is not None:
        tell(f"{result.n_embedded} images were embedded anew, all are in {config.embeddings}")
    print(retrieval_markdown(result))
    if out is not None:
        write_retrieval(result, out)
        print(f"results: {out}")
    return 1 if result.failures else 0


def _run_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say which model looks at what, and how."""
    same = ("model", "pretrained", "classes", "labels", "limit", "batch_size", "device", "amp")
    return {name: given[name] for name in same} | {"n_workers": given["workers"]}


def parse_pairs(text: str) -> dict[str, str]:
    """`a=DIR,b=DIR` as a dict."""
    pairs = [part.partition("=") for part in split_names(text)]
    if any(not (name and mark and value) for name, mark, value in pairs):
        raise UsageError(f"expected NAME=DIR,NAME=DIR, got {text!r}")
    return {name: value for name, _, value in pairs}


def split_names(text: str) -> tuple[str, ...]:
    """`a,b` as ("a", "b"); empty text as ()."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_defences(text: str) -> tuple[Fill, ...]:
    """The value of `--defence`; the config refuses what is none."""
    return cast("tuple[Fill, ...]", split_names(text))


def parse_formats(text: str) -> tuple[Format, ...]:
    """The value of `--format`."""
    names = split_names(text)
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--format: expected some of {','.join(FORMATS)}, got {name!r}")
    return cast("tuple[Format, ...]", names)


def _print_plan(kind: str, n_images: int, n_ignored: int, font: FontFile) -> None:
    ignored = f"; {n_ignored} files that are no images by name are left out" if n_ignored else ""
    tell(f"source: {n_images} images ({kind}){ignored}")
    tell(f"font: {font.name}" + (f" ({font.note})" if font.note else ""))


def _attack_map(request: BuildRequest, classes: ClassList) -> AttackMap:
    from attr_builder.drawing import attacks

    strategy = request.recipe.strategy
    if strategy == "paper":
        return attacks.paper_map(classes)
    if request.map_file is not None:
        return attacks.read_map(request.map_file, classes)
    if strategy == "random":
        return attacks.random_map()
    from lesstext.clip import load_model

    model = load_model(request.text_model, request.text_pretrained)
    return attacks.similar_map(model, classes, request.recipe.attacks_per_image)

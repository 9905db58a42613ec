"""An evaluation told: Markdown for people, JSON for programs, parquet image by image."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from attr_builder.evaluation.evaluate import NO_DEFENCE, Evaluation, VariantResult
from attr_builder.evaluation.outcomes import Metrics, Predictions
from attr_builder.evaluation.published import PUBLISHED
from attr_builder.evaluation.statistics import PairedDrop, Rate
from lesstext.storage.files import atomic_path, plain, remove_leftovers, write_text
from lesstext.storage.guard import claim_folder


def as_markdown(evaluation: Evaluation) -> str:
    """Tables of all measures, with 95% intervals."""
    config = evaluation.config
    title = f"# {config.model}" + (f", {config.pretrained}" if config.pretrained else "")
    twin = evaluation.baseline
    compared = f"compared with `{twin}`" if twin else "without clean twins: give --clean"
    lines = [
        title,
        "",
        f"{config.n_templates} templates, {len(evaluation.classes)} classes, {compared}. "
        "Shares in percent, with 95% intervals (Wilson; widened where photos repeat).",
        "",
        _table({name: r for name, r in evaluation.variants.items() if r.defence == NO_DEFENCE}),
    ]
    if evaluation.reading:
        lines += ["", "## Fooled, and reading", "", *_defences_table(evaluation)]
    for name, result in evaluation.variants.items():
        if result.opened.images.note and result.defence == NO_DEFENCE:
            lines += ["", f"{name}: {result.opened.images.note.rstrip('; ')}."]
        if result.bins and result.defence == NO_DEFENCE:
            lines += ["", f"## {name}, by what can be seen", "", _bins_table(result.bins)]
        if result.predictions.failures:
            lines += ["", f"## {name}: images that could not be read", ""]
            lines += [f"- {text}" for text in _failures(result)[:20]]
    if evaluation.is_full_paper:
        lines += ["", *_published()]
    return "\n".join(lines) + "\n"


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything but the answers per image, as plain data (NaN as null)."""
    config = {name: plain(value) for name, value in asdict(evaluation.config).items()}
    variants = {
        name: {
            "variant": result.variant,
            "defence": result.defence,
            **plain(asdict(result.metrics)),
            "bins": {bin_: plain(asdict(m)) for bin_, m in result.bins.items()},
            "failures": _failures(result),
            "note": result.opened.images.note,
        }
        for name, result in evaluation.variants.items()
    }
    return {
        "config": config,
        "n_classes": len(evaluation.classes),
        "baseline": evaluation.baseline,
        "is_full_paper_set": evaluation.is_full_paper,
        "detector": evaluation.detector,
        "reading": {defence: plain(asdict(rate)) for defence, rate in evaluation.reading.items()},
        "variants": variants,
    }


def write_results(evaluation: Evaluation, out: Path) -> None:
    """Write results.json, results.md and per_image.parquet into `out`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    claim_folder(out, "evaluation")
    remove_leftovers(out)
    text = json.dumps(as_json(evaluation), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(out / "results.json", text + "\n")
    write_text(out / "results.md", as_markdown(evaluation))
    tables = [_per_image(r.predictions, r) for r in evaluation.variants.values()]
    with atomic_path(out / "per_image.parquet") as partial:
        pq.write_table(pa.concat_tables(tables), partial)


def _published() -> list[str]:
    lines = ["Published (Cao et al. 2023, ViT-B/16, 80 templates, the whole `paper` set):", ""]
    lines += ["| model | pairs | ImageNet top-1 | ImageNet-Attr top-1 |", "|---|---|---|---|"]
    return lines + [
        f"| {row.model} | {row.pairs} | {row.imagenet} | {row.imagenet_attr} |" for row in PUBLISHED
    ]


def _table(variants: dict[str, VariantResult]) -> str:
    lines = [f"| | {' | '.join(variants)} |", f"|---|{'---|' * len(variants)}"]
    for label, cell in _ROWS:
        cells = [cell(result.metrics) for result in variants.values()]
        if any(text != "–" for text in cells):
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _defences_table(evaluation: Evaluation) -> list[str]:
    """One row for each set and defence: how often the words win, and whether the model reads."""
    how = f" The text is found by `{evaluation.detector}`." if evaluation.detector else ""
    columns = [title for title, _ in _FOOLED]
    lines = [
        "Sets and the reading score under each defence: `mean` and so on hide an image's text "
        f"before the model sees it.{how} A defended set is compared with its twins under the same "
        "defence, the clean twins with the undefended ones. Reading: share of plain renderings of "
        "the class names that are taken for what they say, by chance "
        f"{_percent(1 / len(evaluation.classes))}.",
        "",
        f"| set | defence | {' | '.join(columns)} | reading |",
        f"|---|---|{'---|' * len(columns)}---|",
    ]
    for result in evaluation.variants.values():
        cells = [cell(result.metrics) for _, cell in _FOOLED]
        reading = _rate(evaluation.reading[result.defence])
        lines.append(f"| {result.variant} | {result.defence} | {' | '.join(cells)} | {reading} |")
    return lines


def _bins_table(bins: dict[str, Metrics]) -> str:
    lines = ["| | images | top-1 | attack success | drop |", "|---|---|---|---|---|"]
    for name, m in bins.items():
        lines.append(
            f"| {name} | {m.n} | {_rate(m.top1)} | {_rate(m.attack_success)} | {_drop(m.drop)} |"
        )
    return "\n".join(lines)


def _rate(value: Rate | None) -> str:
    if value is None or value.n == 0 or math.isnan(value.value):
        return "–"
    return f"{_percent(value.value)} ({_percent(value.low)} to {_percent(value.high)})"


def _drop(drop: PairedDrop | None) -> str:
    if drop is None or drop.n == 0:
        return "–"
    return f"{_percent(drop.value)} ({_percent(drop.low)} to {_percent(drop.high)})"


def _test(drop: PairedDrop | None) -> str:
    if drop is None or drop.n == 0:
        return "–"
    return f"{drop.n_lost} lost, {drop.n_gained} gained, p = {drop.p_value:.2g} ({drop.test})"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


_FOOLED: tuple[tuple[str, Callable[[Metrics], str]], ...] = (
    ("images", lambda m: str(m.n)),
    ("object against word", lambda m: _rate(m.pairwise_wins)),
    ("drop in it", lambda m: _drop(m.pairwise_drop)),
    ("word wins where the clean twin was right", lambda m: _rate(m.pairwise_losses_when_clean_won)),
    ("top-1", lambda m: _rate(m.top1)),
    ("drop in top-1", lambda m: _drop(m.drop)),
    ("attack success", lambda m: _rate(m.attack_success)),
    ("where the clean twin was right", lambda m: _rate(m.attack_success_when_clean_right)),
)
_ROWS: tuple[tuple[str, Callable[[Metrics], str]], ...] = (
    ("images", lambda m: str(m.n)),
    ("could not be read", lambda m: str(m.n_failed) if m.n_failed else "–"),
    (
        "without a clean twin, left out of paired measures",
        lambda m: str(m.n_without_twin) if m.n_without_twin else "–",
    ),
    ("no-op attacks, left out of attack measures", lambda m: str(m.n_noop) if m.n_noop else "–"),
    ("top-1", lambda m: _rate(m.top1)),
    ("top-5", lambda m: _rate(m.top5)),
    ("mean per-class recall", lambda m: _percent(m.mean_per_class_recall)),
    ("attack success", lambda m: _rate(m.attack_success)),
    (
        "attack success where the clean twin was right",
        lambda m: _rate(m.attack_success_when_clean_right),
    ),
    ("true class beats the attack word", lambda m: _rate(m.pairwise_wins)),
    ("drop in that choice", lambda m: _drop(m.pairwise_drop)),
    (
        "word beats it where it won on the clean twin",
        lambda m: _rate(m.pairwise_losses_when_clean_won),
    ),
    ("drop in top-1", lambda m: _drop(m.drop)),
    ("paired test of the drop", lambda m: _test(m.drop)),
)


def _failures(result: VariantResult) -> list[str]:
    names = result.opened.images.clusters
    return [f"{names[row]}: {reason}" for row, reason in result.predictions.failures]


def _per_image(p: Predictions, result: VariantResult) -> Any:
    """One row per classified image: labels, answers and cosines."""
    import pyarrow as pa

    images = result.opened.images
    return pa.table(
        {
            "variant": pa.array([result.variant] * len(p.labels), pa.string()),
            "defence": pa.array([result.defence] * len(p.labels), pa.string()),
            "key": pa.array(p.clusters, pa.string()),
            "row": pa.array(p.rows, pa.int64()),
            "label": pa.array(p.labels, pa.int64()),
            "attack_label": pa.array(p.attack_labels, pa.int64()),
            "predicted": pa.array(p.top[:, 0], pa.int64()),
            "top": pa.array(p.top.tolist(), pa.list_(pa.int64())),
            "true_cosine": pa.array(p.true_cosine, pa.float32()),
            "attack_cosine": pa.array(p.attack_cosine, pa.float32()),
            "visible_in_crop": _column(images.visible_in_crop, p),
            "contrast": _column(images.contrast, p),
        }
    )


def _column(values: Any, p: Predictions) -> Any:
    import pyarrow as pa

    picked = [None] * len(p.rows) if values is None else [values[row] for row in p.rows]
    return pa.array(picked, pa.float64(), from_pandas=True)

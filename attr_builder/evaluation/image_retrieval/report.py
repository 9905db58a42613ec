"""Image retrieval told: Markdown for people, JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.storage.files import plain, write_text
from lesstext.storage.guard import claim_folder

if TYPE_CHECKING:
    from attr_builder.evaluation.image_retrieval.measure import ImageRetrieval, MeanPrecision

_LISTED_CLASSES = 10


def retrieval_markdown(result: ImageRetrieval) -> str:
    """mAP in percent: overall, by domain, and of the worst classes."""
    config = result.config
    title = config.model + (f", {config.pretrained}" if config.pretrained else "")
    groups = {"all": result.overall, **result.domains}
    lines = [
        f"# Image retrieval: {title}",
        "",
        f"{result.overall.n} images of {len(result.classes)} classes ({result.kind}). Every image "
        "is a query among all; embeddings are normalised (cosine). mAP in percent: with the query "
        "in the index, as GPR1200's code counts it, and without; `random` is what random features "
        "get.",
        "",
        *_table(groups),
    ]
    if rows := _accuracy_rows(result):
        lines += ["", "| accuracy, percent | |", "|---|---|", *rows]
    worst = sorted(result.classes, key=lambda name: result.classes[name].with_query)
    picked = {name: result.classes[name] for name in worst[:_LISTED_CLASSES]}
    lines += ["", f"## The {len(picked)} hardest classes", "", *_table(picked)]
    if result.failures:
        lines += ["", "## Images that could not be read", ""]
        lines += [f"- {key}: {reason}" for key, reason in result.failures[:20]]
    return "\n".join(lines) + "\n"


def retrieval_json(result: ImageRetrieval) -> dict[str, Any]:
    """All figures as plain data (NaN as null), every class with its own mAP.

    How much was embedded anew is no part of it: the next run has the same figures.
    """
    told: dict[str, Any] = plain(asdict(result))
    del told["n_embedded"]
    return told


def write_retrieval(result: ImageRetrieval, out: Path) -> None:
    """Write image_retrieval.json and image_retrieval.md into `out`, beside other results."""
    claim_folder(out, "evaluation")
    text = json.dumps(retrieval_json(result), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(out / "image_retrieval.json", text + "\n")
    write_text(out / "image_retrieval.md", retrieval_markdown(result))


def _accuracy_rows(result: ImageRetrieval) -> list[str]:
    told: list[tuple[str, float]] = []
    if (found := result.accuracy) is not None:
        told.append((f"kNN, k = {found.k}, leaving the image out", found.knn))
        if found.n_test:
            told.append((f"kNN, half of each class tested ({found.n_test})", found.knn_split))
        if found.linear_probe is not None:
            how = f"linear probe, the same halves, C = {found.probe_strength:g}"
            told.append((how, found.linear_probe))
    if (split := result.train_test) is not None:
        told.append((f"kNN, k = {split.k}, from {split.n_train} other images", split.knn))
        if split.linear_probe is not None:
            how = f"linear probe, from these, C = {split.probe_strength:g}"
            told.append((how, split.linear_probe))
    if (prompts := result.zeroshot) is not None:
        how = f"zero-shot, {prompts.n_classes} classes, templates: {prompts.n_templates}"
        told.append((how, prompts.top1.value))
    return [f"| {how} | {100 * value:.2f} |" for how, value in told]


def _table(groups: dict[str, MeanPrecision]) -> list[str]:
    lines = [
        "| | images | mAP | random | without the query | random |",
        "|---|---|---|---|---|---|",
    ]
    for name, m in groups.items():
        values = (m.with_query, m.with_query_random, m.without_query, m.without_query_random)
        cells = ["–" if value != value else f"{100 * value:.2f}" for value in values]
        lines.append(f"| {name} | {m.n} | {' | '.join(cells)} |")
    return lines

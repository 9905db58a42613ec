"""Measuring a model inside the training loop: zero-shot, its attacked twin, both retrievals.

attr_builder measures, on a copy: the model that is being trained is never touched. Beside the
numbers, what each single image or caption got is stored, so that `compare` can pair them.
"""

from __future__ import annotations

import copy
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from attr_builder.evaluation.embeddings import embed_labelled
from attr_builder.evaluation.image_retrieval.folders import open_retrieval_set
from attr_builder.evaluation.image_retrieval.measure import Precisions
from attr_builder.evaluation.image_retrieval.neighbours import vote_leaving_out
from attr_builder.evaluation.image_retrieval.ranking import average_precisions
from attr_builder.evaluation.image_sets import OpenedSet, open_twins
from attr_builder.evaluation.outcomes import Metrics, Predictions, compute_metrics, fooled
from attr_builder.evaluation.retrieval import CaptionedImages, measure_retrieval, recalls
from attr_builder.evaluation.zeroshot import classify
from attr_builder.labelled_images.sources import Source, parse_classes
from attr_builder.labelled_images.subset import some_of
from lesstext.clip import ClipModel, build_classifier, preprocessing, prompt_templates
from lesstext.storage.files import atomic_path, remove_leftovers, write_text
from train_clip.errors import ConfigError
from train_clip.models.build import ModelBundle
from train_clip.settings import EvalConfig

Outcomes = dict[str, NDArray[Any]]


class Evaluator:
    """Measures weights on the sets of an EvalConfig; opens them when first asked."""

    def __init__(self, config: EvalConfig, bundle: ModelBundle, device: torch.device) -> None:
        self._config, self._bundle, self._device = config, bundle, device
        self._model: ClipModel | None = None
        self._sets: dict[str, OpenedSet] | None = None
        self._captioned: CaptionedImages | None = None
        self._images: Source | None = None

    @property
    def is_wanted(self) -> bool:
        return self._config.is_wanted

    def measure(self, weights: dict[str, Any], folder: Path, step: int) -> dict[str, Any]:
        """All metrics of `weights` as flat names; single outcomes go to `folder`."""
        model = self._load(weights)
        values: dict[str, Any] = {}
        outcomes: Outcomes = {}
        if self._config.zeroshot is not None:
            self._zeroshot(model, values, outcomes)
        if self._config.retrieval is not None:
            self._retrieval(model, values, outcomes)
        if self._config.image_retrieval is not None:
            self._image_retrieval(model, values, outcomes)
        with atomic_path(folder / f"step_{step:08d}.npz") as partial, partial.open("wb") as file:
            np.savez_compressed(file, **outcomes)  # type: ignore[arg-type]
        return values

    def _load(self, weights: dict[str, Any]) -> ClipModel:
        if self._model is None:
            network = copy.deepcopy(self._bundle.model).to(self._device).float()
            self._model = ClipModel(
                name="in training",
                config=self._bundle.model_cfg,
                network=network,
                tokenizer=self._bundle.tokenizer,
                preprocess=preprocessing(network),
                device=str(self._device),
            )
        self._model.network.load_state_dict(weights)
        return self._model

    def _zeroshot(self, model: ClipModel, values: dict[str, Any], outcomes: Outcomes) -> None:
        if self._sets is None:
            self._sets = _open_sets(self._config)
        classes = self._sets["clean"].classes
        templates = prompt_templates(self._config.templates)
        classifier = build_classifier(model, classes.names, templates)
        clean: Predictions | None = None
        for name, opened in self._sets.items():
            answers = classify(model, opened.images, classifier)
            metrics = compute_metrics(answers, classes, clean)
            values.update(_flatten(name, metrics))
            outcomes[f"{name}_right"] = answers.right
            outcomes[f"{name}_item"] = np.array(answers.clusters)
            if metrics.attack_success is not None and metrics.attack_success.n == metrics.n:
                outcomes[f"{name}_fooled"] = fooled(answers, classes)
            clean = answers

    def _retrieval(self, model: ClipModel, values: dict[str, Any], outcomes: Outcomes) -> None:
        if self._captioned is None:
            self._captioned = CaptionedImages(str(self._config.retrieval), self._config.limit)
        found = measure_retrieval(model, self._captioned)
        values.update(recalls("i2t", found.image_ranks))
        values.update(recalls("t2i", found.text_ranks))
        values["retrieval_images"] = len(found.image_ranks)
        values["retrieval_captions"] = len(found.text_ranks)
        values["retrieval_failed"] = len(found.failures)
        outcomes["i2t_right"], outcomes["t2i_right"] = found.image_ranks == 0, found.text_ranks == 0
        names = np.array(found.names)
        outcomes["i2t_item"], outcomes["t2i_item"] = names, names[found.owners]

    def _image_retrieval(
        self, model: ClipModel, values: dict[str, Any], outcomes: Outcomes
    ) -> None:
        if self._images is None:
            found = open_retrieval_set(str(self._config.image_retrieval))
            self._images = some_of(found.images, self._config.limit)
        embedded = embed_labelled(model, self._images)
        labels = embedded.labels
        with_query, without = average_precisions(embedded.vectors, labels)
        means = Precisions(labels, with_query, without).mean()
        values["image_map"] = means.with_query
        values["image_map_random"] = means.with_query_random
        values["image_map_without_query"] = means.without_query
        values["image_map_without_query_random"] = means.without_query_random
        values["image_n"], values["image_failed"] = means.n, len(embedded.failures)
        outcomes["image_precision"] = with_query
        outcomes["image_class"] = np.array(self._images.classes.wnids)[labels]
        if len(labels) > 1:
            outcomes["image_knn_right"] = vote_leaving_out(embedded.vectors, labels) == labels
            values["image_knn"] = float(outcomes["image_knn_right"].mean())


def evaluate_checkpoint(
    checkpoint: Path, config: EvalConfig, device: str, *, averaged: bool | None, out: Path | None
) -> dict[str, Any]:
    """Measure one checkpoint; with `out`, `metrics.json` and the single outcomes go there."""
    from train_clip.distributed import pick_device
    from train_clip.models.export import open_checkpoint

    if not config.is_wanted:
        raise ConfigError("nothing to measure: give --retrieval, --image-retrieval or --zeroshot")
    _, bundle, weights = open_checkpoint(checkpoint, averaged=averaged)
    evaluator = Evaluator(config, bundle, pick_device(device, 0))
    if out is None:
        with tempfile.TemporaryDirectory(prefix="train-clip-") as folder:
            return evaluator.measure(weights, Path(folder), 0)
    remove_leftovers(out)
    values = evaluator.measure(weights, out, 0)
    write_text(out / "metrics.json", json.dumps({"checkpoint": str(checkpoint), **values}))
    return values


def _open_sets(config: EvalConfig) -> dict[str, OpenedSet]:
    labels = None if config.labels is None else Path(config.labels)
    classes = parse_classes(config.classes)
    return open_twins(str(config.zeroshot), config.attacked, classes, labels, config.limit)


def _flatten(name: str, metrics: Metrics) -> dict[str, Any]:
    values: dict[str, Any] = {
        f"{name}_top1": metrics.top1.value,
        f"{name}_mean_per_class_recall": metrics.mean_per_class_recall,
        f"{name}_n": metrics.n,
        f"{name}_failed": metrics.n_failed,
    }
    if not math.isnan(metrics.top5.value):
        values[f"{name}_top5"] = metrics.top5.value
    if metrics.drop is not None:
        values[f"{name}_drop"] = metrics.drop.value
    if metrics.attack_success is not None:
        values[f"{name}_attack_success"] = metrics.attack_success.value
    return values

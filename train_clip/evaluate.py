"""Measuring a model: zero-shot with its attacked twin (through attr_builder), and retrieval.

Evaluation decodes full-size and uses open_clip's own transform; it never touches the model that
is being trained. Beside the numbers, what each single image or caption got is stored, so that
`compare` can pair them.
"""

from __future__ import annotations

import copy
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image

from attr_builder.evaluation.image_sets import OpenedSet, open_any
from attr_builder.evaluation.outcomes import fooled
from attr_builder.evaluation.retrieval import image_ranks, recalls, text_ranks
from attr_builder.evaluation.zeroshot import (
    EvalSet,
    Metrics,
    Predictions,
    build_classifier,
    classify,
    compute_metrics,
    prompt_templates,
)
from attr_builder.labelled_images.sources import SourceItem, parse_classes
from lesstext.images import decode
from lesstext.shards.specs import expand_specs
from lesstext.storage.files import atomic_path, write_text
from train_clip.data.index import default_cache, open_shard
from train_clip.data.reader import ReadSettings, SampleReader
from train_clip.data.source_plan import SourcePlan, write_plan
from train_clip.errors import ConfigError
from train_clip.models.build import ModelBundle
from train_clip.settings import CaptionAugment, EvalConfig, ImageAugment

_BATCH = 64
Outcomes = dict[str, NDArray[Any]]


class Evaluator:
    """Measures weights on the sets of an EvalConfig; opens them when first asked."""

    def __init__(self, config: EvalConfig, bundle: ModelBundle, device: torch.device) -> None:
        self._config, self._bundle, self._device = config, bundle, device
        self._model: torch.nn.Module | None = None
        self._sets: dict[str, OpenedSet] | None = None
        self._captioned: CaptionedImages | None = None

    @property
    def is_wanted(self) -> bool:
        return self._config.zeroshot is not None or self._config.retrieval is not None

    def measure(self, weights: dict[str, Any], folder: Path, step: int) -> dict[str, Any]:
        """All metrics of `weights` as flat names; single outcomes go to `folder`."""
        model = self._load(weights)
        values: dict[str, Any] = {}
        outcomes: Outcomes = {}
        with torch.inference_mode():
            if self._config.zeroshot is not None:
                self._zeroshot(model, values, outcomes)
            if self._config.retrieval is not None:
                self._retrieval(model, values, outcomes)
        with atomic_path(folder / f"step_{step:08d}.npz") as partial, partial.open("wb") as file:
            np.savez_compressed(file, **outcomes)  # type: ignore[arg-type]
        return values

    def _load(self, weights: dict[str, Any]) -> torch.nn.Module:
        if self._model is None:
            self._model = copy.deepcopy(self._bundle.model).to(self._device).float()
        self._model.load_state_dict(weights)
        return self._model.eval()

    def _zeroshot(self, model: Any, values: dict[str, Any], outcomes: Outcomes) -> None:
        if self._sets is None:
            self._sets = open_sets(self._config)
        classes = self._sets["clean"].classes
        templates = prompt_templates(self._config.templates)
        classifier = build_classifier(
            model, self._bundle.tokenizer, classes.names, templates, self._device
        )
        preprocess = evaluation_transform(model)
        clean: Predictions | None = None
        for name, opened in self._sets.items():
            answers = classify(model, preprocess, opened.images, classifier, device=self._device)
            metrics = compute_metrics(answers, classes, clean)
            values.update(_flatten(name, metrics))
            outcomes[f"{name}_right"] = answers.right
            outcomes[f"{name}_item"] = np.array(answers.clusters)
            if metrics.attack_success is not None and metrics.attack_success.n == metrics.n:
                outcomes[f"{name}_fooled"] = fooled(answers, classes)
            clean = answers

    def _retrieval(self, model: Any, values: dict[str, Any], outcomes: Outcomes) -> None:
        if self._captioned is None:
            self._captioned = CaptionedImages(str(self._config.retrieval), self._config.limit)
        images, texts, owners = self._captioned.embed(model, self._bundle, self._device)
        to_text, to_image = image_ranks(images, texts, owners), text_ranks(images, texts, owners)
        values.update(recalls("i2t", to_text))
        values.update(recalls("t2i", to_image))
        values["retrieval_images"], values["retrieval_captions"] = len(images), len(texts)
        values["retrieval_failed"] = len(self._captioned.failures)
        outcomes["i2t_right"], outcomes["t2i_right"] = to_text == 0, to_image == 0
        names = np.array(self._captioned.names)
        outcomes["i2t_item"], outcomes["t2i_item"] = names, names[owners]


def evaluate_checkpoint(
    checkpoint: Path, config: EvalConfig, device: str, *, averaged: bool | None, out: Path | None
) -> dict[str, Any]:
    """Measure one checkpoint; with `out`, `metrics.json` and the single outcomes go there."""
    from train_clip.distributed import pick_device
    from train_clip.models.export import open_checkpoint

    if config.zeroshot is None and config.retrieval is None:
        raise ConfigError("nothing to measure: give --retrieval or --zeroshot")
    _, bundle, weights = open_checkpoint(checkpoint, averaged=averaged)
    evaluator = Evaluator(config, bundle, pick_device(device, 0))
    if out is None:
        with tempfile.TemporaryDirectory(prefix="train-clip-") as folder:
            return evaluator.measure(weights, Path(folder), 0)
    values = evaluator.measure(weights, out, 0)
    write_text(out / "metrics.json", json.dumps({"checkpoint": str(checkpoint), **values}))
    return values


class CaptionedImages:
    """The images of shards with all their captions; `failures` names what could not be read."""

    def __init__(self, spec: str, limit: int | None) -> None:
        tables = [open_shard(shard, default_cache()) for shard in expand_specs([spec])]
        with tempfile.TemporaryDirectory(prefix="train-clip-") as folder:
            self._plan: SourcePlan = write_plan(Path(folder), spec, tables, 0)
            settings = ReadSettings(ImageAugment(), CaptionAugment(), ("auto",), 1, 10**9, 0)
            self._reader = SampleReader([self._plan], settings)
        self._chosen = spaced(self._plan.size, limit)
        self.names: list[str] = []
        self.failures: list[str] = []

    def embed(
        self, model: Any, bundle: ModelBundle, device: torch.device
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Unit embeddings of images (n, d) and captions (m, d), and each caption's image (m,)."""
        self.names, self.failures = [], []
        transform = evaluation_transform(model)
        images, texts = [], []
        owners: list[int] = []
        for start in range(0, len(self._chosen), _BATCH):
            pixels, captions = [], []
            for index in self._chosen[start : start + _BATCH]:
                loaded = self._load(index, transform)
                if loaded is None:
                    continue
                owners += [len(self.names)] * len(loaded[1])
                self.names.append(self._plan.name(index))
                pixels.append(loaded[0])
                captions += loaded[1]
            if pixels:
                batch = torch.stack(pixels).to(device)
                images.append(model.encode_image(batch, normalize=True).float().cpu().numpy())
                texts += _embed_texts(model, bundle, captions, device)
        return np.concatenate(images), np.concatenate(texts), np.array(owners, dtype=np.int64)

    def _read(self, index: int) -> tuple[bytes, list[str]]:
        """The image and all its captions: those of its json, else the one it has."""
        try:
            return self._reader.read(0, index, "captions")
        except ValueError:
            return self._reader.read(0, index, "auto")

    def _load(self, index: int, transform: Any) -> tuple[torch.Tensor, list[str]] | None:
        try:
            data, captions = self._read(index)
            return transform(Image.fromarray(decode(data).pixels)), captions
        except Exception as error:  # the boundary of one sample; counted in the metrics
            self.failures.append(f"{self._plan.name(index)}: {error}")
            return None


def evaluation_transform(model: Any) -> Any:
    """open_clip's own preprocessing for a model."""
    config = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    return open_clip.transform.image_transform_v2(config, is_train=False)


def spaced(size: int, limit: int | None) -> list[int]:
    """All of 0 .. size - 1, or `limit` of them evenly spaced.

    >>> spaced(10, 4)
    [0, 2, 5, 7]
    """
    if limit is None or limit >= size:
        return list(range(size))
    return [size * i // limit for i in range(limit)]


def open_sets(config: EvalConfig) -> dict[str, OpenedSet]:
    """The clean set and its attacked twin; raises SourceError, or ConfigError for no twins."""
    classes = parse_classes(config.classes)
    labels = None if config.labels is None else Path(config.labels)
    clean = open_any(str(config.zeroshot), classes, labels)
    chosen = spaced(len(clean.images.items), config.limit)
    wanted = {clean.images.clusters[row] for row in chosen}
    sets = {"clean": OpenedSet(_rows(clean.images, chosen), clean.classes)}
    if config.attacked is not None:
        twin = open_any(config.attacked, classes or clean.classes, labels)
        if twin.classes != clean.classes:
            raise ConfigError(f"{config.attacked} and {config.zeroshot} have different classes")
        rows = [row for row, photo in enumerate(twin.images.clusters) if photo in wanted]
        if not rows:
            raise ConfigError(f"{config.attacked} shows none of the photos of {config.zeroshot}")
        sets["attacked"] = OpenedSet(_rows(twin.images, rows), twin.classes)
    return sets


class _Some(Sequence[SourceItem]):
    """Some items of a source, read when asked for."""

    def __init__(self, items: Sequence[SourceItem], chosen: Sequence[int]) -> None:
        self._items, self._chosen = items, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        return self._items[self._chosen[index]]


def _rows(images: EvalSet, rows: Sequence[int]) -> EvalSet:
    return EvalSet(
        items=_Some(images.items, rows),
        attack_labels=[images.attack_labels[row] for row in rows],
        clusters=[images.clusters[row] for row in rows],
        note=images.note,
    )


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


def _embed_texts(
    model: Any, bundle: ModelBundle, captions: list[str], device: torch.device
) -> list[NDArray[np.float32]]:
    parts = []
    for start in range(0, len(captions), _BATCH):
        tokens = bundle.tokenizer(captions[start : start + _BATCH]).to(device)
        parts.append(model.encode_text(tokens, normalize=True).float().cpu().numpy())
    return parts

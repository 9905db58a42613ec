"""Zero-shot numbers equal CLIP_benchmark's and open_clip's; nothing is skipped silently."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attr_builder.errors import UsageError
from attr_builder.evaluation.embeddings import open_as_trainers_do
from attr_builder.evaluation.outcomes import EvalSet, compute_metrics
from attr_builder.evaluation.zeroshot import classify
from attr_builder.labelled_images.sources import SourceItem, open_source
from lesstext.clip import ClipModel, build_classifier, load_model, prompt_templates
from tests.attr_builder.conftest import SIX


@pytest.fixture(scope="module")
def model(tiny_model: tuple[str, str]) -> ClipModel:
    return load_model(*tiny_model)


def items(photos: Path) -> EvalSet:
    source = open_source(photos, classes=SIX)
    return EvalSet.plain(source, source.keys)


@pytest.mark.parametrize("n_templates", [1, 7])
def test_numbers_equal_clip_benchmarks(
    model: ClipModel, photos: Path, n_templates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = pytest.importorskip(
        "clip_benchmark.metrics.zeroshot_classification", reason="needs clip-benchmark"
    )
    # Its accuracy() calls float() on an array of one element, which new NumPy refuses.
    to_float = lambda value: builtins.float(np.asarray(value).reshape(-1)[0])  # noqa: E731
    monkeypatch.setattr(theirs, "float", to_float, raising=False)
    images, templates = items(photos), prompt_templates(n_templates)

    batches: Any = _Loader(images, model)
    expected = theirs.evaluate(
        model.network, batches, model.tokenizer, list(SIX.names), templates, "cpu", amp=False
    )
    classifier = build_classifier(model, SIX.names, templates)
    theirs_classifier = theirs.zero_shot_classifier(
        model.network, model.tokenizer, list(SIX.names), templates, "cpu", amp=False
    )
    assert torch.allclose(classifier, theirs_classifier, atol=1e-6)
    answers = classify(model, images, classifier, batch_size=5)
    logits, _ = theirs.run_classification(model.network, classifier, batches, "cpu", amp=False)
    true_logits = logits.gather(1, torch.tensor(answers.labels)[:, None])[:, 0].numpy()
    assert np.abs(100 * answers.true_cosine - true_logits).max() < 1e-4
    metrics = compute_metrics(answers, SIX)
    assert metrics.top1.value == pytest.approx(expected["acc1"], abs=1e-6)
    assert metrics.top5.value == pytest.approx(expected["acc5"], abs=1e-6)
    assert metrics.mean_per_class_recall == pytest.approx(
        expected["mean_per_class_recall"], abs=1e-6
    )
    assert 0 < metrics.top5.value <= 1


class _Loader:
    """Batches of (pixels, labels) with `dataset.classes`, as CLIP_benchmark wants them."""

    def __init__(self, images: EvalSet, model: ClipModel) -> None:
        self.dataset = SIX
        self.images, self.model = images, model
        object.__setattr__(self, "dataset", type("Data", (), {"classes": SIX.names}))

    def __iter__(self) -> Any:
        for item in self.images.items:
            pixels = self.model.preprocess(open_as_trainers_do(item.data))
            yield pixels[None], torch.tensor([item.label])


def test_batches_and_workers_do_not_change_answers(model: ClipModel, photos: Path) -> None:
    images = items(photos)
    classifier = build_classifier(model, SIX.names, prompt_templates(1))
    one = classify(model, images, classifier, batch_size=1)
    many = classify(model, images, classifier, batch_size=64, n_workers=1)
    assert (one.top == many.top).all() and (one.rows == np.arange(18)).all()
    assert np.abs(one.true_cosine - many.true_cosine).max() < 1e-6


def test_unreadable_images_are_listed(model: ClipModel, photos: Path) -> None:
    good = open_source(photos, classes=SIX)[0]
    broken = SourceItem("broken", 1, b"no image", "broken.jpg")
    images = EvalSet.plain([broken, good], ["broken", good.key])
    classifier = build_classifier(model, SIX.names, prompt_templates(1))
    answers = classify(model, images, classifier)
    assert [(row, "not an image" in why) for row, why in answers.failures] == [(0, True)]
    assert answers.clusters == [good.key]
    metrics = compute_metrics(answers, SIX)
    assert (metrics.n, metrics.n_failed) == (1, 1)
    with pytest.raises(UsageError, match="no image could be evaluated"):
        classify(model, EvalSet.plain([broken], ["broken"]), classifier)

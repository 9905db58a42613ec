"""Zero-shot numbers equal CLIP_benchmark's and open_clip's; nothing is skipped silently."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from attr_builder.errors import UsageError
from attr_builder.evaluation.outcomes import EvalSet, Predictions, compute_metrics
from attr_builder.evaluation.zeroshot import (
    build_classifier,
    classify,
    evaluate_variants,
    fill_template,
    open_as_trainers_do,
    prompt_templates,
)
from attr_builder.labelled_images.classes import ClassList
from attr_builder.labelled_images.sources import SourceItem, open_source
from attr_builder.models import LoadedModel, load_model
from tests.attr_builder.conftest import SIX, TINY_MODEL


@pytest.fixture(scope="module")
def model(tiny_model: tuple[str, str]) -> LoadedModel:
    return load_model(*tiny_model, "cpu")


def test_a_stored_model_brings_its_weights(model: LoadedModel, tmp_path: Path) -> None:
    config = {"model_cfg": TINY_MODEL, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.network.state_dict(), tmp_path / "open_clip_model.safetensors")
    stored = load_model(f"local-dir:{tmp_path}", None, "cpu").network.state_dict()
    mine = model.network.state_dict()
    assert stored.keys() == mine.keys()
    assert all(torch.equal(stored[name], mine[name]) for name in mine)


def items(photos: Path) -> EvalSet:
    source = open_source(photos, classes=SIX)
    return EvalSet.plain(source, source.keys)


@pytest.mark.parametrize("n_templates", [1, 7])
def test_numbers_equal_clip_benchmarks(
    model: LoadedModel, photos: Path, n_templates: int, monkeypatch: pytest.MonkeyPatch
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
    classifier = build_classifier(model.network, model.tokenizer, SIX.names, templates)
    theirs_classifier = theirs.zero_shot_classifier(
        model.network, model.tokenizer, list(SIX.names), templates, "cpu", amp=False
    )
    assert torch.allclose(classifier, theirs_classifier, atol=1e-6)
    answers = classify(model.network, model.preprocess, images, classifier, batch_size=5)
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

    def __init__(self, images: EvalSet, model: LoadedModel) -> None:
        self.dataset = SIX
        self.images, self.model = images, model
        object.__setattr__(self, "dataset", type("Data", (), {"classes": SIX.names}))

    def __iter__(self) -> Any:
        for item in self.images.items:
            pixels = self.model.preprocess(open_as_trainers_do(item.data))
            yield pixels[None], torch.tensor([item.label])


def test_classifier_equals_open_clips(model: LoadedModel) -> None:
    from open_clip import SIMPLE_IMAGENET_TEMPLATES, build_zero_shot_classifier

    expected = build_zero_shot_classifier(
        model.network, model.tokenizer, SIX.names, SIMPLE_IMAGENET_TEMPLATES
    )
    ours = build_classifier(model.network, model.tokenizer, SIX.names, prompt_templates(7))
    assert torch.allclose(ours, expected, atol=1e-6)


def test_templates_are_the_published_ones() -> None:
    assert [len(prompt_templates(n)) for n in (80, 7, 1)] == [80, 7, 1]
    assert fill_template(prompt_templates(80)[0], "tench") == "a bad photo of a tench."
    with pytest.raises(UsageError, match="80, 7 or 1"):
        prompt_templates(5)


def test_batches_and_workers_do_not_change_answers(model: LoadedModel, photos: Path) -> None:
    images = items(photos)
    classifier = build_classifier(model.network, model.tokenizer, SIX.names, prompt_templates(1))
    one = classify(model.network, model.preprocess, images, classifier, batch_size=1)
    many = classify(model.network, model.preprocess, images, classifier, batch_size=64, n_workers=1)
    assert (one.top == many.top).all() and (one.rows == np.arange(18)).all()
    assert np.abs(one.true_cosine - many.true_cosine).max() < 1e-6


def test_unreadable_images_are_listed(model: LoadedModel, photos: Path) -> None:
    good = open_source(photos, classes=SIX)[0]
    broken = SourceItem("broken", 1, b"no image", "broken.jpg")
    images = EvalSet.plain([broken, good], ["broken", good.key])
    classifier = build_classifier(model.network, model.tokenizer, SIX.names, prompt_templates(1))
    answers = classify(model.network, model.preprocess, images, classifier)
    assert [(row, "cannot decode" in why) for row, why in answers.failures] == [(0, True)]
    assert answers.clusters == [good.key]
    metrics = compute_metrics(answers, SIX)
    assert (metrics.n, metrics.n_failed) == (1, 1)
    with pytest.raises(UsageError, match="no image could be evaluated"):
        classify(model.network, model.preprocess, EvalSet.plain([broken], ["broken"]), classifier)


def test_the_model_goes_back_to_training_mode(model: LoadedModel, photos: Path) -> None:
    model.network.train()
    sets = {"clean": items(photos)}
    result = evaluate_variants(
        model.network, model.tokenizer, model.preprocess, sets, SIX, n_templates=1
    )
    assert model.network.training
    assert result["clean"].top1.n == 18 and result["clean"].drop is None


def predictions(top: list[int], labels: list[int], attacks: list[int]) -> Predictions:
    n = len(top)
    order = [[t, *[c for c in range(6) if c != t]][:5] for t in top]
    return Predictions(
        rows=np.arange(n),
        labels=np.array(labels),
        attack_labels=np.array(attacks),
        clusters=[f"photo{i}" for i in range(n)],
        top=np.array(order),
        true_cosine=np.linspace(0.1, 0.3, n).astype(np.float32),
        attack_cosine=np.full(n, 0.2, dtype=np.float32),
    )


def test_attack_measures_by_hand() -> None:
    classes = ClassList(tuple("abcdef"), ("cat", "dog", "fox", "emu", "hen", "Hen"))
    #                  right, fooled, other wrong, fooled by the twin name, no-op
    attacked = predictions([0, 1, 3, 5, 5], [0, 0, 0, 1, 4], [1, 1, 1, 4, 5])
    clean = predictions([0, 0, 3, 1, 4], [0, 0, 0, 1, 4], [1, 1, 1, 4, 5])
    metrics = compute_metrics(attacked, classes, clean)
    assert metrics.n_noop == 1
    assert metrics.top1.value == pytest.approx(1 / 5)
    assert metrics.attack_success is not None and metrics.attack_success.n == 4
    assert metrics.attack_success.value == pytest.approx(2 / 4)
    among = metrics.attack_success_when_clean_right
    assert among is not None and among.n == 3
    assert among.value == pytest.approx(2 / 3)
    assert metrics.pairwise_wins is not None
    assert metrics.pairwise_wins.value == pytest.approx(1 / 4)
    assert metrics.drop is not None
    assert (metrics.drop.n_lost, metrics.drop.n_gained) == (3, 0)
    assert metrics.drop.value == pytest.approx(3 / 5)

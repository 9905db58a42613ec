"""The loss by hand, and its gradient however the batch is split."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.train_clip.conftest import make_config
from tests.train_clip.objectives.prototypes import ALONE, premises
from train_clip.errors import ConfigError
from train_clip.models.build import build_model, check_batchnorm, freeze_batchnorm, has_batchnorm
from train_clip.objectives.contrastive import Contrastive, SigLip
from train_clip.objectives.exact_gradient import ExactGradient
from train_clip.objectives.own_parameters import OwnParameters
from train_clip.objectives.registry import make_objective
from train_clip.training.optim import (
    build_optimizer,
    clamp_logit_scale,
    gradient_norm,
    is_free_of_decay,
)


def test_clip_loss_by_hand() -> None:
    """Two pairs, scale 2: logits [[2, 0], [1.2, 1.6]] (image rows)."""
    images = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    texts = torch.eye(2)
    outputs = {
        "image_features": images,
        "text_features": texts,
        "logit_scale": torch.tensor(2.0),
    }
    loss = Contrastive().loss(outputs, None)
    rows = math.log(1 + math.exp(-2.0)) + math.log(1 + math.exp(1.2 - 1.6))
    columns = math.log(1 + math.exp(1.2 - 2.0)) + math.log(1 + math.exp(0.0 - 1.6))
    assert float(loss) == pytest.approx((rows + columns) / 4, rel=1e-6)


def test_siglip_loss_by_hand() -> None:
    """As above with bias -1: logits [[1, -1], [0.2, 0.6]]; the sum over pairs / 2."""
    outputs = {
        "image_features": torch.tensor([[1.0, 0.0], [0.6, 0.8]]),
        "text_features": torch.eye(2),
        "logit_scale": torch.tensor(2.0),
        "logit_bias": torch.tensor(-1.0),
    }
    loss = SigLip().loss(outputs, None)
    terms = [math.log(1 + math.exp(-z)) for z in (1.0, 1.0, -0.2, 0.6)]
    assert float(loss) == pytest.approx(sum(terms) / 2, rel=1e-6)


Ready = tuple[torch.nn.Module, ExactGradient]


def ready(loss: str, **changes: Any) -> Ready:
    """A nano model in float64, and the gradient of an objective."""
    config = make_config("unused", loss=loss, precision="fp64", **changes)
    objective = make_objective(config)
    bundle = build_model(config, objective.model_start)
    own = OwnParameters(objective, premises(bundle.width, ALONE), torch.float64)
    return bundle.model.double().train(), ExactGradient(objective, own, "fp64", ALONE)


def make_batches(rows: int, splits: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(rows, 3, 16, 16, generator=generator, dtype=torch.float64)
    tokens = torch.randint(1, 49000, (rows, 12), generator=generator)
    return [
        {"images": i, "tokens": t}
        for i, t in zip(images.chunk(splits), tokens.chunk(splits), strict=True)
    ]


def gradients(loss: str, splits: int, **changes: Any) -> tuple[float, dict[str, torch.Tensor]]:
    model, gradient = ready(loss, **changes)
    batches = make_batches(64, splits)
    torch.manual_seed(5)
    value = gradient.backward(model, batches)
    return float(value), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_four_times_16_equals_64(loss: str) -> None:
    whole, expected = gradients(loss, 1)
    split, found = gradients(loss, 4)
    assert split == pytest.approx(whole, abs=1e-12)
    assert found.keys() == expected.keys()
    assert "logit_scale" in found
    for name, gradient in expected.items():
        assert (found[name] - gradient).abs().max() < 1e-12, name


def test_both_passes_of_a_micro_batch_drop_the_same_patches() -> None:
    """With patch dropout the split gradient is that of one random draw, and repeats."""
    first = gradients("clip", 4, patch_dropout=0.5)
    second = gradients("clip", 4, patch_dropout=0.5)
    assert first[0] == second[0]
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


def test_the_split_gradient_with_patch_dropout_is_the_gradient_of_its_loss() -> None:
    """Finite differences of the loss in one weight, with the same dropout."""
    model, exact = ready("clip", patch_dropout=0.5)
    batches = make_batches(8, 2)

    def loss() -> float:
        torch.manual_seed(9)
        model.zero_grad()
        return float(exact.backward(model, batches))

    loss()
    weight: Any = model.visual.proj  # type: ignore[union-attr]
    gradient = float(weight.grad[0, 0])
    step = 1e-6
    weight.data[0, 0] += step
    above = loss()
    weight.data[0, 0] -= 2 * step
    below = loss()
    assert gradient == pytest.approx((above - below) / (2 * step), rel=1e-5)


def test_batchnorm_is_refused_where_the_batch_is_split() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    assert has_batchnorm(model)
    check_batchnorm(model, frozen=False, accumulate=1, world=1)
    check_batchnorm(model, frozen=True, accumulate=4, world=2)
    with pytest.raises(ConfigError, match=r"--accumulate 4 is refused.*--freeze-batchnorm"):
        check_batchnorm(model, frozen=False, accumulate=4, world=1)
    with pytest.raises(ConfigError, match="2 ranks is refused"):
        check_batchnorm(model, frozen=False, accumulate=1, world=2)
    model.train()
    freeze_batchnorm(model)
    assert not model[1].training


def test_decay_groups_are_open_clips() -> None:
    config = make_config("unused", weight_decay=0.3)
    model = build_model(config, {}).model
    free, decayed = build_optimizer(config, model).param_groups
    assert (free["weight_decay"], decayed["weight_decay"]) == (0.0, 0.3)
    assert len(free["params"]) + len(decayed["params"]) == len(list(model.parameters()))
    assert is_free_of_decay("logit_scale", model.logit_scale)  # type: ignore[arg-type]
    assert is_free_of_decay("visual.ln_pre.weight", torch.zeros(4))
    assert not is_free_of_decay("visual.conv1.weight", torch.zeros(4, 3, 2, 2))


def test_logit_scale_is_held() -> None:
    model = build_model(make_config("unused"), {}).model
    for value, expected in ((9.0, math.log(100)), (-1.0, 0.0)):
        model.logit_scale.data.fill_(value)  # type: ignore[operator]
        clamp_logit_scale(model)
        assert model.logit_scale.item() == pytest.approx(expected)  # type: ignore[operator]


def test_gradient_norm_by_hand_and_clipped() -> None:
    one, two = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    one.grad, two.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert gradient_norm([one, two], None) == 5.0
    assert gradient_norm([one, two], 1.0) == 5.0
    assert float(one.grad) == pytest.approx(0.6, rel=1e-5)

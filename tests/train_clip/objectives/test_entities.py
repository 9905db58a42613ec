"""The objectives of labels: losses by hand, and what a run makes of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from tests.train_clip.conftest import make_config, write_shards
from tests.train_clip.labelled import write_labels
from tests.train_clip.objectives.prototypes import premises
from tests.train_clip.runs import assert_same, newest, rows
from train_clip.config import TrainConfig
from train_clip.errors import ConfigError
from train_clip.objectives.base import Outputs
from train_clip.objectives.contrastive import Contrastive
from train_clip.objectives.entity import EntitySoftmax
from train_clip.objectives.entity_text import EntityContrastive
from train_clip.objectives.multitask import MultiTask
from train_clip.objectives.positives import related
from train_clip.objectives.registry import make_objective
from train_clip.settings import SourceConfig
from train_clip.training.loop import train

OBJECTIVES: dict[str, dict[str, Any]] = {
    "entity": {"loss": "entity", "loss_options": {"margin": 0.2}},
    "contrastive": {"loss": "contrastive"},
    "mix": {"loss": "contrastive", "loss_options": {"text": "mix:0.5"}},
    "multitask": {"loss": "multitask", "loss_options": {"text": "alt", "entity_weight": 0.5}},
}


def unit(seed: int, rows: int = 6, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, width, generator=generator, dtype=torch.float64), dim=1)


def table(n_classes: int = 7) -> Any:
    torch.manual_seed(4)
    return EntitySoftmax().own_parameters(premises(5, n_classes=n_classes)).double()


def sorted_by(labels: list[list[int]], own: Any, **options: Any) -> Tensor:
    outputs = {"image_features": unit(1, len(labels)), "labels": torch.tensor(labels)}
    return EntitySoftmax(**options).loss(outputs, own)


def test_one_entity_each_is_cross_entropy_of_scaled_cosines() -> None:
    own = table()
    labels = torch.tensor([3, 0, 6, 6, 1, 2])
    cosines = unit(1) @ normalize(own.rows, dim=1).T
    found = sorted_by(labels.unsqueeze(1).tolist(), own, scale=9.0, margin=0.25)
    taken_off = torch.zeros_like(cosines).scatter_(1, labels.unsqueeze(1), 0.25)
    assert float(found.detach()) == pytest.approx(
        float(cross_entropy(9.0 * (cosines - taken_off), labels).detach()), abs=1e-12
    )


def test_further_entities_are_no_negatives_and_images_without_any_do_not_count() -> None:
    own = table(4)
    cosines = (unit(1, 3) @ normalize(own.rows, dim=1).T).detach()
    found = sorted_by([[1, 3], [-1, -1], [2, -1]], own, scale=5.0)
    alone = [
        float(cross_entropy(5 * cosines[0, [0, 2, right]].unsqueeze(0), torch.tensor([2])))
        for right in (1, 3)
    ]
    last = float(cross_entropy(5 * cosines[2:3], torch.tensor([2])))
    assert float(found.detach()) == pytest.approx((sum(alone) / 2 + last) / 2, abs=1e-12)


def test_gradients_stay_numbers_where_nothing_is_wrong_or_labelled() -> None:
    own = table(2)
    for labels, loss in (([[0, 1]], 0.0), ([[-1, -1]], 0.0)):
        own.zero_grad()
        found = sorted_by(labels, own)
        assert float(found.detach()) == loss
        found.backward()  # type: ignore[no-untyped-call]
        assert torch.equal(own.taken.grad, torch.zeros(2, 5, dtype=torch.float64))


def test_rows_are_related_by_any_class_that_both_hold() -> None:
    one, other = torch.tensor([[0, -1], [3, 1], [-1, -1]]), torch.tensor([[0], [1], [2], [-1]])
    assert related(one, other).int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_multitask_samples_as_many_classes_as_asked() -> None:
    for negatives, expected in ((3, 3), (None, 7)):
        own: Any = MultiTask(negatives=negatives).own_parameters(premises(5, n_classes=7))
        assert own.n_sampled == expected


def paired(labels: list[list[int]], texts: list[list[int]] | None = None) -> Outputs:
    n = len(labels)
    return {
        "image_features": unit(1, n),
        "text_features": unit(2, n),
        "logit_scale": torch.tensor(3.0, dtype=torch.float64),
        "labels": torch.tensor(labels),
        "text_labels": torch.tensor(labels if texts is None else texts),
    }


def test_without_a_shared_entity_the_loss_is_clips() -> None:
    outputs = paired([[0], [1], [2], [-1]])
    plain = {name: value for name, value in outputs.items() if "labels" not in name}
    found = float(EntityContrastive().loss(outputs, None))
    assert found == pytest.approx(float(Contrastive().loss(plain, None)), abs=1e-12)


def test_a_shared_entity_is_a_positive_in_both_directions() -> None:
    """Images 0 and 1 share entity 7; image 2 shares nothing."""
    outputs = paired([[7, -1], [5, 7], [9, -1]])
    s = 3 * outputs["image_features"] @ outputs["text_features"].T

    def apart(right: Tensor, wrong: list[Tensor]) -> float:
        return float(torch.stack([right, *wrong]).logsumexp(0) - right)

    def mean(s: Tensor) -> float:
        pairs = [(apart(s[i, 0], [s[i, 2]]) + apart(s[i, 1], [s[i, 2]])) / 2 for i in (0, 1)]
        return (sum(pairs) + apart(s[2, 2], [s[2, 0], s[2, 1]])) / 3

    expected = (mean(s) + mean(s.T)) / 2
    assert float(EntityContrastive().loss(outputs, None)) == pytest.approx(expected, abs=1e-12)


def test_relations_by_hand() -> None:
    one, two = torch.tensor([[7, -1], [5, 7], [-1, -1]]), torch.tensor([[5], [-1], [7]])
    assert related(one, two).tolist() == [[False, False, True], [True, False, True], [False] * 3]


def shown(text: str, draws: list[float]) -> Outputs:
    """The outputs of a batch of three: two of two entities each, one without any."""
    batch = {
        "images": torch.zeros(3, 1),
        "tokens": torch.tensor([[1.0], [2.0], [3.0]]),
        "entity_tokens": torch.tensor([[10.0], [20.0], [3.0]]),
        "entity": torch.tensor([4, 6, -1]),
        "labels": torch.tensor([[4, 5], [5, 6], [-1, -1]]),
        "text_draw": torch.tensor(draws, dtype=torch.float64),
    }

    def model(images: Tensor, tokens: Tensor) -> Outputs:
        scale = torch.tensor(1.0)
        return {"image_features": images, "text_features": tokens, "logit_scale": scale}

    found: Any = model
    return EntityContrastive(text=text).outputs(found, batch)


def test_texts_that_are_shown_and_what_they_are_about() -> None:
    mixed = shown("mix:0.5", [0.2, 0.7, 0.1])
    assert mixed["text_features"].tolist() == [[10.0], [2.0], [3.0]]
    assert mixed["text_labels"].tolist() == [[4, -1], [5, 6], [-1, -1]]
    named = shown("entity", [0.2, 0.999, 0.1])
    assert named["text_features"].tolist() == [[10.0], [20.0], [3.0]]
    assert named["text_labels"].tolist() == [[4, -1], [6, -1], [-1, -1]]
    assert named["labels"].tolist() == [[4, 5], [5, 6], [-1, -1]]
    assert set(shown("alt", [0.0] * 3)) == {"image_features", "text_features", "logit_scale"}


def test_columns_are_those_that_the_text_needs() -> None:
    assert EntityContrastive(text="alt").columns == ("tokens",)
    assert "tokens" not in EntityContrastive().columns
    assert {"tokens", "entity_tokens"} <= set(EntityContrastive(text="mix:0.1").columns)
    assert MultiTask(text="alt").columns == ("tokens", "labels")
    needy = [EntityContrastive(), EntitySoftmax()]
    free = [EntityContrastive(text="mix:0.9"), EntityContrastive(text="alt"), MultiTask()]
    assert [one.needs_every_label for one in [*needy, *free]] == [True, True, False, False, False]


def test_multitask_is_the_sum_of_both() -> None:
    own, outputs = table(10), paired([[0], [1], [1], [-1]])
    outputs["classes"] = torch.tensor([[3], [-1], [4], [0]])
    found = MultiTask(entity_weight=0.3, scale=9.0, margin=0.1).loss(outputs, own)
    expected = EntityContrastive().loss(outputs, None) + 0.3 * sorted_by(
        outputs["classes"].tolist(), own, scale=9.0, margin=0.1
    )
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        ("contrastive", {"text": "both"}, "text must be alt, entity or mix:P"),
        ("contrastive", {"text": "mix:1"}, r"P in \(0, 1\), got 'mix:1'"),
        ("contrastive", {"text": "mix:"}, "got 'mix:'"),
        ("multitask", {"text": "mix:nan"}, "got 'mix:nan'"),
        ("multitask", {"entity_weight": 0}, "entity_weight must be above 0"),
        ("multitask", {"margin": 1.0}, r"margin must lie in \[0, 1\)"),
        ("entity", {"scale": 0}, "scale must be above 0"),
        ("entity", {"margin": -0.1}, r"margin must lie in \[0, 1\)"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    loss: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_objective(make_config("unused", loss=loss, loss_options=options))


def config_of(folder: Path, name: str, **changes: Any) -> TrainConfig:
    """A run on 24 images, of 2 entities each in turn, where all are labelled."""
    shards = write_shards(folder / "in", (13, 11))
    shown = {f"{n:05d}": [f"Q{n % 4}", f"Q{n % 5 + 4}"][: 1 + n % 2] for n in range(24)}
    labels = write_labels(folder / "labels" / "labels.parquet", shards, shown)
    source = SourceConfig(data=str(shards), labels=str(labels))
    return make_config("", sources=(source,), **{**OBJECTIVES[name], **changes})


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_goes_on_bit_for_bit_and_accumulation_changes_nothing(
    tmp_path: Path, name: str
) -> None:
    config = config_of(tmp_path, name, precision="fp64", save_every=2, keep=9, lr=1e-3)
    train(config, tmp_path / "whole")
    train(config, tmp_path / "cut")
    (tmp_path / "cut/checkpoints/step_00000004.pt").unlink()
    (tmp_path / "cut/checkpoints/step_00000003.pt").unlink(missing_ok=True)
    train(config, tmp_path / "cut")
    assert_same(tmp_path / "whole", tmp_path / "cut")
    train(config_of(tmp_path, name, precision="fp64", lr=1e-3, accumulate=4), tmp_path / "split")
    for key, value in newest(tmp_path / "whole").state_dict.items():
        assert (value - newest(tmp_path / "split").state_dict[key]).abs().max() < 1e-9, key
    losses = [[row["loss"] for row in rows(tmp_path / one)] for one in ("whole", "split")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)


def test_supervision_leaves_the_text_tower_alone_and_learns(tmp_path: Path) -> None:
    config = config_of(tmp_path, "entity", steps=40, batch_size=24, lr=3e-3, loss_options={})
    start = train(config_of(tmp_path, "entity", steps=1, batch_size=24), tmp_path / "one")
    train(config, tmp_path / "run")
    found, before = (newest(tmp_path / name).state_dict for name in ("run", "one"))
    same = {name for name, value in found.items() if torch.equal(value, before[name])}
    assert {name for name in found if not name.startswith("visual.")} == same
    losses = [row["loss"] for row in rows(tmp_path / "run")]
    assert losses[-1] < losses[0] / 2
    assert start["step"] == 1 and math.isfinite(losses[-1])


def test_samples_without_a_label_are_refused_where_nothing_could_be_learnt(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "in", (9,))
    labels = write_labels(tmp_path / "l" / "labels.parquet", shards, {"00003": ["Q1"]})
    source = SourceConfig(data=str(shards), labels=str(labels))
    for loss in ("entity", "contrastive"):
        with pytest.raises(ConfigError, match=rf"8 of 9 samples .* --loss {loss} takes labelled"):
            train(make_config("", sources=(source,), loss=loss), tmp_path / "run")
    train(make_config("", sources=(source,), loss="multitask", steps=2), tmp_path / "both")
    with pytest.raises(ConfigError, match="learns from labels; name the --labels"):
        train(make_config(shards, loss="multitask"), tmp_path / "none")

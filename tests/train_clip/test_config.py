"""Settings read back: every name known, every value of its type and in its range."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lesstext.errors import UsageError
from tests.train_clip.conftest import make_config
from train_clip.config import TrainConfig
from train_clip.errors import ConfigError
from train_clip.settings import CaptionAugment, EvalConfig, ImageAugment, SourceConfig


def test_settings_come_back_as_they_were() -> None:
    config = make_config(
        "data",
        betas=(0.8, 0.9),
        image=ImageAugment(randaugment=(2, 5.0), jitter=(0.4, 0.4, 0.4, 0.1)),
        caption=CaptionAugment(pick="random", templates=("a photo of {}",)),
        evaluation=EvalConfig(every=3, limit=2),
    )
    assert TrainConfig.from_json(config.as_json()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": True}, "here: steps: input should be a valid integer, got True"),
        ({"lr": "fast"}, "here: lr: input should be a valid number, got 'fast'"),
        ({"sources": []}, "here: no --data given"),
        ({"sources": [{"weight": 1.0}]}, r"here: the setting sources\.0\.data is missing"),
        ({"sources": "x"}, "here: sources: input should be"),
        ({"epochs": 3}, "here: unknown setting epochs"),
        ({"mask_text": "blur"}, r"setting mask_text; did you mean image\.text_mask\?"),
        ({"evaluation": {"limit": 0}}, "here: --eval-every must be at least 0 and --eval-limit"),
        ({"image": {"flip_prob": 1.5}}, r"here: flip_prob must lie in \[0, 1\], got 1.5"),
        ({"image": {"jitter": [0, 0, 0]}}, r"here: the setting image\.jitter\.3 is missing"),
        ({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}, "unknown setting c.*; and 2 more"),
    ],
)
def test_settings_that_mean_nothing_are_one_line(change: dict[str, Any], message: str) -> None:
    values = json.loads(make_config("data").as_json()) | change
    with pytest.raises(ConfigError, match=message) as raised:
        TrainConfig.from_json(json.dumps(values), "here")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '"steps"', "null"])
def test_no_settings_at_all(text: str) -> None:
    with pytest.raises(ConfigError, match="here: "):
        TrainConfig.from_json(text, "here")


def test_whole_numbers_may_stand_for_others() -> None:
    values = json.loads(make_config("data").as_json()) | {"lr": 1, "clip_grad_norm": 0}
    found = TrainConfig.from_json(json.dumps(values))
    assert (found.lr, found.clip_grad_norm) == (1.0, None)


@pytest.mark.parametrize(
    "change",
    [
        {"passes": float("nan"), "steps": None},
        {"samples": 0, "steps": None},
        {"lr": float("inf")},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"weight_decay": float("nan")},
        {"eps": -1.0},
        {"stall_timeout_s": 0.0},
        {"save_minutes": float("nan")},
        {"context_length": 0},
        {"max_pixels": 0},
        {"patch_dropout": float("nan")},
        {"clip_grad_norm": -1.0},
        {"precision": "fp8"},
        {"seed": 2**63},
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        make_config("data", **change)


def test_sources_are_weighted_all_or_none() -> None:
    sources = (SourceConfig(data="a", weight=1.0), SourceConfig(data="b"))
    with pytest.raises(ConfigError, match="for every --data, or for none"):
        make_config("unused", sources=sources)
    with pytest.raises(ConfigError, match="weight of a must be above 0, got nan"):
        SourceConfig(data="a", weight=float("nan"))

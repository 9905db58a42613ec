"""Train CLIP for a fixed number of optimisation steps, with the data as the only variable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesstext import lazily

if TYPE_CHECKING:
    from train_clip.comparison.arms import ComparisonConfig, load_comparison
    from train_clip.comparison.compare import compare
    from train_clip.comparison.page import markdown_table
    from train_clip.comparison.results import Comparison
    from train_clip.config import TrainConfig
    from train_clip.errors import (
        CheckpointError,
        ConfigError,
        DataError,
        Interrupted,
        LoaderError,
        NonFiniteError,
        TrainError,
    )
    from train_clip.evaluate import evaluate_checkpoint
    from train_clip.models.export import export_checkpoint
    from train_clip.settings import CaptionAugment, EvalConfig, ImageAugment, SourceConfig
    from train_clip.training.loop import train

__all__ = [
    "CaptionAugment",
    "CheckpointError",
    "Comparison",
    "ComparisonConfig",
    "ConfigError",
    "DataError",
    "EvalConfig",
    "ImageAugment",
    "Interrupted",
    "LoaderError",
    "NonFiniteError",
    "SourceConfig",
    "TrainConfig",
    "TrainError",
    "compare",
    "evaluate_checkpoint",
    "export_checkpoint",
    "load_comparison",
    "markdown_table",
    "train",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "train_clip.comparison.arms": "ComparisonConfig load_comparison",
        "train_clip.comparison.compare": "compare",
        "train_clip.comparison.page": "markdown_table",
        "train_clip.comparison.results": "Comparison",
        "train_clip.config": "TrainConfig",
        "train_clip.errors": "CheckpointError ConfigError DataError Interrupted LoaderError "
        "NonFiniteError TrainError",
        "train_clip.evaluate": "evaluate_checkpoint",
        "train_clip.models.export": "export_checkpoint",
        "train_clip.settings": "CaptionAugment EvalConfig ImageAugment SourceConfig",
        "train_clip.training.loop": "train",
    },
)

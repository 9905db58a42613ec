"""Checkpoints to what others load: open_clip weights, and a Hugging-Face-style folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from lesstext.storage.files import atomic_path, write_text
from lesstext.storage.guard import claim_folder
from train_clip.config import TrainConfig
from train_clip.errors import CheckpointError
from train_clip.models.build import (
    ModelBundle,
    build_model,
    config_text,
    is_own_model,
    start_of,
)
from train_clip.models.checkpoint import load_snapshot

CONFIG_FILE = "open_clip_config.json"
SAFE_WEIGHTS = "open_clip_model.safetensors"
PICKLED_WEIGHTS = "open_clip_pytorch_model.bin"


def export_folder(bundle: ModelBundle, weights: dict[str, Any], folder: Path) -> Path:
    """Write `open_clip_config.json` and safetensors: `create_model("local-dir:FOLDER")`."""
    from safetensors.torch import save

    claim_folder(folder, "model")
    tensors = {name: _plain(value) for name, value in weights.items()}
    with atomic_path(folder / SAFE_WEIGHTS) as partial:
        # Not save_file: it writes beside the file first, under a name that nobody clears away.
        partial.write_bytes(save(tensors, metadata={"format": "pt"}))
    if hasattr(
        bundle.tokenizer, "save_pretrained"
    ):  # a Hugging Face tokenizer, not open_clip's own
        bundle.tokenizer.save_pretrained(str(folder))
    write_text(folder / CONFIG_FILE, config_text(bundle))
    return folder


def export_weights(weights: dict[str, Any], target: Path) -> Path:
    """Write a bare state dict: `create_model(NAME, pretrained=TARGET)` for stock names."""
    with atomic_path(target) as partial, partial.open("wb") as file:
        torch.save({name: _plain(value) for name, value in weights.items()}, file)
    return target


def how_to_load(
    config: TrainConfig, model_cfg: dict[str, Any], folder: Path, weights: Path
) -> list[str]:
    """The Python lines that load an export in open_clip."""
    import open_clip

    lines = [f'open_clip.create_model("local-dir:{folder}")']
    stock = open_clip.get_model_config(config.model) or {}
    overridden = config.context_length is not None or start_of(stock) != start_of(model_cfg)
    if not is_own_model(config.model) and not overridden:
        lines.append(f'open_clip.create_model("{config.model}", pretrained="{weights}")')
    return lines


def export_checkpoint(checkpoint: Path, out: Path, *, averaged: bool | None = None) -> list[str]:
    """Export one checkpoint as a folder and as bare weights inside it; returns `how_to_load`."""
    config, bundle, weights = open_checkpoint(checkpoint, averaged=averaged)
    folder = export_folder(bundle, weights, out)
    bare = export_weights(weights, out / PICKLED_WEIGHTS)
    return how_to_load(config, bundle.model_cfg, folder, bare)


def open_checkpoint(
    checkpoint: Path, *, averaged: bool | None = None
) -> tuple[TrainConfig, ModelBundle, dict[str, Any]]:
    """A checkpoint's config, its (untrained) model and its weights.

    `averaged` None takes the averaged weights where the run kept them. Raises CheckpointError.
    """
    snapshot = load_snapshot(checkpoint)
    config = TrainConfig.from_json(snapshot.config_json, str(checkpoint))
    stored = json.loads(snapshot.model_json)
    bundle = build_model(config, start_of(stored))
    if stored != bundle.model_cfg:
        raise CheckpointError(f"{checkpoint} was trained with another definition of {config.model}")
    if averaged and snapshot.averaged is None:
        raise CheckpointError(f"{checkpoint} keeps no averaged weights (the run had no --ema)")
    if averaged is False or snapshot.averaged is None:
        return config, bundle, snapshot.state_dict
    return config, bundle, snapshot.averaged


def _plain(value: torch.Tensor) -> torch.Tensor:
    """A contiguous CPU tensor of its own; float64 becomes float32, which open_clip models hold."""
    plain = value.detach().to("cpu", copy=True).contiguous()
    return plain.float() if plain.dtype == torch.float64 else plain

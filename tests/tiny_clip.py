"""A CLIP small enough to load and run in a blink, randomly initialised."""

from __future__ import annotations

import json
from pathlib import Path

TINY_MODEL = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "layers": 1,
        "width": 32,
        "patch_size": 8,
        "head_width": 16,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 1,
        "layers": 1,
    },
}


def write_tiny_model(folder: Path, *, seed: int = 0, name: str = "tiny-test") -> tuple[str, str]:
    """Write the config and a checkpoint with the weights of `seed`; returns both paths."""
    import open_clip
    import torch

    config = folder / f"{name}.json"
    config.write_text(json.dumps(TINY_MODEL))
    open_clip.add_model_config(str(config))
    torch.manual_seed(seed)
    torch.save(open_clip.create_model(name).state_dict(), folder / "tiny.pt")
    return str(config), str(folder / "tiny.pt")


def store_tiny_model(folder: Path, checkpoint: str) -> Path:
    """Write the folder that open_clip loads as `local-dir:`."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": TINY_MODEL, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(torch.load(checkpoint), folder / "open_clip_model.safetensors")
    return folder

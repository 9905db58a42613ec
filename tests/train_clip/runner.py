"""Train runs of the `nano` model in a process of its own: `runner.py CONFIG.json OUT …`."""

from __future__ import annotations

import sys
from pathlib import Path

import open_clip
import torch

from train_clip.config import TrainConfig
from train_clip.training.loop import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    open_clip.add_model_config(Path(__file__).parent / "nano.json")
    for config, out in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        train(TrainConfig.from_json(Path(config).read_text()), Path(out))

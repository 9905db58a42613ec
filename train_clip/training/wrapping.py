"""A model made ready for its ranks."""

from __future__ import annotations

import torch
from torch.nn.parallel import DistributedDataParallel

from train_clip.config import TrainConfig
from train_clip.distributed import Ranks


def wrap_model(model: torch.nn.Module, config: TrainConfig, ranks: Ranks) -> torch.nn.Module:
    """The model as a step calls it: checkpointed, compiled and averaged over ranks as asked."""
    if config.grad_checkpointing:
        model.set_grad_checkpointing(True)  # type: ignore[operator]
    if config.compile:
        model.compile()
    if ranks.world == 1:
        return model
    on_gpu = ranks.device.type == "cuda"
    return DistributedDataParallel(model, device_ids=[ranks.device.index] if on_gpu else None)

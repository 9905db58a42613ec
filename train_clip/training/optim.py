"""AdamW over a CLIP model, the ceiling of its logit scale, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from train_clip.config import TrainConfig
from train_clip.distributed import Ranks

# Radford et al. 2021, section 2.5: logits are never scaled by more than 100.
MAX_LOGIT_SCALE = math.log(100)
_EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


def build_optimizer(
    config: TrainConfig, model: torch.nn.Module, further: Sequence[dict[str, Any]] = ()
) -> torch.optim.AdamW:
    """Fused AdamW; gains, biases and the logit scale are not decayed (as in open_clip).

    `further` groups are an objective's own.
    """
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in model.named_parameters():
        (free if is_free_of_decay(name, parameter) else decayed).append(parameter)
    groups = [
        {"params": free, "weight_decay": 0.0},
        {"params": decayed, "weight_decay": config.weight_decay},
        *further,
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def is_free_of_decay(name: str, parameter: Tensor) -> bool:
    """open_clip's rule: vectors and scalars, norms, biases and the logit scale."""
    words = ("bn", "ln", "bias", "logit_scale")
    return parameter.ndim < 2 or any(word in name for word in words)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the step's rate, times the factor of a group that has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)


def gradient_norm(parameters: Iterable[torch.nn.Parameter], limit: float | None) -> float:
    """The L2 norm of all gradients before clipping them to `limit`."""
    held = [parameter for parameter in parameters if parameter.grad is not None]
    bound = math.inf if limit is None else limit
    return float(torch.nn.utils.clip_grad_norm_(held, bound))


def gradient_norm_over_ranks(
    copies: Sequence[torch.nn.Parameter],
    parts: Sequence[torch.nn.Parameter],
    limit: float | None,
    ranks: Ranks,
) -> float:
    """As `gradient_norm`, where `parts` are this rank's alone: one norm, and one clip, for all."""
    mine, own = gradient_norm(copies, None), gradient_norm(parts, None)
    norm = math.sqrt(mine**2 + ranks.sum([own**2])[0])
    if limit is not None and math.isfinite(norm):
        for parameter in (*copies, *parts):
            if parameter.grad is not None:
                parameter.grad *= min(1.0, limit / (norm + _EPSILON))
    return norm


def clamp_logit_scale(model: torch.nn.Module) -> None:
    """Hold the logit scale in [0, ln 100], as CLIP does after every update."""
    with torch.no_grad():
        model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)  # type: ignore[operator]


class AveragedWeights:
    """An exponential moving average of a model's floating-point state."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self._decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Move towards the model by 1 - decay; counters are copied."""
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - self._decay)
            else:
                self.state[name].copy_(value)

"""Training the small network on composites: resumable, with a running average of the weights."""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distillation.composites import read_examples
from distillation.scenes import IGNORED, TEXT, Example
from lesstext.text_detection.detectors.small.network import SmallNetwork

_EMA = 0.995
_WARM_UP = 50
_DECAY_FROM = 0.7  # the rate is constant until this share of the steps, then falls to zero
_SAVE_EVERY = 50
_HARD_PER_TEXT, _HARD_AT_LEAST = 3, 0.02
_SMALL_AREA = 1e-4
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How long and how fast; `n_steps` may be changed when a run is resumed."""

    n_steps: int
    batch_size: int = 16
    learning_rate: float = 4e-4
    weight_decay: float = 1e-4
    bfloat16: bool = True
    seed: int = 0


@dataclass(slots=True)
class TrainingState:
    """Everything that a stopped run needs to go on."""

    network: SmallNetwork
    average: SmallNetwork
    optimizer: torch.optim.AdamW
    step: int = 0

    def save(self, path: Path) -> None:
        partial = path.with_suffix(".partial")
        parts = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        torch.save(parts, partial)
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        parts = torch.load(path, weights_only=True)
        self.network.load_state_dict(parts["network"])
        self.average.load_state_dict(parts["average"])
        self.optimizer.load_state_dict(parts["optimizer"])
        self.step = parts["step"]


def train(
    start: SmallNetwork, folder: Path, checkpoint: Path, config: TrainingConfig
) -> SmallNetwork:
    """Train from `start`, or from `checkpoint` where it exists, and return the averaged network.

    `folder` holds composites; files that appear while the training runs are used as well.
    """
    network = start.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = TrainingState(network, copy.deepcopy(network).eval(), optimizer)
    if checkpoint.exists():
        state.load(checkpoint)
        _log.info("resumed at step %d", state.step)
    batches = _batches(folder, config, state.step)
    shown, seconds = 0.0, time.monotonic()
    while state.step < config.n_steps:
        loss = _step(state, next(batches), config)
        shown = loss if shown == 0 else 0.95 * shown + 0.05 * loss
        if state.step % _SAVE_EVERY == 0 or state.step == config.n_steps:
            state.save(checkpoint)
            rate = (time.monotonic() - seconds) / _SAVE_EVERY
            _log.info("step %d: loss %.4f, %.2f s a step", state.step, shown, rate)
            seconds = time.monotonic()
    return state.average


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over text and the hardest of the rest, Dice, and the error of the area.

    `logits` are (B, 1, h, w), `targets` uint8 (B, h, w) as `scenes.Example` has them. The last
    term compares square roots of area shares, so that small areas count as they do for a filter.
    """
    valid = (targets != IGNORED).float()
    truth = (targets == TEXT).float() * valid
    logits = logits[:, 0].float()
    probability = torch.sigmoid(logits) * valid
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * valid
    n_text = truth.sum()
    n_hard = int(max(_HARD_PER_TEXT * float(n_text), _HARD_AT_LEAST * truth.numel()))
    hard = (entropy * (1 - truth)).flatten().topk(min(n_hard, truth.numel())).values
    cross_entropy = ((entropy * truth).sum() + hard.sum()) / (n_text + len(hard))
    overlap = (probability * truth).sum()
    dice = 1 - 2 * overlap / (probability.sum() + n_text + 1)
    areas = [torch.sqrt(part.mean(dim=(1, 2)) + _SMALL_AREA) for part in (probability, truth)]
    return cross_entropy + dice + 2 * (areas[0] - areas[1]).abs().mean()


def _step(state: TrainingState, batch: Sequence[Example], config: TrainingConfig) -> float:
    images, targets = _tensors(batch)
    for group in state.optimizer.param_groups:
        group["lr"] = config.learning_rate * _schedule(state.step, config.n_steps)
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
        logits = state.network(images)
    loss = loss_of(logits, targets)
    state.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    state.optimizer.step()
    state.step += 1
    keep = min(_EMA, state.step / (state.step + 10))
    with torch.no_grad():
        pairs = zip(state.average.parameters(), state.network.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - keep)
    return float(loss.detach())


def _schedule(step: int, n_steps: int) -> float:
    warm = min(1.0, (step + 1) / _WARM_UP)
    return warm * min(1.0, (1 - step / n_steps) / (1 - _DECAY_FROM))


def _tensors(batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(np.stack([e.image for e in batch]))
    targets = torch.from_numpy(np.stack([e.target for e in batch]))
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1, targets


def _batches(folder: Path, config: TrainingConfig, step: int) -> Iterator[list[Example]]:
    """Batches of a few files mixed; the files are listed anew after each round."""
    rng = np.random.default_rng([config.seed, step])
    while True:
        files = sorted(f for f in folder.glob("*.parquet") if f.stem != "validation")
        order = rng.permutation(len(files))
        for start in range(0, len(order), 2):
            pool = [e for index in order[start : start + 2] for e in read_examples(files[index])]
            mixed = rng.permutation(len(pool))
            for first in range(0, len(mixed) - config.batch_size + 1, config.batch_size):
                yield [pool[index] for index in mixed[first : first + config.batch_size]]

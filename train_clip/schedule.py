"""How long a run is and how fast it learns at each step: everything counted in steps."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from train_clip.errors import ConfigError

Decay = Literal["cosine", "linear", "constant"]
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(%?)")


def parse_span(text: str, n_steps: int) -> int:
    """Steps from `"500"` or from a percentage of the run such as `"10%"` (rounded).

    >>> parse_span("10%", 3000), parse_span("500", 3000)
    (300, 500)
    """
    match = _SPAN.fullmatch(text.strip())
    if match is None or (not match[2] and "." in match[1]):
        raise ConfigError(f"expected steps (500) or a percentage of the run (10%), got {text!r}")
    return round(float(match[1]) / 100 * n_steps) if match[2] else int(match[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The learning rate of every step 0 .. n_steps - 1.

    Linear warm-up over `warmup` steps, then `peak`, then a decay over the last `decay` steps
    towards `floor`. With decay = n_steps - warmup this is open_clip's cosine schedule; past the
    end the rate stays at the floor (a bare cosine would rise again).
    """

    n_steps: int
    peak: float
    floor: float
    warmup: int
    decay: int
    shape: Decay

    def __post_init__(self) -> None:
        if self.warmup >= self.n_steps:
            raise ConfigError(
                f"warm-up of {self.warmup} steps never ends in a run of {self.n_steps} steps: "
                "the rate would never reach its peak; give fewer steps or a percentage"
            )
        if self.warmup + self.decay > self.n_steps:
            raise ConfigError(
                f"warm-up ({self.warmup}) and decay ({self.decay}) together are longer than the "
                f"run of {self.n_steps} steps"
            )
        if not 0 <= self.floor <= self.peak:
            raise ConfigError(f"the final rate {self.floor} must lie in [0, peak {self.peak}]")

    def rate(self, step: int) -> float:
        """The learning rate used by the update of `step` (counted from 0)."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.shape == "constant" or self.decay == 0:
            return self.peak
        start = self.n_steps - self.decay
        progress = min(1.0, max(0.0, (step - start) / self.decay))
        left = 1 - progress if self.shape == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
        return self.floor + (self.peak - self.floor) * left

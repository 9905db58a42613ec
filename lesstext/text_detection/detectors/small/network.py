"""The small network: PP-OCRv6's small text detector, ending at half the input's resolution.

Convolutions of a mobile network without normalisation layers (they are folded in), squeeze and
excitation, and a feature pyramid; 2.5 M parameters, 1.5 G multiply-adds at 384 x 384 px. The
layout is that of Baidu's model (PaddleOCR, Apache-2.0); ours gives one map of the probability
that a place lies inside the box of a word.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAP_STRIDE = 2
MULTIPLE_PX = 32

_STEM = 24
_WIDTHS = (48, 96, 192, 384)
_DEPTHS = (2, 2, 4, 2)
_PYRAMID = 96
_SQUEEZE = 4


class SmallNetwork(nn.Module):
    """Maps RGB in [-1, 1] (B, 3, H, W), H and W multiples of 32, to logits (B, 1, H/2, W/2)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Stem()
        self.stages = nn.ModuleList(
            _stage(width, depth, previous)
            for width, depth, previous in zip(_WIDTHS, _DEPTHS, (None, *_WIDTHS), strict=False)
        )
        self.lateral = nn.ModuleList(
            _SelfGated(nn.Conv2d(width, _PYRAMID, 1, bias=False), _PYRAMID) for width in _WIDTHS
        )
        narrow = _PYRAMID // len(_WIDTHS)
        self.smooth = nn.ModuleList(
            _SelfGated(
                nn.Sequential(
                    nn.Conv2d(_PYRAMID, _PYRAMID, 7, padding=3, groups=_PYRAMID),
                    nn.Conv2d(_PYRAMID, narrow, 1, bias=False),
                ),
                narrow,
            )
            for _ in _WIDTHS
        )
        self.head = nn.Sequential(
            nn.Conv2d(_PYRAMID, narrow, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(narrow, narrow, 2, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        features = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        logits: Tensor = self.head(self._pyramid(features))
        return logits

    def _pyramid(self, features: list[Tensor]) -> Tensor:
        """Features of four strides, shallow first, as one of (B, 96, H/4, W/4)."""
        levels: list[Tensor] = []
        for lateral, feature in zip(reversed(self.lateral), reversed(features), strict=True):
            level = lateral(feature)
            if levels:
                level = level + F.interpolate(levels[-1], scale_factor=2.0, mode="nearest")
            levels.append(level)
        smooth = [layer(level) for layer, level in zip(reversed(self.smooth), levels, strict=True)]
        grown = [
            F.interpolate(level, scale_factor=float(2**power), mode="nearest") if power else level
            for power, level in zip(range(len(smooth) - 1, -1, -1), smooth, strict=True)
        ]
        return torch.cat(grown, dim=1)


class _Stem(nn.Module):
    """(B, 3, H, W) to (B, 48, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, _STEM, 3, stride=2, padding=1)
        self.narrow = nn.Conv2d(_STEM, _STEM // 2, 2)
        self.widen = nn.Conv2d(_STEM // 2, _STEM, 2)
        self.merge = nn.Conv2d(2 * _STEM, _STEM, 3, stride=2, padding=1)
        self.last = nn.Conv2d(_STEM, _WIDTHS[0], 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        # Windows of 2 keep the size: one row and column of zeros at the bottom and right.
        y = F.relu(self.narrow(F.pad(x, (0, 1, 0, 1))))
        y = F.relu(self.widen(F.pad(y, (0, 1, 0, 1))))
        pooled = F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 2, stride=1)
        return F.relu(self.last(F.relu(self.merge(torch.cat([pooled, y], dim=1)))))


class _Block(nn.Module):
    """Depthwise 3x3, squeeze and excitation in every other block, and two 1x1 convolutions."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int, *, stride: int, gated: bool) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(n_in, n_in, 3, stride=stride, padding=1, groups=n_in)
        self.gate = _Gate(n_in, slope=1 / 6) if gated else None
        self.expand = nn.Conv2d(n_in, n_hidden, 1)
        self.project = nn.Conv2d(n_hidden, n_out, 1)
        self._residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        x = self.spatial(x)
        if self.gate is not None:
            x = x * self.gate(x)
        y: Tensor = self.project(F.gelu(self.expand(x)))
        return x + y if self._residual else y


class _Gate(nn.Module):
    """Squeeze and excitation: one factor in [0, 1] for each channel of each image."""

    def __init__(self, width: int, *, slope: float) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, width // _SQUEEZE, 1)
        self.excite = nn.Conv2d(width // _SQUEEZE, width, 1)
        self._slope = slope

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        excited = self.excite(F.relu(self.squeeze(mean)))
        factors: Tensor = (excited * self._slope + 0.5).clamp(0, 1)
        return factors


class _SelfGated(nn.Module):
    """A layer whose output is kept and added once more through a gate."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.gate = _Gate(width, slope=0.2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        gated: Tensor = y + y * self.gate(y)
        return gated


def _stage(width: int, depth: int, previous: int | None) -> nn.Sequential:
    blocks = [
        _Block(width, 2 * width, width, stride=1, gated=index % 2 == 0) for index in range(depth)
    ]
    if previous is not None:
        # 48 to 96 has 96 hidden channels, and so on: the next stage's width.
        blocks.insert(0, _Block(previous, width, width, stride=2, gated=False))
    return nn.Sequential(*blocks)

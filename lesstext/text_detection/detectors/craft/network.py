"""The CRAFT network (Baek et al. 2019, "Character Region Awareness for Text Detection").

A VGG16 body, a dilated head and a U-shaped decoder, in inference form: batch normalisation is
folded into the convolutions while EasyOCR's checkpoint is read. Equal to EasyOCR's module to 1e-5.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BN_EPS = 1e-5

# Where each convolution of the body and of the decoder lies in EasyOCR's checkpoint; the batch
# norm of a body convolution is the next index in the same slice.
_BODY: tuple[tuple[str, ...], ...] = (
    ("slice1.0", "slice1.3"),
    ("slice1.7", "slice1.10"),
    ("slice2.14", "slice2.17", "slice3.20"),
    ("slice3.24", "slice3.27", "slice4.30"),
    ("slice4.34", "slice4.37"),
)


class CraftNetwork(nn.Module):
    """Maps normalised RGB (B, 3, H, W), H and W multiples of 32, to (B, 2, H/2, W/2).

    Channel 0 is the region score (is this the middle of a character?), channel 1 the affinity
    score (is this between two characters of one word?); both about 0 to 1, not clipped.
    """

    def __init__(self, checkpoint: Mapping[str, Tensor]) -> None:
        super().__init__()
        weights = {key.removeprefix("module."): value for key, value in checkpoint.items()}
        self.body = _Grid([[_body_conv(weights, name) for name in stage] for stage in _BODY])
        self.head = nn.Sequential(
            _conv(weights, "basenet.slice5.1", padding=6, dilation=6),
            _conv(weights, "basenet.slice5.2"),
        )
        self.up = nn.ModuleList(_double_conv(weights, f"upconv{i}.conv") for i in range(1, 5))
        self.scores = nn.ModuleList(
            _conv(weights, f"conv_cls.{i}", padding=p) for i, p in ((0, 1), (2, 1), (4, 1), (6, 0))
        )
        self.last = _conv(weights, "conv_cls.8")

    def to_precision(self, dtype: torch.dtype) -> CraftNetwork:
        """Compute in `dtype`, but the score convolutions in float32.

        Those are cheap, and rounding to bfloat16 there alone moves a score near the threshold of
        0.7 by up to 0.004.
        """
        self.to(dtype)
        self.scores.float()
        self.last.float()
        return self

    def forward(self, x: Tensor) -> Tensor:
        skips = self._body_features(x)
        deepest = skips.pop()
        y = self.head(F.max_pool2d(deepest, kernel_size=3, stride=1, padding=1))
        y = self.up[0](torch.cat([y, deepest], dim=1))
        for up in list(self.up)[1:]:
            skip = skips.pop()
            y = F.interpolate(y, size=skip.shape[2:], mode="bilinear", align_corners=False)
            y = up(torch.cat([y, skip], dim=1))
        y = y.float()
        for conv in self.scores:
            y = F.relu(conv(y), inplace=True)
        scores: Tensor = self.last(y)
        return scores

    def _body_features(self, x: Tensor) -> list[Tensor]:
        """Features at 1/2, 1/4, 1/8 and 1/16 of the input's size, shallow first.

        As in the original, a skip leaves a stage in its middle (VGG's relu2_2, relu3_2, relu4_2)
        and the deepest one before its activation.
        """
        x = self._stage(0, x)
        x = F.relu(self._stage(1, F.max_pool2d(x, 2), activate_last=False), inplace=True)
        skips = [x]
        for stage in (2, 3):
            first, middle, final = self.body.row(stage)
            x = F.relu(first(F.max_pool2d(x, 2)), inplace=True)
            x = F.relu(middle(x), inplace=True)
            skips.append(x)
            x = F.relu(final(x), inplace=True)
        skips.append(self._stage(4, F.max_pool2d(x, 2), activate_last=False))
        return skips

    def _stage(self, index: int, x: Tensor, *, activate_last: bool = True) -> Tensor:
        convs = self.body.row(index)
        for i, conv in enumerate(convs):
            x = conv(x)
            if activate_last or i + 1 < len(convs):
                x = F.relu(x, inplace=True)
        return x


class _Grid(nn.ModuleList):
    """Rows of convolutions, kept flat so that each is registered once and typed."""

    def __init__(self, rows: list[list[nn.Conv2d]]) -> None:
        super().__init__(conv for row in rows for conv in row)
        self._rows = [len(row) for row in rows]

    def row(self, index: int) -> list[nn.Module]:
        start = sum(self._rows[:index])
        return list(self)[start : start + self._rows[index]]


def _body_conv(weights: Mapping[str, Tensor], name: str) -> nn.Conv2d:
    slice_name, _, index = name.partition(".")
    norm = f"basenet.{slice_name}.{int(index) + 1}"
    return _conv(weights, f"basenet.{name}", norm=norm, padding=1)


def _double_conv(weights: Mapping[str, Tensor], name: str) -> nn.Sequential:
    return nn.Sequential(
        _conv(weights, f"{name}.0", norm=f"{name}.1"),
        nn.ReLU(inplace=True),
        _conv(weights, f"{name}.3", norm=f"{name}.4", padding=1),
        nn.ReLU(inplace=True),
    )


def _conv(
    weights: Mapping[str, Tensor],
    name: str,
    *,
    norm: str | None = None,
    padding: int = 0,
    dilation: int = 1,
) -> nn.Conv2d:
    """A convolution with its weights, and those of the batch norm behind it folded in."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if norm is not None:
        scale = weights[f"{norm}.weight"] / torch.sqrt(weights[f"{norm}.running_var"] + _BN_EPS)
        weight = weight * scale[:, None, None, None]
        bias = (bias - weights[f"{norm}.running_mean"]) * scale + weights[f"{norm}.bias"]
    n_out, n_in, kernel, _ = weight.shape
    conv = nn.Conv2d(n_in, n_out, kernel, padding=padding, dilation=dilation)
    conv.weight = nn.Parameter(weight.clone(), requires_grad=False)
    conv.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return conv

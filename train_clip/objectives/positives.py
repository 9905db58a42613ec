"""Softmax losses in which a row may have several right columns.

A row's right columns are no negatives of one another: for each, the loss is that of a softmax over
it and the wrong columns, and the row's loss is their mean. With one right column this is
cross-entropy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def low(like: Tensor) -> float:
    """A logit that weighs nothing; finite, so that gradients stay numbers."""
    return torch.finfo(like.dtype).min / 4


def row_losses(wrong: Tensor, right: Tensor, is_right: Tensor) -> Tensor:
    """Each row's loss, (n,), from the log-sum-exp of its wrong logits, (n,), and the right ones.

    `right` is (n, k), of which `is_right` says which count; a row without any has loss 0.
    """
    each = softplus(wrong.unsqueeze(1) - right) * is_right
    return each.sum(1) / is_right.sum(1).clamp(min=1)


def mean_over(losses: Tensor, is_used: Tensor) -> Tensor:
    """The mean of the losses that are used, 0 for none."""
    return (losses * is_used).sum() / is_used.sum().clamp(min=1)


def related(labels: Tensor, others: Tensor) -> Tensor:
    """Which rows of (n, k) and (m, l) share a class, bool (n, m); -1 is no class."""
    classes, numbers = torch.unique(
        torch.cat([labels.flatten(), others.flatten()]), return_inverse=True
    )
    one, two = numbers.split([labels.numel(), others.numel()])
    held = [
        torch.zeros(len(rows), len(classes), device=labels.device).scatter_(
            1, found.view_as(rows), (rows >= 0).float()
        )
        for rows, found in ((labels, one), (others, two))
    ]
    return held[0] @ held[1].T > 0


def both_ways(logits: Tensor, is_right: Tensor) -> Tensor:
    """The mean loss over rows and over columns of logits (n, n), each of which has a right one."""
    return (_rows(logits, is_right) + _rows(logits.T, is_right.T)) / 2


def _rows(logits: Tensor, is_right: Tensor) -> Tensor:
    wrong = logits.masked_fill(is_right, low(logits)).logsumexp(1)
    return row_losses(wrong, logits, is_right).mean()

"""What a model answered on each image of a set, and the measures that follow from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from attr_builder.evaluation.statistics import (
    Bools,
    Ints,
    PairedDrop,
    Rate,
    mean_per_class_recall,
    paired_drop,
    rate,
)
from attr_builder.labelled_images.classes import ClassList
from attr_builder.labelled_images.sources import SourceItem

TOP_K = 5
NO_ATTACK = -1


@dataclass(frozen=True, kw_only=True)
class EvalSet:
    """Labelled images and, where known, what is written on each of them.

    All lists run parallel to `items`. `attack_labels` holds the class of the word that attacks the
    image (NO_ATTACK where there is none); on controls it is the word that the attacked twin
    carries. `clusters` names the photo: rows with one cluster are the same photo.
    """

    items: Sequence[SourceItem]
    attack_labels: Sequence[int]
    clusters: Sequence[str]
    visible_in_crop: Sequence[float] | None = None
    contrast: Sequence[float] | None = None
    note: str = ""

    @classmethod
    def plain(cls, items: Sequence[SourceItem], keys: Sequence[str]) -> EvalSet:
        """A set without attacks."""
        return cls(items=items, attack_labels=[NO_ATTACK] * len(keys), clusters=list(keys))


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model said about each readable image of an EvalSet, in its order.

    `rows` (n,) indexes the set; `top` (n, k<=5) holds labels, best first; the cosines with the
    true and the attack class are float32 (NaN without an attack). `failures` lists what could not
    be read as (row, reason).
    """

    rows: Ints
    labels: Ints
    attack_labels: Ints
    clusters: list[str]
    top: Ints
    true_cosine: NDArray[np.float32]
    attack_cosine: NDArray[np.float32]
    failures: list[tuple[int, str]] = field(default_factory=list)

    @property
    def right(self) -> Bools:
        """Whether the first answer is the true label."""
        return np.asarray(self.top[:, 0] == self.labels)


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The measures of one variant. Attack measures are None where nothing is attacked; the paired
    ones are None without a clean twin. No-op attacks (the word is the true name) are left out of
    the attack measures and counted in `n_noop`. `top5` is NaN with fewer than five classes.

    `top1` and `attack_success` are decided among all classes. `pairwise_wins` is the choice between
    the true class and the word alone; `pairwise_losses_when_clean_won` is the share that the word
    wins where the true class won on the twin, `pairwise_drop` the difference to the twins."""

    n: int
    n_failed: int
    n_noop: int
    top1: Rate
    top5: Rate
    mean_per_class_recall: float
    attack_success: Rate | None
    attack_success_when_clean_right: Rate | None
    pairwise_wins: Rate | None
    drop: PairedDrop | None
    n_without_twin: int = 0
    pairwise_losses_when_clean_won: Rate | None = None
    pairwise_drop: PairedDrop | None = None


def compute_metrics(
    predictions: Predictions, classes: ClassList, clean: Predictions | None = None
) -> Metrics:
    """All measures of one variant; `clean` holds the answers on the untouched twins.

    Twins are matched by cluster (photo); rows without a readable twin are left out of the paired
    measures only.
    """
    p = predictions
    attacked, noop = _attack_masks(p, classes)
    hits = fooled(p, classes)
    wins = np.asarray(p.true_cosine > p.attack_cosine)
    twin_right, has_twin = _twins(p, clean)
    twin_won, has_choice = _twin_wins(p, clean)
    chosen = attacked & has_choice
    among_right = attacked & has_twin & twin_right
    has_top5 = p.top.shape[1] >= TOP_K
    in_top = (p.top == p.labels[:, None]).any(axis=1)
    no_rate = Rate(math.nan, math.nan, math.nan, len(p.labels))
    return Metrics(
        n=len(p.labels),
        n_failed=len(p.failures),
        n_noop=int(noop.sum()),
        top1=_rate(p.right, p),
        top5=_rate(in_top, p) if has_top5 else no_rate,
        mean_per_class_recall=mean_per_class_recall(p.labels, p.right),
        attack_success=_rate(hits, p, attacked) if attacked.any() else None,
        attack_success_when_clean_right=_rate(hits, p, among_right) if clean else None,
        pairwise_wins=_rate(wins, p, attacked) if attacked.any() else None,
        drop=_drop(p, twin_right, p.right, has_twin) if clean else None,
        n_without_twin=int((~has_twin).sum()) if clean else 0,
        pairwise_losses_when_clean_won=_rate(~wins, p, chosen & twin_won) if chosen.any() else None,
        pairwise_drop=_drop(p, twin_won, wins, chosen) if chosen.any() else None,
    )


def fooled(p: Predictions, classes: ClassList) -> Bools:
    """Per row, whether the first answer is the class whose name is written on the image."""
    return _same_name(p.top[:, 0], p.attack_labels, classes)


def subset(p: Predictions, mask: Bools) -> Predictions:
    """The rows of `p` where `mask` (n,) holds, without its failures."""
    return Predictions(
        rows=p.rows[mask],
        labels=p.labels[mask],
        attack_labels=p.attack_labels[mask],
        clusters=[c for c, keep in zip(p.clusters, mask, strict=True) if keep],
        top=p.top[mask],
        true_cosine=p.true_cosine[mask],
        attack_cosine=p.attack_cosine[mask],
    )


def _attack_masks(p: Predictions, classes: ClassList) -> tuple[Bools, Bools]:
    """Which rows are truly attacked, and which carry the true name as their "attack"."""
    named = p.attack_labels >= 0
    noop = named & _same_name(p.labels, p.attack_labels, classes)
    return named & ~noop, noop


def _same_name(a: Ints, b: Ints, classes: ClassList) -> Bools:
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    return np.array([y >= 0 and classes.same_name(x, y) for x, y in pairs], dtype=bool)


def _twins(p: Predictions, clean: Predictions | None) -> tuple[Bools, Bools]:
    """Per row: was the clean twin right, and is there one."""
    if clean is None:
        nothing = np.zeros(len(p.labels), dtype=bool)
        return nothing, nothing
    answers = dict(zip(clean.clusters, clean.right.tolist(), strict=True))
    right = np.array([answers.get(cluster, False) for cluster in p.clusters], dtype=bool)
    known = np.array([cluster in answers for cluster in p.clusters], dtype=bool)
    return right, known


def _twin_wins(p: Predictions, clean: Predictions | None) -> tuple[Bools, Bools]:
    """Per row: did the true class beat the same word on the clean twin, and is that known."""
    answers: dict[tuple[str, int], bool] = {}
    if clean is not None:
        wins = (clean.true_cosine > clean.attack_cosine).tolist()
        pairs = zip(clean.clusters, clean.attack_labels.tolist(), strict=True)
        answers = {pair: won for pair, won in zip(pairs, wins, strict=True) if pair[1] >= 0}
    mine = list(zip(p.clusters, p.attack_labels.tolist(), strict=True))
    won = np.array([answers.get(pair, False) for pair in mine], dtype=bool)
    return won, np.array([pair in answers for pair in mine], dtype=bool)


def _rate(hits: Bools, p: Predictions, mask: Bools | None = None) -> Rate:
    if mask is None:
        return rate(hits, p.clusters)
    return rate(hits[mask], [c for c, keep in zip(p.clusters, mask, strict=True) if keep])


def _drop(p: Predictions, before: Bools, after: Bools, mask: Bools) -> PairedDrop:
    clusters = [c for c, keep in zip(p.clusters, mask, strict=True) if keep]
    return paired_drop(before[mask], after[mask], clusters)

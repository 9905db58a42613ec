"""What a comparison found, in a sentence for each arm."""

from __future__ import annotations

from dataclasses import dataclass, field

from attr_builder.evaluation.statistics import Difference
from train_clip.comparison.results import Comparison

_WORDS = {
    "clean_top1": "top-1 accuracy on clean images",
    "attacked_top1": "top-1 accuracy on attacked images",
    "attacked_attack_success": "attack success",
    "i2t_R@1": "finding the caption of an image (R@1)",
    "t2i_R@1": "finding the image of a caption (R@1)",
    "image_map": "finding the images of a class (mAP)",
    "image_knn": "naming an image's class by its neighbours (kNN)",
}
_LESS_IS_BETTER = {"attacked_attack_success"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One metric in words, and the arm's difference from the baseline in it."""

    metric: str
    difference: Difference


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where an arm is better and worse than the baseline; where the 95% interval of the
    difference holds 0, nothing can be told."""

    arm: str
    baseline: str
    better: list[Finding] = field(default_factory=list)
    worse: list[Finding] = field(default_factory=list)
    unclear: list[Finding] = field(default_factory=list)

    def sentence(self) -> str:
        """All of it as plain text."""
        parts = [
            f"is {word} than {self.baseline} in {_listed(found)}"
            for word, found in (("better", self.better), ("worse", self.worse))
            if found
        ]
        if not parts and not self.unclear:
            return f"Cannot tell whether {self.arm} is better than {self.baseline}: no figures."
        if not parts:
            return (
                f"Cannot tell {self.arm} from {self.baseline}: every interval holds 0, "
                f"in {_listed(self.unclear)}."
            )
        rest = f"; cannot tell in {_listed(self.unclear)}" if self.unclear else ""
        return f"{self.arm} {' and '.join(parts)}{rest}."


def verdicts(comparison: Comparison) -> list[Verdict]:
    """One verdict for each arm but the baseline."""
    found = {
        arm: Verdict(arm, comparison.baseline)
        for arm in comparison.arms
        if arm != comparison.baseline
    }
    for metric, row in comparison.differences.items():
        for arm, difference in row.items():
            _side(found[arm], metric, difference).append(
                Finding(_WORDS.get(metric, metric), difference)
            )
    return list(found.values())


def _side(verdict: Verdict, metric: str, difference: Difference) -> list[Finding]:
    """The list of the verdict to which a difference belongs; one that is no number is unclear."""
    low, high = difference.low, difference.high
    if metric in _LESS_IS_BETTER:
        low, high = -high, -low
    if low > 0:
        return verdict.better
    return verdict.worse if high < 0 else verdict.unclear


def _listed(findings: list[Finding]) -> str:
    return ", ".join(
        f"{one.metric} ({_points(one.difference.mean)}, 95%: {_points(one.difference.low)} to "
        f"{_points(one.difference.high)})"
        for one in findings
    )


def _points(value: float) -> str:
    """A difference of shares in percentage points.

    >>> _points(-0.0123)
    '−1.2 points'
    """
    return f"{100 * value:+.1f} points".replace("-", "−")

"""The learning rate, against values worked by hand and open_clip's formula."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train_clip.config import TrainConfig
from train_clip.errors import ConfigError
from train_clip.schedule import Schedule, parse_span
from train_clip.settings import SourceConfig


def schedule(**changes: object) -> Schedule:
    values: dict[str, object] = {
        "n_steps": 10, "peak": 1.0, "floor": 0.0, "warmup": 4, "decay": 6, "shape": "cosine",
    }  # fmt: skip
    return Schedule(**{**values, **changes})  # type: ignore[arg-type]


def test_linear_case_by_hand() -> None:
    rates = [schedule(decay=4, shape="linear", floor=0.2).rate(step) for step in range(11)]
    expected = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    assert rates == pytest.approx(expected)


def test_cosine_case_by_hand() -> None:
    rates = [schedule().rate(step) for step in (4, 6, 7, 8)]
    assert rates == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_equals_open_clip_cosine_lr() -> None:
    def open_clip_rate(step: int, base: float, warmup: int, steps: int) -> float:
        if step < warmup:
            return base * (step + 1) / warmup
        e, es = step - warmup, steps - warmup
        return 0.5 * (1 + math.cos(math.pi * e / es)) * base

    ours = Schedule(n_steps=100, peak=3e-4, floor=0, warmup=13, decay=87, shape="cosine")
    for step in range(100):
        assert ours.rate(step) == pytest.approx(open_clip_rate(step, 3e-4, 13, 100), rel=1e-12)


@given(
    st.integers(2, 400), st.floats(0, 0.99), st.floats(0, 1), st.sampled_from(["cosine", "linear"])
)
def test_rises_then_falls_and_never_rises_again(
    n_steps: int, warm: float, decay: float, shape: str
) -> None:
    warmup = int(warm * n_steps)
    one = schedule(
        n_steps=n_steps, warmup=warmup, decay=int(decay * (n_steps - warmup)), shape=shape
    )
    rates = [one.rate(step) for step in range(2 * n_steps)]
    assert all(a <= b for a, b in itertools.pairwise(rates[:warmup]))
    assert all(a >= b - 1e-15 for a, b in itertools.pairwise(rates[warmup:]))
    assert max(rates) <= 1.0


def test_warm_up_that_never_ends_is_refused() -> None:
    config = TrainConfig(sources=(SourceConfig(data="x"),), steps=100, warmup="100")
    with pytest.raises(ConfigError, match="never ends in a run of 100 steps"):
        config.schedule()
    with pytest.raises(ConfigError, match="longer than the run"):
        schedule(warmup=6, decay=5)


@pytest.mark.parametrize("text", ["", "10 %", "-5", "1.5", "ten", "%"])
def test_spans_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected steps"):
        parse_span(text, 100)


def test_spans_in_steps_and_percent() -> None:
    assert [parse_span(text, 200) for text in ("7", "10%", "2.5%", "0")] == [7, 20, 5, 0]

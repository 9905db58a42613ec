"""Target `toml`: settings and comparisons of train-clip, of odd values, fields and bytes."""

from __future__ import annotations

import json
import math
import random
from typing import Any

from tests.fuzz.artefacts import damage_json, odd_value
from tests.fuzz.case import Case, check
from tests.fuzz.mutations import damage
from train_clip.comparison.arms import load_comparison
from train_clip.config import TrainConfig

_NUMBERS = [0, 1, -1, 2, 64, 10**9, 2**63, 0.5, 1.0, -0.1, math.nan, math.inf, 1e400]
_SOUND: dict[str, Any] = {
    "model": "tiny", "steps": 4, "batch_size": 8, "accumulate": 1, "seed": 0, "loss": "clip",
    "precision": "fp32", "lr": 1e-3, "min_lr": 0.0, "warmup": "10%", "decay": "5%",
    "decay_shape": "cosine", "weight_decay": 0.2, "betas": [0.9, 0.98], "eps": 1e-6,
    "clip_grad_norm": 1.0, "ema": 0.9, "window_shards": 8, "max_bad_fraction": 0.05,
    "workers": 1, "prefetch": 3, "stall_timeout_s": 300.0, "save_minutes": 15.0, "keep": 2,
    "image": {"crop_scale": [0.9, 1.0], "crop_aspect": [0.75, 1.3], "flip_prob": 0.5},
    "caption": {"pick": "first", "templates": ["a {}"], "template_prob": 0.5},
    "evaluation": {"every": 0, "templates": 80, "limit": 10},
}  # fmt: skip


def fuzz_toml(case: Case) -> str:
    """Read a comparison, or the settings of a run; what is taken is of the declared kind."""
    sources = [{"data": "in", "captions": "auto"}]
    settings = {**_SOUND, "sources": sources}
    if case.rng.random() < 0.4:
        text = damage_json(case.rng, json.dumps(settings).encode())
        case.seal()
        return _check(TrainConfig.from_json(text.decode("utf-8", "surrogateescape")))
    path = case.inputs / "arms.toml"
    common = {k: v for k, v in _SOUND.items() if case.rng.random() < 0.5 or k == "steps"}
    arms: dict[str, Any] = {"a": {"sources": sources}, "b": {"sources": [{"data": "in2"}]}}
    found: dict[str, Any] = {"seeds": [0, 1], "common": common, "arms": arms}
    for _ in range(case.rng.choice([0, 1, 1, 1, 2, 3])):
        _change(case.rng, found)
    data = _toml(found).encode("utf-8", "surrogatepass")
    path.write_bytes(damage(case.rng, data) if case.rng.random() < 0.2 else data)
    case.seal()
    comparison = load_comparison(path)
    for name, arm in comparison.arms.items():
        out = (case.out / name / "seed0").resolve()
        check(out.is_relative_to(case.out.resolve()), "escape", f"the arm {name!r}")
        _check(arm)
    return "read"


def _check(config: TrainConfig) -> str:
    check(TrainConfig.from_json(config.as_json()) == config, "changed", config.as_json())
    check(type(config.steps) in (int, type(None)), "types", f"steps {config.steps!r}")
    numbers = (config.lr, config.min_lr, config.weight_decay, *config.betas, config.save_minutes)
    check(all(math.isfinite(number) for number in numbers), "types", f"{numbers}")
    if config.steps is not None and config.steps < 10**6:
        schedule = config.schedule()
        rates = [schedule.rate(step) for step in range(min(config.steps, 20))]
        check(all(0 <= rate <= config.lr for rate in rates), "rate", f"{rates} of {config}")
    return "settings"


def _change(rng: random.Random, found: dict[str, Any]) -> None:
    tables = [found, found["common"], found["arms"], *_tables(found)]
    table = rng.choice([one for one in tables if isinstance(one, dict)])
    keys = [*table, rng.choice(["steps", "passes", "vary", "baseline", "../../esc", "/abs", "a b"])]
    value = rng.choice([odd_value(rng), rng.choice(_NUMBERS), ["objective"], "a", {"sources": []}])
    table[rng.choice(keys)] = value
    found.setdefault("common", {})
    found.setdefault("arms", {})


def _tables(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [table for one in value for table in _tables(one)]
    if not isinstance(value, dict):
        return []
    return [value, *(table for one in value.values() for table in _tables(one))]


def _toml(value: dict[str, Any]) -> str:
    """Every key of the top as one line, all below inline."""
    return "".join(f"{json.dumps(str(key))} = {_inline(one)}\n" for key, one in value.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(str(k))} = {_inline(v)}" for k, v in value.items())
        return "{ " + inner + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, float):
        return repr(value)
    return "[]" if value is None else json.dumps(value, ensure_ascii=False)

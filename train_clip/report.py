"""The closing words of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def print_result(result: dict[str, Any], out: Path) -> None:
    """Print steps, the repetition ledger, the metrics and how to load the model."""
    seconds = result["train_s"] or 1e-9
    print(
        f"step == N: {result['step']} == {result['n_steps']}; {result['samples']} samples at "
        f"{result['samples'] / seconds:.0f} samples/s, data wait {result['wait_s'] / seconds:.1%}; "
        f"{result['bad_samples']} bad samples replaced"
    )
    for entry in result["ledger"]:
        print(
            f"{entry['data']}: {entry['n_drawn']} drawn, {entry['n_unique']} unique of "
            f"{entry['n_usable']} usable in {entry['pool_size']}; repeats mean "
            f"{entry['mean_repeats']:.2f}, max {entry['max_repeats']}; never seen "
            f"{entry['unseen_ratio']:.1%} (of the pool {entry['unseen_pool_ratio']:.1%})"
        )
    print_evaluation(result["evaluation"])
    print(f'open_clip.create_model("local-dir:{result["model_folder"]}")')
    print(f"run: {out}")


def print_evaluation(values: dict[str, Any]) -> None:
    """Print metrics, one line per group of names with a common prefix."""
    for prefix in ("clean", "attacked", "i2t", "t2i"):
        mine = {k: v for k, v in values.items() if k.startswith(prefix + "_")}
        if mine:
            told = "  ".join(
                f"{name[len(prefix) + 1 :]} {value:.4f}"
                if isinstance(value, float)
                else f"{name[len(prefix) + 1 :]} {value}"
                for name, value in mine.items()
            )
            print(f"{prefix}: {told}")

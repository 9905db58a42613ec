"""Models trained on the labels of each selector, and attacked."""

from __future__ import annotations

import json
from typing import Any

from mofi.labels import relabel

from lesstext.entities.knowledge_base import open_kb
from lesstext.storage.files import write_text
from reading.plan import ReadingPlan

TRUE = "true"
LOSS: dict[str, Any] = {
    "loss": "multitask",
    "loss_options": {"text": "entity", "entity_weight": 1.0},
}


def label_sets(plan: ReadingPlan) -> tuple[str, ...]:
    """The label sets: one of each way to select, and the true ones."""
    return (*plan.size.arms, TRUE)


def write_true_labels(plan: ReadingPlan) -> None:
    """Labels by what the photos show, of the images that the first way labels."""
    import pyarrow.parquet as pq

    source, target = plan.labels(plan.size.arms[0]), plan.labels(TRUE)
    if target.exists():
        return
    truth = {
        (r["shard"], r["key"]): r["true"] for r in pq.read_table(plan.scenes.truth).to_pylist()
    }
    rows = pq.read_table(source, columns=["shard", "key"]).to_pylist()
    shown = [[truth[row["shard"], row["key"]]] for row in rows]
    relabel(source, target, TRUE, shown, open_kb(plan.scenes.kb))


def write_settings(plan: ReadingPlan) -> None:
    """The comparison that `train-clip compare` runs: arms differ in their labels alone."""
    shards = str(plan.scenes.shards)
    arms = {
        name: {"sources": [{"data": shards, "labels": str(plan.labels(name))}]}
        for name in label_sets(plan)
    }
    comparison = {
        "seeds": plan.size.seeds,
        "baseline": plan.size.arms[0],
        "common": {**plan.size.training, **LOSS, "evaluation": plan.models.evaluation},
        "arms": arms,
    }
    text = json.dumps(comparison, indent=2) + "\n"
    write_text(plan.out / "runs.json", text, unguarded=True)

"""What a run saw, as its result tells it: the ledger of each source, and that of the entities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from train_clip.data.labels.ledger import write_entity_ledger
from train_clip.data.ledger import count_uses, write_entry
from train_clip.data.sources import RunData
from train_clip.data.stream import Stream


def ledgers(
    data: RunData,
    stream: Stream,
    step: int,
    adjustments: Mapping[tuple[int, int], int],
    out: Path,
) -> dict[str, Any]:
    """`ledger`, how often each source's samples were seen before `step`; with labels `entities`,
    too, and in `out` the account of each entity."""
    uses = count_uses(stream.orders, stream.drawn_before(step), adjustments)
    entries = [
        asdict(write_entry(plan.data, plan.pool_size, counts))
        for plan, counts in zip(data.plans, uses, strict=True)
    ]
    if data.vocabulary is None:
        return {"ledger": entries}
    stores = [plan.labels for plan in data.plans]
    entities = write_entity_ledger(out, data.vocabulary, stores, uses)
    return {"ledger": entries, "entities": asdict(entities)}

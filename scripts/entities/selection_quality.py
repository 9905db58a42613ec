"""Precision and recall of picks against the truth of composed alt-texts."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attr_builder.evaluation.statistics import wilson_interval
from entities.alt_texts import AltTexts, Entity, Photos, write_shards
from lesstext.annotators.mentions import Mentions
from lesstext.annotators.picks import Picks
from lesstext.entities import knowledge_base as kb
from lesstext.entities.kb_writing import write_kb
from lesstext.verbs import annotate

RECALLS = (0.1, 0.25, 0.5, 0.56, 0.75, 0.9)
_SCRIPTS = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Judged:
    """All candidates of some photos: (n,) similarities, and whether each is the photo's own.

    `n_true` counts the photos whose alt-text names what they show, found by the linker or not.
    """

    similarities: NDArray[np.float64]
    is_true: NDArray[np.bool_]
    kinds: Sequence[str]
    n_true: int
    n_photos: int

    def at_recall(self, recall: float) -> dict[str, Any]:
        """The highest threshold that keeps this share of the true ones, and the precision there."""
        ranked = np.sort(self.similarities[self.is_true])[::-1]
        place = int(np.ceil(recall * self.n_true)) - 1
        if place >= len(ranked):
            return {"recall": recall, "threshold": None}
        return {"recall": recall, **self.above(float(ranked[place]))}

    def above(self, threshold: float) -> dict[str, Any]:
        kept = self.similarities >= threshold
        n_kept, n_right = int(kept.sum()), int((kept & self.is_true).sum())
        precision = n_right / n_kept if n_kept else float("nan")
        low, high = wilson_interval(precision, n_kept) if n_kept else (0.0, 1.0)
        wrong = Counter(k for k, keep in zip(self.kinds, kept, strict=True) if keep and k != "true")
        return {
            "threshold": threshold,
            "precision": precision,
            "low": low,
            "high": high,
            "n_kept": n_kept,
            "true_kept_share": n_right / self.n_true,
            "wrong": dict(sorted(wrong.items())),
        }

    def auc(self, kind: str) -> float:
        """The chance that a true candidate is above one of that kind, ties counting half."""
        from scipy.stats import mannwhitneyu

        others = self.similarities[[k == kind for k in self.kinds]]
        true = self.similarities[self.is_true]
        if not len(others) or not len(true):
            return float("nan")
        return float(mannwhitneyu(true, others).statistic / (len(true) * len(others)))


def write_base(path: Path, entities: Sequence[Entity]) -> None:
    """A knowledge base of the entities that the alt-texts draw from."""
    rows = {
        one.entity_id: kb.Entity(
            entity_id=one.entity_id,
            name=one.name,
            description=one.description,
            aliases=(one.name,),
            prior=0.5,
            depictable=True,
        )
        for one in entities
    }
    write_kb(rows.values(), path, format="table", source="alt-texts", version="1", counts=Counter())


def prepare(out: Path, photos: Photos, others: Sequence[Entity], seed: int, every: int) -> None:
    """Write shards, truth and knowledge base below `out`, and find the mentions."""
    if (out / "mentions").exists():
        return
    texts = AltTexts(photos.entities, others, seed)
    write_shards(out, photos, texts, every=every)
    write_base(out / "kb.parquet", [*photos.entities, *others])
    mentions = Mentions(kb=str(out / "kb.parquet"), tagger="none")
    annotate(str(out / "shards"), out / "mentions", mentions, workers=1)


def pick(out: Path, name: str, workers: int, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run `picks` over prepared shards; its rows, and what they do not hold, with the truth."""
    import pyarrow.parquet as pq

    annotator = Picks(kb=str(out / "kb.parquet"), texts=str(out / "texts"), **options)
    with installed("imagenet", "entities.imagenet_selector"):
        summary = annotate(
            str(out / "shards"),
            out / name,
            annotator,
            inputs={"mentions": out / "mentions"},
            workers=workers,
        )
    assert summary.exit_code == 0, [report.error for report in summary.failed]
    truth: dict[tuple[str, str], dict[str, str]] = {}
    for row in pq.read_table(out / "truth.parquet").to_pylist():
        truth.setdefault((row["shard"], row["key"]), {})[row["entity_id"]] = row["kind"]
    rows = []
    for path in sorted((out / name).glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            rows.append({"picks": row["picks"] or [], "kinds": truth[path.stem, row["key"]]})
    return rows


def judged(rows: Sequence[Mapping[str, Any]]) -> Judged:
    """Candidates that the alt-text did not mean are `linked`: the linker's own."""
    flat = [(one, row["kinds"]) for row in rows for one in row["picks"]]
    kinds = [truth.get(one["entity_id"], "linked") for one, truth in flat]
    return Judged(
        np.array([one["similarity"] for one, _ in flat]),
        np.array([kind == "true" for kind in kinds]),
        kinds,
        sum("true" in row["kinds"].values() for row in rows),
        len(rows),
    )


@contextmanager
def installed(name: str, module: str) -> Iterator[None]:
    """Make a module of this folder a selector, for this process and its workers."""
    with TemporaryDirectory() as folder:
        described = Path(folder) / f"{name}-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        (described / "entry_points.txt").write_text(f"[lesstext.selectors]\n{name} = {module}\n")
        before = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, str(_SCRIPTS), before])
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)
            os.environ["PYTHONPATH"] = before

"""Overlap: how much of each caption can be read in its image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, ClassVar

from lesstext.annotators.base import Annotator, Part, Placement, Worker, inherit_failure
from lesstext.shards.samples import Row
from lesstext.text_detection.overlap import FUZZY_SIMILARITY, caption_overlap

if TYPE_CHECKING:
    import pyarrow as pa

WORDS = "words"


@dataclass(frozen=True, kw_only=True)
class Overlap(Annotator):
    """Measure how much of each caption can be read in its image; needs --input words=WORDS."""

    name: ClassVar[str] = "overlap"
    inputs: ClassVar[tuple[str, ...]] = (WORDS,)

    @property
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        import pyarrow as pa

        region = pa.struct([("exact", pa.bool_()), ("similarity", pa.float32())])
        return [
            ("caption_overlap", pa.float32()),
            ("fuzzy_caption_overlap", pa.float32()),
            ("n_caption_words", pa.int32()),
            ("n_repeated_regions", pa.int32()),
            ("overlaps", pa.list_(region)),
        ]

    def identify(self, placement: Placement) -> str:
        return f"overlap fuzzy={FUZZY_SIMILARITY:g} rapidfuzz={version('rapidfuzz')}"

    def load(self, placement: Placement) -> AbstractContextManager[Worker]:
        return nullcontext(OverlapWorker(self.identify(placement)))


class OverlapWorker:
    """Compares captions with the words of the input table; no image is decoded."""

    def __init__(self, identity: str) -> None:
        self.id = identity

    def annotate(self, part: Part) -> Iterator[Row]:
        tables = part.inputs[WORDS]
        samples = part.samples(decoded=[False] * len(part.entries))
        for sample, read in zip(samples, tables, strict=True):
            row = sample.row
            inherit_failure(row, WORDS, read)
            if row["status"] == "ok":
                with part.clock.stage("compare"):
                    row.update(_columns(sample.caption, read))
            yield row


def _columns(caption: str | None, read: Row) -> Mapping[str, object]:
    """All null but for what the regions say where there is no caption."""
    texts = [word["text"] for word in read["words"] or ()]
    found = caption_overlap(caption or "", texts)
    return {
        "caption_overlap": found.exact,
        "fuzzy_caption_overlap": found.fuzzy,
        "n_caption_words": found.n_words,
        "n_repeated_regions": sum(region.is_repeated for region in found.regions),
        "overlaps": [{"exact": r.exact, "similarity": r.similarity} for r in found.regions],
    }

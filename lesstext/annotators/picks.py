"""Picks: how well an image shows each of the entities that its alt-text may mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from lesstext.annotators.base import (
    Annotator,
    Part,
    Placement,
    Worker,
    inherit_failure,
    require_regions,
)
from lesstext.dataclass_options import Flag, check_choices
from lesstext.entities.knowledge_base import open_kb
from lesstext.entities.selectors.base import (
    DEFAULT_SELECTOR,
    Precision,
    Selector,
    SelectorSettings,
    identify_selector,
    load_selector,
)
from lesstext.entities.selectors.texts import (
    DEFAULT_TEMPLATES,
    TextEmbeddings,
    UnknownEntityError,
    check_templates,
    default_folder,
)
from lesstext.errors import ShardError, UsageError
from lesstext.fills import Fill, fill
from lesstext.images import DEFAULT_MAX_PIXELS, Pixels
from lesstext.shards.samples import OpenSample, Row, fail
from lesstext.storage.paths import location

if TYPE_CHECKING:
    import pyarrow as pa

    from lesstext.entities.knowledge_base import KnowledgeBase
    from lesstext.tables.table import Footer

MENTIONS, TEXT_AREA = "mentions", "text_area"


@dataclass(frozen=True, kw_only=True)
class Picks(Annotator):
    """Measure how well each image shows the entities that its alt-text mentions."""

    name: ClassVar[str] = "picks"
    inputs: ClassVar[tuple[str, ...]] = (MENTIONS,)
    optional_inputs: ClassVar[tuple[str, ...]] = (TEXT_AREA,)

    kb: Annotated[
        str | None, Flag("Knowledge base of the mentions. [the one that comes with lesstext]")
    ] = None
    selector: Annotated[str, Flag("clip or an installed plug-in.")] = DEFAULT_SELECTOR
    model: Annotated[
        str | None, Flag("open_clip name, its config (JSON), local-dir:FOLDER or hf-hub:NAME.")
    ] = None
    pretrained: Annotated[str | None, Flag("Tag or file of the model's weights.")] = None
    precision: Annotated[Precision, Flag("fp32, or amp_bf16 on a GPU.")] = "fp32"
    options: Annotated[
        dict[str, str], Flag("NAME=VALUE for the selector.", ("selector_option",))
    ] = field(default_factory=dict)
    templates: Annotated[
        tuple[str, ...],
        Flag("Text of an entity, as '{name}, {description}'; repeat to average.",
             ("template",)),
    ] = DEFAULT_TEMPLATES  # fmt: skip
    texts: Annotated[str | None, Flag("Folder that keeps embedded texts. [in the cache]")] = None
    fill: Annotated[
        Fill | None,
        Flag("Hide text first; needs --input text_area=SCORES."),
    ] = None
    max_pixels: Annotated[int, Flag("Images with more pixels become `too_large`.")] = (
        DEFAULT_MAX_PIXELS
    )

    def __post_init__(self) -> None:
        check_choices(self)
        if not self.templates:  # a repeated flag that was not given
            object.__setattr__(self, "templates", DEFAULT_TEMPLATES)
        check_templates(self.templates)
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels must be at least 1, got {self.max_pixels}")

    @property
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        import pyarrow as pa

        pick = [
            ("entity_id", pa.string()),
            ("similarity", pa.float32()),
            ("weight", pa.float32()),
            ("mention", pa.int32()),
            ("text", pa.string()),
        ]
        return [
            ("n_mentions", pa.int32()),
            ("n_candidates", pa.int32()),
            ("best_entity", pa.string()),
            ("best_similarity", pa.float32()),
            ("picks", pa.list_(pa.struct(pick))),
        ]

    @property
    def settings(self) -> dict[str, Any]:
        """Those that the id does not name."""
        return {
            "templates": list(self.templates),
            "fill": self.fill,
            "max_pixels": self.max_pixels,
        }

    def identify(self, placement: Placement) -> str:
        return f"{identify_selector(self._settings(placement))} kb={self._open_kb().digest}"

    def accept(self, inputs: Mapping[str, Footer]) -> None:
        """Mentions must be of this knowledge base, and text areas must hold regions."""
        mentions, text_area = inputs.get(MENTIONS), inputs.get(TEXT_AREA)
        kb = self._open_kb()
        if mentions is not None and kb.digest not in mentions.annotator:
            raise UsageError(
                f"the mentions of shard {mentions.shard} ({mentions.annotator}) were not made with "
                f"the knowledge base {kb.location} (digest {kb.digest}): name theirs by --kb, or "
                "find the mentions again"
            )
        if (text_area is None) != (self.fill is None):
            raise UsageError("--fill and --input text_area=SCORES go together: give both")
        if text_area is not None:
            require_regions(text_area)

    @contextmanager
    def load(self, placement: Placement) -> Iterator[Worker]:
        kb, selector = self._open_kb(), load_selector(self._settings(placement))
        folder = default_folder() if self.texts is None else location(self.texts)
        texts = TextEmbeddings(kb, selector, self.templates, folder)
        yield PicksWorker(self, f"{selector.id} kb={kb.digest}", selector, texts)

    def _settings(self, placement: Placement) -> SelectorSettings:
        return SelectorSettings(
            name=self.selector,
            device=placement.device,
            threads=placement.threads,
            model=self.model,
            pretrained=self.pretrained,
            precision=self.precision,
            options=self.options,
        )

    def _open_kb(self) -> KnowledgeBase:
        return open_kb(None if self.kb is None else location(self.kb))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An entity that a sample may show; `mention` is where it is meant most, by its `weight`, and
    `text` how it is called there."""

    entity_id: str
    weight: float
    mention: int
    text: str


_Waiting = tuple[Row, Sequence[_Candidate], Pixels | None]


class PicksWorker:
    """A loaded selector, and the texts of entities."""

    def __init__(self, options: Picks, id: str, selector: Selector, texts: TextEmbeddings) -> None:
        self.id = id
        self._options, self._selector, self._texts = options, selector, texts

    def annotate(self, part: Part) -> Iterator[Row]:
        mentions = part.inputs[MENTIONS]
        candidates = [_candidates(row) for row in mentions]
        with part.clock.stage("texts"):
            self._prepare(part, candidates)
        waiting: list[_Waiting] = []
        n_shown = 0
        images = part.samples(
            max_pixels=self._options.max_pixels, decoded=[bool(found) for found in candidates]
        )
        for number, sample in enumerate(images):
            found = candidates[number]
            inherit_failure(sample.row, MENTIONS, mentions[number])
            sample.row.update(n_mentions=_n_mentions(mentions[number]), n_candidates=len(found))
            pixels = self._pixels(part, sample, number) if found else None
            waiting.append((sample.row, found, pixels))
            n_shown += pixels is not None
            if n_shown == self._selector.batch_size:
                yield from self._measured(part, waiting)
                waiting, n_shown = [], 0
        yield from self._measured(part, waiting)

    def _prepare(self, part: Part, candidates: Sequence[Sequence[_Candidate]]) -> None:
        """Have the vectors of all entities; a foreign one is named with the sample that has it."""
        try:
            self._texts.prepare(one.entity_id for found in candidates for one in found)
        except UnknownEntityError as error:
            key = next(
                entry.key
                for entry, found in zip(part.entries, candidates, strict=True)
                if any(one.entity_id == error.entity_id for one in found)
            )
            raise ShardError(part.shard, f"key {key}: mentions: {error}") from error

    def _pixels(self, part: Part, sample: OpenSample, number: int) -> Pixels | None:
        """What the selector shall see; None where the sample has failed."""
        if sample.row["status"] != "ok" or sample.image is None:
            return None
        pixels = sample.image.pixels
        if self._options.fill is None:
            return pixels
        area = part.inputs[TEXT_AREA][number]
        inherit_failure(sample.row, TEXT_AREA, area)
        if sample.row["status"] != "ok":
            return None
        with part.clock.stage("fill"):
            polygons = [np.reshape(flat, (-1, 2)) for flat in area["regions"] or ()]
            return fill(pixels, polygons, self._options.fill)

    def _measured(self, part: Part, waiting: Sequence[_Waiting]) -> Iterator[Row]:
        """Rows in order, with the similarities of those that have pixels."""
        with part.clock.stage("images"):
            shown = [pixels for _, _, pixels in waiting if pixels is not None]
            vectors = iter(self._selector.embed_images(shown) if shown else ())
        for row, found, pixels in waiting:
            if row["status"] != "ok":
                row.update(n_mentions=None, n_candidates=None)
            elif not found:
                row["picks"] = []
            elif pixels is not None:
                self._fill_in(row, found, next(vectors))
            yield row

    def _fill_in(self, row: Row, found: Sequence[_Candidate], image: Any) -> None:
        texts = self._texts.vectors([one.entity_id for one in found])
        similarities = np.einsum("nd,d->n", texts.astype(np.float64), image.astype(np.float64))
        if not np.isfinite(similarities).all():
            fail(row, "annotator_error", "a similarity is not finite")
            row.update(n_mentions=None, n_candidates=None)
            return
        rounded = similarities.astype(np.float32).tolist()
        both = sorted(zip(rounded, found, strict=True), key=lambda x: (-x[0], x[1].entity_id))
        row["picks"] = [
            {
                "entity_id": one.entity_id,
                "similarity": similarity,
                "weight": one.weight,
                "mention": one.mention,
                "text": one.text,
            }
            for similarity, one in both
        ]
        row.update(best_entity=both[0][1].entity_id, best_similarity=both[0][0])


def _n_mentions(row: Row) -> int:
    return len(row["mentions"] or ())


def _candidates(row: Row) -> list[_Candidate]:
    """Each entity of a sample's mentions once, with the mention that speaks for it most."""
    best: dict[str, _Candidate] = {}
    for number, mention in enumerate(row["mentions"] or ()):
        for linked in mention["entities"] or ():
            one = _Candidate(linked["entity_id"], linked["weight"], number, mention["text"])
            known = best.get(one.entity_id)
            if known is None or one.weight > known.weight:
                best[one.entity_id] = one
    return list(best.values())

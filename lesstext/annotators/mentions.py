"""Mentions: which stretches of a sample's captions can name which entities."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, ClassVar

from lesstext.annotators.base import Annotator, Part, Placement, Worker
from lesstext.dataclass_options import Flag
from lesstext.entities.alias_index import AliasIndex
from lesstext.entities.index_cache import open_index
from lesstext.entities.knowledge_base import KnowledgeBase, id_part, open_kb
from lesstext.entities.linking import RULES, Found, disambiguate, link, meanings_of
from lesstext.entities.tagging import Said, Spacy, find_model, model_id
from lesstext.entities.words import UNICODE, composed
from lesstext.errors import UsageError
from lesstext.shards.captions import caption_fields, is_text, read_fields
from lesstext.shards.samples import Row, fail
from lesstext.shards.tar_reading import SampleEntry
from lesstext.storage.paths import location

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)

_BATCH_CHARACTERS = 100_000
_BATCH_SAMPLES = 1024


@dataclass(frozen=True, kw_only=True)
class Mentions(Annotator):
    """Find in each caption what may name an entity of a knowledge base."""

    name: ClassVar[str] = "mentions"

    kb: Annotated[
        str | None, Flag("Knowledge base (`lesstext entities kb`). [WordNet's physical things]")
    ] = None
    tagger: Annotated[
        str, Flag("auto, none or spacy[:MODEL]: what tells nouns; auto: spaCy where installed.")
    ] = "auto"
    ner: Annotated[
        str, Flag("none or spacy[:MODEL]: proper names as a second source of mentions.")
    ] = "none"
    max_characters: Annotated[int, Flag("Characters of a caption that are looked at.")] = 100_000

    def __post_init__(self) -> None:
        if self.max_characters < 1:
            raise UsageError(f"--max-characters must be at least 1, got {self.max_characters}")
        if self.ner == "auto":
            raise UsageError("--ner is none or spacy[:MODEL], got 'auto'")
        _ = self.tagger_model, self.ner_model

    @property
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        import pyarrow as pa

        entity = pa.struct([("entity_id", pa.string()), ("weight", pa.float32())])
        mention = pa.struct(
            [
                ("field", pa.string()),
                ("start", pa.int32()),
                ("stop", pa.int32()),
                ("text", pa.string()),
                ("source", pa.string()),
                ("entities", pa.list_(entity)),
            ]
        )
        return [("n_mentions", pa.int32()), ("mentions", pa.list_(mention))]

    @property
    def settings(self) -> dict[str, Any]:
        """What the id does not name."""
        return {"max_characters": self.max_characters}

    @property
    def tagger_model(self) -> str | None:
        """The model that tells nouns, as far as one is wanted and there."""
        return None if self.tagger == "none" else find_model(self.tagger)

    @property
    def ner_model(self) -> str | None:
        """The model that finds proper names, if that is asked for."""
        return None if self.ner == "none" else find_model(self.ner)

    def identify(self, placement: Placement) -> str:
        if self.tagger == "auto" and self.tagger_model is None:
            _warn_once()
        tagger, ner = (
            "none" if model is None else model_id(model)
            for model in (self.tagger_model, self.ner_model)
        )
        kb = id_part(self._open_kb())
        return f"mentions:rules-{RULES}:unicode-{UNICODE}:{kb}:tagger={tagger}:ner={ner}"

    @contextmanager
    def load(self, placement: Placement) -> Iterator[Worker]:
        yield MentionsWorker(self, self.identify(placement), open_index(self._open_kb()))

    def _open_kb(self) -> KnowledgeBase:
        return open_kb(None if self.kb is None else location(self.kb))


@cache
def _warn_once() -> None:
    _log.warning(
        "no tagger is installed: nouns are told by lists of words alone, "
        "less precisely (pip install 'lesstext[entities]')"
    )


@dataclass(slots=True)
class _Captions:
    """A sample's row, and its captions by field; `places` where their characters were read."""

    row: Row
    fields: list[str] = field(default_factory=list)
    originals: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    places: list[list[int] | None] = field(default_factory=list)


class MentionsWorker:
    """An index of aliases that is open, and what spaCy needs."""

    def __init__(self, options: Mentions, identity: str, index: AliasIndex) -> None:
        self.id = identity
        self._max_characters = options.max_characters
        self._index = index
        tagger, ner = options.tagger_model, options.ner_model
        one = tagger if tagger == ner else None
        self._tagger = None if tagger is None else Spacy(tagger, nouns=True, names=one is not None)
        self._ner = self._tagger if one else Spacy(ner, nouns=False, names=True) if ner else None

    def annotate(self, part: Part) -> Iterator[Row]:
        with part.path.open("rb") as file:
            batch: list[_Captions] = []
            size = 0
            for entry in part.entries:
                with part.clock.stage("read"):
                    batch.append(self._read(file, entry))
                size += sum(map(len, batch[-1].texts))
                if size >= _BATCH_CHARACTERS or len(batch) == _BATCH_SAMPLES:
                    yield from self._rows(part, batch)
                    batch, size = [], 0
            yield from self._rows(part, batch)

    def _read(self, file: BinaryIO, entry: SampleEntry) -> _Captions:
        """A sample's captions; what cannot be read of them becomes its error."""
        sample = _Captions({"key": entry.key, "uid": None, "status": "ok", "error": None})
        found, why_none = read_fields(file, entry)
        uid = found.get("uid")
        sample.row["uid"] = uid if is_text(uid) else None
        sample.row["error"] = why_none
        if entry.duplicate:
            fail(sample.row, "duplicate_key", "an earlier sample of this shard has the same key")
        elif entry.cut:
            fail(sample.row, "decode_error", "the shard is cut off inside this sample")
        else:
            try:
                captions = caption_fields(file, entry, found)
            except (EOFError, ValueError) as error:
                fail(sample.row, "annotator_error", f"caption cannot be read: {error}")
            else:
                self._take(sample, captions)
        return sample

    def _take(self, sample: _Captions, captions: dict[str, str]) -> None:
        for name, text in captions.items():
            if len(text) > self._max_characters:
                sample.row["error"] = (
                    f"{name} has {len(text)} characters; the first {self._max_characters} "
                    "were looked at"
                )
            looked_at, places = composed(text[: self._max_characters])
            sample.fields.append(name)
            sample.originals.append(text)
            sample.texts.append(looked_at)
            sample.places.append(places)

    def _rows(self, part: Part, batch: Sequence[_Captions]) -> Iterator[Row]:
        texts = [text for sample in batch for text in sample.texts]
        with part.clock.stage("tag"):
            said = [] if self._tagger is None else self._tagger.say(texts)
        with part.clock.stage("ner"):
            names = said if self._ner is self._tagger else self._ner.say(texts) if self._ner else []
        with part.clock.stage("match"):
            found = self._find(texts, said, names if self._ner else [])
        with part.clock.stage("link"):
            for mentions in found:
                disambiguate(self._index, mentions)
        number = 0
        for sample in batch:
            mine = found[number : number + len(sample.texts)]
            number += len(sample.texts)
            yield self._row(sample, mine)

    def _find(
        self, texts: Sequence[str], said: Sequence[Said], names: Sequence[Said]
    ) -> list[list[Found]]:
        """The mentions of each text, by their start."""
        by_text: list[list[Found]] = [[] for _ in texts]
        is_noun = None if self._tagger is None else lambda text, *span: said[text].is_noun(*span)
        for mention in link(self._index, texts, is_noun):
            by_text[mention.text].append(mention)
        stretches = [(n, *span) for n, one in enumerate(names) for span in one.names]
        spelled = [texts[n][start:stop] for n, start, stop in stretches]
        for (n, start, stop), meant in zip(
            stretches, meanings_of(self._index, spelled), strict=True
        ):
            by_text[n] = _with_name(by_text[n], Found(n, start, stop, "ner", meant))
        return by_text

    def _row(self, sample: _Captions, found: Sequence[Sequence[Found]]) -> Row:
        if sample.row["status"] == "ok":
            mentions = [
                self._mention(sample, number, one)
                for number, some in enumerate(found)
                for one in some
            ]
            sample.row.update(n_mentions=len(mentions), mentions=mentions)
        return sample.row

    def _mention(self, sample: _Captions, number: int, found: Found) -> dict[str, Any]:
        places = sample.places[number]
        start, stop = found.start, found.stop
        if places is not None:
            start, stop = places[start], places[stop]
        return {
            "field": sample.fields[number],
            "start": start,
            "stop": stop,
            "text": sample.originals[number][start:stop],
            "source": found.source,
            "entities": [
                {"entity_id": self._index.entity_id(row), "weight": weight}
                for row, weight in found.candidates
            ],
        }


def _with_name(mentions: Sequence[Found], name: Found) -> list[Found]:
    """The mentions with a name among them, which takes the place of what lies inside it.

    Where an alias covers as much or more, the name tells nothing new.
    """
    if any(one.start <= name.start and name.stop <= one.stop for one in mentions):
        return list(mentions)
    apart = [one for one in mentions if one.stop <= name.start or name.stop <= one.start]
    return sorted([*apart, name], key=lambda one: one.start)

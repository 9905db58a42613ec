"""A selector that knows colours: pictures of one colour, entities named after it.

`LOG` in the environment names a file to which every embedded text is appended.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from lesstext.annotators.base import Annotator, Part, Placement, Worker
from lesstext.entities.kb_writing import write_kb
from lesstext.entities.knowledge_base import Entity, open_kb
from lesstext.entities.selectors.base import SelectorSettings, Vectors
from lesstext.images import Pixels
from lesstext.shards.samples import Row, fail
from tests.lesstext.builders import encoded, picture, sample, write_tar

COLOURS = {"red": (250, 0, 0), "lime": (0, 250, 0), "blue": (0, 0, 250), "pink": (250, 190, 200)}


@dataclass(frozen=True, slots=True)
class ColourSelector:
    id: str
    batch_size: int

    def embed_images(self, images: Sequence[Pixels]) -> Vectors:
        assert 0 < len(images) <= self.batch_size
        return _unit([image.reshape(-1, 3).mean(axis=0) for image in images])

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        if "LOG" in os.environ:
            with Path(os.environ["LOG"]).open("a") as file:
                file.writelines(f"{text}\n" for text in texts)
        return _unit([COLOURS.get(text.split(",")[0], (np.nan, 0, 0)) for text in texts])


def identify(settings: SelectorSettings) -> str:
    settings.refuse_unknown_options(("version", "batch"))
    return f"colours version={settings.options.get('version', '1')}"


def load(settings: SelectorSettings) -> ColourSelector:
    return ColourSelector(identify(settings), int(settings.options.get("batch", "1")))


def _unit(rows: Sequence[Any]) -> Vectors:
    vectors = np.asarray(rows, dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class NamedMentions(Annotator):
    """Finds the ids of entities as they stand in the caption."""

    name: ClassVar[str] = "mentions"
    kb: str
    extra: str = ""

    @property
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        linked = pa.struct([("entity_id", pa.string()), ("weight", pa.float32())])
        mention = pa.struct(
            [
                ("field", pa.string()),
                ("start", pa.int32()),
                ("stop", pa.int32()),
                ("text", pa.string()),
                ("source", pa.string()),
                ("entities", pa.list_(linked)),
            ]
        )
        return [("mentions", pa.list_(mention))]

    def identify(self, placement: Placement) -> str:
        return f"named kb={open_kb(Path(self.kb)).digest}"

    def load(self, placement: Placement) -> AbstractContextManager[Worker]:
        return nullcontext(_Finder(self.identify(placement), {*COLOURS, "dark", self.extra}))


@dataclass(frozen=True, slots=True)
class _Finder:
    id: str
    known: set[str]

    def annotate(self, part: Part) -> Iterator[Row]:
        for opened in part.samples(decoded=[False] * len(part.entries)):
            words = [word for word in (opened.caption or "").split() if word != "-"]
            opened.row["mentions"] = [self._mention(word) for word in words]
            if "unreadable" in words:
                fail(opened.row, "annotator_error", "unreadable")
            yield opened.row

    def _mention(self, word: str) -> dict[str, Any]:
        linked = [{"entity_id": word, "weight": 1.0}] if word in self.known else []
        where = {"field": "txt", "start": 0, "stop": 0, "source": "alias"}
        return {**where, "text": word, "entities": linked}


def write_colours(path: Path, description: str = "") -> str:
    """A knowledge base of the colours, and of `dark`, of which the selector has no idea."""
    entities = [
        Entity(entity_id=name, name=name, description=description, prior=0.5, depictable=True)
        for name in (*COLOURS, "dark")
    ]
    write_kb(entities, path, format="table", source="colours", version="1", counts=Counter())
    return str(path)


def write_pictures(path: Path, samples: Sequence[tuple[str, str]], prefix: str = "k") -> Path:
    """A shard of pictures of one colour each with their captions; `-` stands for no image."""
    members = []
    for number, (colour, caption) in enumerate(samples):
        key = f"{prefix}{number}"
        if colour == "-":
            members += sample(key, b"no image", caption=caption)
        else:
            image = picture()
            image.paste(COLOURS[colour], (0, 0, *image.size))
            members += sample(key, encoded(image), caption=caption)
    return write_tar(path, members)

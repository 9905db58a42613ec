"""The captions of a sample, by one order of preference for tables, report and training.

The caption stands in the first of these places that holds a text:

1. the `txt` member, whole, even where it is empty;
2. `caption` in the `json` member;
3. `captions` in the `json` member, of which the first is the caption.

In `json` a place holds one text or a list of texts; whatever else stands there is passed over.
So a table describes the text that is trained on. All captions of a sample are those at
`captions`, else what the order above finds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

from lesstext.shards.tar_reading import SampleEntry, read_member

Fields = Mapping[str, Any]


def read_caption(file: BinaryIO, entry: SampleEntry) -> str | None:
    """The sample's caption, as `caption_from` finds it."""
    return caption_from(file, entry, read_json(file, entry))


def caption_from(file: BinaryIO, entry: SampleEntry, fields: Fields) -> str | None:
    """The caption: of the `txt` member, else of the json fields; None where neither holds one.

    Raises UnicodeDecodeError for a text that is not UTF-8, EOFError for one that is cut off.
    """
    text = entry.member("txt")
    if text is not None:
        return read_member(file, text).decode("utf-8")
    return next(iter(preferred_captions(fields)), None)


def preferred_captions(fields: Fields) -> list[str]:
    """The texts at the first place of a sample's json that holds any; the first is the caption.

    >>> preferred_captions({"captions": ["a", "b"], "caption": "c"})
    ['c']
    >>> preferred_captions({"captions": ["a", "b"], "caption": None})
    ['a', 'b']
    """
    return captions_at(fields, "caption") or captions_at(fields, "captions")


def captions_at(fields: Fields, field: str) -> list[str]:
    """The texts at one json field, which holds a text or a list of them; often none."""
    found = fields.get(field)
    if isinstance(found, str):
        return [found]
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def read_json(file: BinaryIO, entry: SampleEntry) -> dict[str, Any]:
    """The fields of the sample's `json`; empty when there is none or it is cut off."""
    member = entry.member("json")
    if member is None:
        return {}
    try:
        return parse_json(read_member(file, member))
    except EOFError:
        return {}


def parse_json(data: bytes) -> dict[str, Any]:
    """The fields of a `json` member; empty when it is not a JSON object."""
    try:
        fields = json.loads(data)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}

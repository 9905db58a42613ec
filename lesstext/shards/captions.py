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
from typing import Any, BinaryIO, TypeGuard

from lesstext.shards.tar_reading import Member, SampleEntry, read_member

Fields = Mapping[str, Any]

_MAX_TEXT_BYTES = 16 << 20


def read_caption(file: BinaryIO, entry: SampleEntry) -> str | None:
    """The sample's caption, as `caption_from` finds it."""
    return caption_from(file, entry, read_json(file, entry))


def caption_from(file: BinaryIO, entry: SampleEntry, fields: Fields) -> str | None:
    """The caption: of the `txt` member, else of the json fields; None where neither holds one.

    Raises UnicodeDecodeError for a text that is not UTF-8, EOFError for one that is cut off, and
    ValueError for one of more than 16 MiB.
    """
    text = entry.member("txt")
    if text is not None:
        return _read_text(file, text).decode("utf-8")
    return next(iter(preferred_captions(fields)), None)


def read_captions(file: BinaryIO, entry: SampleEntry) -> list[str]:
    """All captions of the sample, stripped, without blank ones; raises as `caption_from` does."""
    fields = read_json(file, entry)
    return all_captions(entry, caption_from(file, entry, fields), fields)


def all_captions(entry: SampleEntry, caption: str | None, fields: Fields) -> list[str]:
    """What `read_captions` returns, of a sample whose caption and json fields are read."""
    if found := _not_blank(captions_at(fields, "captions")):
        return found
    if entry.member("txt") is not None:
        return _not_blank([caption or ""])
    return _not_blank(preferred_captions(fields))


def caption_fields(file: BinaryIO, entry: SampleEntry, fields: Fields) -> dict[str, str]:
    """Every text that stands where captions may, by its place, each text once.

    A place is `txt`, `caption` or `captions`, the latter two with `[i]` where a list stands there.
    Raises as `caption_from` does.
    """
    found: dict[str, str] = {}
    text = entry.member("txt")
    if text is not None:
        found["txt"] = _read_text(file, text).decode("utf-8")
    for place in ("caption", "captions"):
        texts, listed = captions_at(fields, place), isinstance(fields.get(place), list)
        found |= {f"{place}[{i}]" if listed else place: text for i, text in enumerate(texts)}
    places = {text: place for place, text in reversed(found.items())}
    return {place: text for place, text in found.items() if places[text] == place}


def preferred_captions(fields: Fields) -> list[str]:
    """The texts at the first place of a sample's json that holds any; the first is the caption.

    >>> preferred_captions({"captions": ["a", "b"], "caption": "c"})
    ['c']
    >>> preferred_captions({"captions": ["a", "b"], "caption": None})
    ['a', 'b']
    """
    return captions_at(fields, "caption") or captions_at(fields, "captions")


def captions_at(fields: Fields, field: str) -> list[str]:
    """The texts at one json field, which holds a text or a list of them; often none.

    JSON can spell halves of surrogate pairs, which no text may hold; they become U+FFFD.
    """
    found = fields.get(field)
    if isinstance(found, str):
        return [_as_text(found)]
    if not isinstance(found, list):
        return []
    return [_as_text(text) for text in found if isinstance(text, str)]


def read_json(file: BinaryIO, entry: SampleEntry) -> dict[str, Any]:
    """The fields of the sample's `json`; empty when there is none or it cannot be read."""
    return read_fields(file, entry)[0]


def read_fields(file: BinaryIO, entry: SampleEntry) -> tuple[dict[str, Any], str | None]:
    """The fields of the sample's `json`, and why there are none though it has one."""
    member = entry.member("json")
    if member is None:
        return {}, None
    try:
        return _fields_of(_read_text(file, member))
    except (EOFError, ValueError) as error:
        return {}, str(error)


def parse_json(data: bytes) -> dict[str, Any]:
    """The fields of a `json` member; empty when it is not a JSON object."""
    return _fields_of(data)[0]


def is_text(value: object) -> TypeGuard[str]:
    """Whether a JSON value is a string that holds no half of a surrogate pair."""
    return isinstance(value, str) and _as_text(value) == value


def _fields_of(data: bytes) -> tuple[dict[str, Any], str | None]:
    try:
        fields = json.loads(data)
    except ValueError as error:  # also what is not UTF-8, and numbers of thousands of digits
        return {}, f"json cannot be read: {error}"
    except RecursionError:
        return {}, "json cannot be read: it is nested too deeply"
    return (fields, None) if isinstance(fields, dict) else ({}, "json holds no object")


def _as_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _read_text(file: BinaryIO, member: Member) -> bytes:
    if member.size > _MAX_TEXT_BYTES:
        raise ValueError(f"{member}: {member.size} bytes are too many for a text")
    return read_member(file, member)


def _not_blank(captions: list[str]) -> list[str]:
    return [stripped for caption in captions if (stripped := caption.strip())]

"""One sample, from wherever it comes, written as the members of a tar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lesstext.shards.tar_writing import ByteSink, write_member

# Where people keep captions, the likeliest place first.
_CAPTION_FIELDS = (
    "caption", "captions", "text", "txt", "alt_text", "alt", "description", "prompt", "title",
    "sentence", "sentences",
)  # fmt: skip


def with_caption(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, and where they name no `caption` or `captions`, the caption as one of the two.

    >>> with_caption({"id": 3, "TEXT": "a cat"})["caption"]
    'a cat'
    """
    by_name = {name.lower(): value for name, value in fields.items()}
    in_order = (by_name.get(name) for name in _CAPTION_FIELDS)
    found = next((value for value in in_order if _is_caption(value)), None)
    if found is None or _is_caption(fields.get("caption")) or _is_caption(fields.get("captions")):
        return dict(fields)
    return {**fields, "caption" if isinstance(found, str) else "captions": found}


def caption_of(fields: Mapping[str, Any]) -> str | None:
    """The caption of fields that went through `with_caption`."""
    found = fields.get("caption") or fields.get("captions")
    text = found[0] if isinstance(found, list) and found else found
    return text if isinstance(text, str) and text.strip() else None


def write_fields(
    tar: ByteSink, key: str, fields: Mapping[str, Any], *, with_text: bool = True
) -> None:
    """A `json` with all fields, and a `txt` with the caption, which some loaders insist on."""
    fields = with_caption(fields)
    text = json.dumps(fields, ensure_ascii=False, default=str)
    write_member(tar, f"{key}.json", text.encode("utf-8", "replace"))
    caption = caption_of(fields)
    if with_text and caption is not None:
        write_member(tar, f"{key}.txt", caption.encode("utf-8", "replace"))


def _is_caption(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(text, str) and text.strip() for text in value)
    return isinstance(value, str) and bool(value.strip())

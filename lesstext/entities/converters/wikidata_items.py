"""One line of Wikidata's JSON dump as a row, whatever stands in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Fields = Mapping[str, Any]
Row = dict[str, Any]


def rows_of(lines: Iterable[bytes], languages: Sequence[str], counts: Counter[str]) -> list[Row]:
    """The items among the lines; what is none is counted by what it is.

    A row has the number of the item, its name (None where no language has one), `description`,
    `aliases`, how many sites link to it, what it is an instance of and a subclass of.
    """
    rows = []
    for line in lines:
        text = line.strip().removesuffix(b",")
        if text in (b"", b"[", b"]"):
            continue
        counts["lines"] += 1
        row = _row(text, languages)
        if isinstance(row, str):
            counts[row] += 1
        else:
            rows.append(row)
    return rows


def number_of(text: object) -> int | None:
    """The number of an item's id.

    >>> [number_of(text) for text in ("Q42", "P31", "Q", None)]
    [42, None, None, None]
    """
    if not isinstance(text, str) or text[:1] != "Q" or not text[1:].isascii():
        return None
    return int(text[1:]) if text[1:].isdigit() and len(text) < 18 else None


def _row(text: bytes, languages: Sequence[str]) -> Row | str:
    """The row of a line, or the word by which it is counted."""
    try:
        item = json.loads(text)
    except (ValueError, RecursionError):
        return "malformed"
    if not isinstance(item, dict):
        return "malformed"
    if "redirect" in item:
        return "redirects"
    if item.get("type") != "item":
        return "no items"
    number = number_of(item.get("id"))
    if number is None:
        return "malformed"
    name = _first(item, "labels", languages)
    claims = _mapping(item, "claims")
    return {
        "number": number,
        "name": name,
        "description": _first(item, "descriptions", languages) or "",
        "aliases": _aliases(item, name, languages),
        "n_sitelinks": len(_mapping(item, "sitelinks")),
        "instance_of": _values(claims, "P31"),
        "subclass_of": _values(claims, "P279"),
    }


def _mapping(fields: Fields, name: str) -> Fields:
    """An object of the dump, which writes one that is empty as `[]`."""
    found = fields.get(name)
    return found if isinstance(found, dict) else {}


def _first(item: Fields, part: str, languages: Sequence[str]) -> str | None:
    texts = _mapping(item, part)
    found = (_text(texts.get(language)) for language in languages)
    return next((text for text in found if text), None)


def _aliases(item: Fields, name: str | None, languages: Sequence[str]) -> list[str]:
    labels, aliases = _mapping(item, "labels"), _mapping(item, "aliases")
    found = [name] if name else []
    found += [text for one in languages if (text := _text(labels.get(one)))]
    for language in languages:
        listed = aliases.get(language)
        found += [text for one in listed or () if (text := _text(one))]
    return list(dict.fromkeys(found))


def _text(value: object) -> str | None:
    text = value.get("value") if isinstance(value, dict) else None
    if not isinstance(text, str):
        return None
    return text.encode("utf-8", "replace").decode().strip()


def _values(claims: Fields, name: str) -> list[int]:
    """The items that a property's statements name, without those of deprecated rank."""
    statements = claims.get(name)
    found = []
    for statement in statements if isinstance(statements, list) else ():
        number = _value(statement) if isinstance(statement, dict) else None
        if number is not None:
            found.append(number)
    return list(dict.fromkeys(found))


def _value(statement: Fields) -> int | None:
    snak = _mapping(statement, "mainsnak")
    if statement.get("rank") == "deprecated" or snak.get("snaktype") != "value":
        return None  # `novalue` and `somevalue` name nothing
    value = _mapping(_mapping(snak, "datavalue"), "value")
    number = value.get("numeric-id")
    return number if isinstance(number, int) else number_of(value.get("id"))

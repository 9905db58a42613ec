"""Open English WordNet, from the YAML files of its sources: all nouns.

What a noun means most often stands first in its entry: the weight of its n-th meaning is 1/n, over
the sum of these. An entity's prior is the mean weight of its aliases.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lesstext.entities.knowledge_base import Entity, KnowledgeBase
from lesstext.errors import UsageError
from lesstext.processes import worker_pool

PHYSICAL = ("animal", "artifact", "body", "food", "location", "object", "person", "plant")
"""The lexicographer files whose things a photo can show."""
NOTICE = (
    "Open English WordNet, © The Open English WordNet Team, CC BY 4.0 "
    "(https://creativecommons.org/licenses/by/4.0/), derived from Princeton WordNet; "
    "changed: nouns as rows, weights from the order of meanings."
)
_FILE = re.compile(r"(?:^|/)(?:noun\.(\w+)|entries-\w+)\.yaml$")
_MAX_HYPERNYMS = 6

Fields = dict[str, Any]


class OewnSource:
    """The sources as a folder or a tar; `counts` and `version` are filled as entities are read.

    The files do not say which edition they are; the version is a digest of them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self.version = ""

    def entities(self, n_workers: int | None = None) -> Iterator[Entity]:
        """All noun synsets; raises UsageError for what is no source of Open English WordNet."""
        synsets, entries = self._load(n_workers or os.cpu_count() or 1)
        weights = _alias_weights(entries, synsets)
        aliases: set[str] = set()
        for synset_id, synset in synsets.items():
            entity = _entity(synset_id, synset, synsets, weights)
            self.counts["entities"] += 1
            self.counts["linked"] += any(link.startswith("wikidata:") for link in entity.links)
            aliases.update(alias.lower() for alias in entity.aliases)
            yield entity
        self.counts["aliases"] = len(aliases)

    def _load(self, n_workers: int) -> tuple[dict[str, Fields], dict[str, list[str]]]:
        files = sorted(self._files(), key=lambda file: (-len(file[1]), file[0]))
        digest = hashlib.blake2b(digest_size=8)
        for _, data in files:
            digest.update(data)
        self.version = f"blake2:{digest.hexdigest()}"
        synsets: dict[str, Fields] = {}
        entries: dict[str, list[str]] = {}
        for nouns, senses in _parsed(files, n_workers):
            synsets |= nouns
            entries |= senses
        if not synsets or not entries:
            raise UsageError(
                f"{self.path} is no source of Open English WordNet: it must hold "
                "noun.*.yaml and entries-*.yaml"
            )
        return dict(sorted(synsets.items())), entries

    def _files(self) -> list[tuple[str, bytes]]:
        if self.path.is_dir():
            found = sorted(p for p in self.path.rglob("*.yaml") if _FILE.search(p.as_posix()))
            return [(path.as_posix(), path.read_bytes()) for path in found]
        try:
            with tarfile.open(self.path) as tar:
                members = [m for m in tar if m.isfile() and _FILE.search(m.name)]
                return [(m.name, _content(tar, m)) for m in members]
        except (OSError, EOFError, tarfile.TarError) as error:
            raise UsageError(f"{self.path} is no folder and no tar: {error}") from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _parsed(
    files: Sequence[tuple[str, bytes]], n_workers: int
) -> Iterator[tuple[dict[str, Fields], dict[str, list[str]]]]:
    if n_workers == 1 or not files:
        yield from map(_parse, files)
        return
    with worker_pool(min(n_workers, len(files))) as pool:
        yield from pool.map(_parse, files)


def _parse(file: tuple[str, bytes]) -> tuple[dict[str, Fields], dict[str, list[str]]]:
    """The noun synsets of a file, each with its category, or the senses of its noun entries."""
    import yaml

    name, data = file
    match = _FILE.search(name)
    assert match is not None
    try:
        found = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if match[1]:
            return {key: {**fields, "category": match[1]} for key, fields in found.items()}, {}
        return {}, _senses(found)
    except (yaml.YAMLError, AttributeError, TypeError, KeyError) as error:
        raise UsageError(f"{name} cannot be read: {' '.join(str(error).split())}") from error


def _senses(entries: Mapping[Any, Mapping[str, Fields]]) -> dict[str, list[str]]:
    """Of each lemma, its noun synsets, the most frequent meaning first."""
    found: dict[str, list[str]] = {}
    for lemma, parts in entries.items():
        for part, fields in parts.items():  # n, or n-1 and n-2 where they sound different
            if part.partition("-")[0] == "n":
                found.setdefault(str(lemma), []).extend(s["synset"] for s in fields["sense"])
    return found


def _alias_weights(
    entries: Mapping[str, Sequence[str]], synsets: Mapping[str, Fields]
) -> dict[tuple[str, str], float]:
    """By (alias, synset), the share of the alias's meanings."""
    found: dict[tuple[str, str], float] = {}
    for lemma, senses in entries.items():
        known = [sense for sense in dict.fromkeys(senses) if sense in synsets]
        total = sum(1 / rank for rank in range(1, len(known) + 1))
        for rank, sense in enumerate(known, 1):
            found[lemma, sense] = 1 / rank / total
    return found


def _entity(
    synset_id: str,
    synset: Fields,
    synsets: Mapping[str, Fields],
    weights: Mapping[tuple[str, str], float],
) -> Entity:
    aliases = list(dict.fromkeys(str(member) for member in synset["members"]))
    alias_weights = [weights.get((alias, synset_id), 1.0) for alias in aliases]
    category = synset["category"]
    return Entity(
        entity_id=synset_id,
        name=aliases[0],
        description="; ".join(synset.get("definition", ())),
        aliases=aliases,
        alias_weights=alias_weights,
        prior=sum(alias_weights) / len(alias_weights),
        types=[f"noun.{category}", *_hypernyms(synset_id, synsets)],
        depictable=category in PHYSICAL,
        links=_links(synset),
    )


def _hypernyms(synset_id: str, synsets: Mapping[str, Fields]) -> list[str]:
    """The nearest synsets above, nearest first; not all the way up, where all are alike."""
    found: dict[str, None] = {}
    level = [synset_id]
    while level and len(found) < _MAX_HYPERNYMS:
        level = [above for one in level for above in synsets.get(one, {}).get("hypernym", ())]
        found |= dict.fromkeys(level)
    return list(found)[:_MAX_HYPERNYMS]


def _links(synset: Fields) -> list[str]:
    given = synset.get("wikidata", ())
    qids = [given] if isinstance(given, str) else list(given)
    ili = [f"ili:{synset['ili']}"] if "ili" in synset else []
    return [*ili, *(f"wikidata:{qid}" for qid in qids)]


def by_wordnet30(kb: KnowledgeBase, ili_map: Path) -> dict[str, str]:
    """Entities by their ids in Princeton WordNet 3.0, such as ImageNet's `n02084071`.

    `ili_map` is CILI's table of interlingual ids and offsets.
    """
    rows = kb.table.select(["entity_id", "links"]).to_pylist()
    by_ili = {link: row["entity_id"] for row in rows for link in row["links"]}
    found = {}
    for line in ili_map.read_text(encoding="utf-8").splitlines():
        ili, _, offset = line.partition("\t")
        number, _, part = offset.partition("-")
        if part == "n" and f"ili:{ili}" in by_ili:
            found[f"n{number}"] = by_ili[f"ili:{ili}"]
    return found

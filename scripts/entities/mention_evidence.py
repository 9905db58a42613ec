"""How many mentions are right, and how many are found: against captions that were read.

`captions.csv` names the captions, `verdicts.csv` what was judged in them: every mention that a
matcher made (the entity that it weighs heaviest, or `name` for a stretch that NER calls a proper
name), and stretches that none found (`missed`), each with two verdicts, kept where they differ.
"""

from __future__ import annotations

import csv
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from attr_builder.evaluation.statistics import rate
from lesstext.entities.alias_index import AliasIndex
from lesstext.entities.index_cache import open_index
from lesstext.entities.knowledge_base import open_kb
from lesstext.entities.linking import Found, disambiguate, link
from lesstext.entities.tagging import Said, Spacy, find_model
from lesstext.errors import UsageError

READ = Path(__file__).parent.parent / "results" / "entity_mentions"
NAME, MISSED = "name", "missed"

Place = tuple[str, str, int, int]
"""File, key, start and stop."""
Mention = tuple[str, str, int, int, str]
"""And the entity, or `name`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Two readings of one stretch: whether it was right (a missed one: whether it counts)."""

    first: bool
    second: bool


def verdicts() -> dict[Mention, Verdict]:
    """All that was judged."""
    with (READ / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["file"], row["key"], int(row["start"]), int(row["stop"]), row["entity"]): Verdict(
                row["first"] == "right", row["second"] == "right"
            )
            for row in csv.DictReader(file)
        }


def captions(data: Path) -> dict[tuple[str, str], str]:
    """The captions that were read, by file and key."""
    with (READ / "captions.csv").open(encoding="utf-8", newline="") as file:
        wanted = [(row["file"], row["key"]) for row in csv.DictReader(file)]
    return {(name, key): _texts(data, name)[key] for name, key in wanted}


@cache
def _texts(data: Path, name: str) -> dict[str, str]:
    if name.endswith(".csv"):
        with (data / name).open(encoding="utf-8", newline="") as file:
            return {str(n): row["caption"] for n, row in enumerate(csv.DictReader(file))}
    found = {}
    with tarfile.open(data / f"{name}.tar") as tar:
        for member in tar:
            if member.name.endswith(".txt"):
                file_ = tar.extractfile(member)
                assert file_ is not None
                found[member.name.removesuffix(".txt")] = file_.read().decode()
    return found


def matchers(texts: dict[tuple[str, str], str]) -> dict[str, set[Mention]]:
    """What each way of matching finds in the captions."""
    model = find_model("spacy")
    if model is None:
        raise UsageError("the evaluation needs spaCy and its English model")
    index = open_index(open_kb())
    places, captions_ = list(texts), list(texts.values())
    said = Spacy(model, nouns=True, names=True).say(captions_)
    tagged = link(index, captions_, lambda text, *span: said[text].is_noun(*span))
    lists = link(index, captions_, None)
    by_tagger, names = _linked(index, places, tagged), _named(places, said)
    return {
        "aliases, by lists of words": _linked(index, places, lists),
        "aliases, by tagger": by_tagger,
        "NER": names,
        "both (tagger)": by_tagger | _beside(names, by_tagger),
    }


def _linked(
    index: AliasIndex, places: Sequence[tuple[str, str]], found: Iterable[Found]
) -> set[Mention]:
    by_text: dict[int, list[Found]] = defaultdict(list)
    for mention in found:
        by_text[mention.text].append(mention)
    mentions = set()
    for text, some in by_text.items():
        disambiguate(index, some)
        for one in some:
            entity = index.entity_id(one.candidates[0][0])
            mentions.add((*places[text], one.start, one.stop, entity))
    return mentions


def _named(places: Sequence[tuple[str, str]], said: Sequence[Said]) -> set[Mention]:
    return {
        (*place, *span, NAME) for place, one in zip(places, said, strict=True) for span in one.names
    }


def _beside(names: set[Mention], aliases: set[Mention]) -> set[Mention]:
    """Names that no alias covers."""
    covered = defaultdict(list)
    for file, key, start, stop, _ in aliases:
        covered[file, key].append((start, stop))
    return {
        name
        for name in names
        if not any(a <= name[2] and name[3] <= b for a, b in covered[name[0], name[1]])
    }


def measured(
    found: set[Mention], judged: dict[Mention, Verdict], reading: str
) -> dict[str, object]:
    """Precision of what was found, and recall of the stretches that this reading calls right.

    Intervals of 95 % are those of captions drawn again, for mentions of one are alike. What was
    not judged, because the matcher has changed since, counts neither way.
    """
    known = sorted(mention for mention in found if mention in judged)
    hits = np.array([getattr(judged[mention], reading) for mention in known])
    right = {mention[:4] for mention in known if getattr(judged[mention], reading)}
    wanted = sorted(
        {mention[:4] for mention, verdict in judged.items() if getattr(verdict, reading)}
    )
    reached = np.array([place in right for place in wanted])
    precision = rate(hits, [f"{mention[0]}/{mention[1]}" for mention in known])
    recall = rate(reached, [f"{place[0]}/{place[1]}" for place in wanted])
    return {
        "mentions": len(found),
        "not judged": len(found) - len(known),
        "precision": precision,
        "recall": recall,
    }

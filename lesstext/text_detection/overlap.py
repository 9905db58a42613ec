"""How much of a caption can be read in its image.

The exact measure is the Parrot paper's (Lin et al. 2023, arXiv 2312.14232): words are what white
space separates, compared as they are written. The fuzzy one is ours, for the paper does not say
how its own compares: recognisers miss letters and the spaces between words, so what is compared
are runs of consecutive caption words, as letters alone, with what stands in one region.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FUZZY_SIMILARITY = 0.75
"""Normalised Levenshtein similarity from which a region repeats caption words; our choice."""
_MIN_LETTERS = 2


@dataclass(frozen=True, slots=True)
class RegionOverlap:
    """What one region shares with the caption.

    `exact`: one of its words stands in the caption, as it is written. `similarity`: the highest
    normalised Levenshtein similarity, in [0, 1], of its letters and those of consecutive caption
    words.
    """

    exact: bool
    similarity: float

    @property
    def is_repeated(self) -> bool:
        """Whether it says what the caption says, by the fuzzy measure."""
        return self.similarity >= FUZZY_SIMILARITY


@dataclass(frozen=True, slots=True)
class CaptionOverlap:
    """What a caption shares with the words in its image.

    `exact` and `fuzzy` are the shares, in [0, 1], of the caption's distinct words that stand in
    the image; None where the caption has no words (of letters, for `fuzzy`). `regions` are in the
    order of the texts.
    """

    exact: float | None
    fuzzy: float | None
    n_words: int
    regions: tuple[RegionOverlap, ...]


def caption_overlap(caption: str, texts: Sequence[str]) -> CaptionOverlap:
    """Compare a caption with what was read in each region of its image.

    `exact` is |set(caption words) ∩ set(image words)| / |set(caption words)|.

    >>> found = caption_overlap("a red coffee mug", ["COFFEEMUG", "red", "sale"])
    >>> found.exact, found.fuzzy
    (0.25, 0.75)
    >>> [region.is_repeated for region in found.regions]
    [True, True, False]
    """
    words = set(caption.split())
    in_image = {word for text in texts for word in text.split()}
    spoken = [letters for word in caption.split() if (letters := _letters(word))]
    regions, repeated = [], set[str]()
    for text in texts:
        similarity, run = _closest_run(_letters(text), spoken)
        region = RegionOverlap(not words.isdisjoint(text.split()), similarity)
        regions.append(region)
        if region.is_repeated:
            repeated.update(run)
    return CaptionOverlap(
        exact=len(words & in_image) / len(words) if words else None,
        fuzzy=len(repeated) / len(set(spoken)) if spoken else None,
        n_words=len(words),
        regions=tuple(regions),
    )


def _letters(text: str) -> str:
    """The letters of a text without marks of case; marks that belong to letters stay."""
    return "".join(one for one in text.casefold() if one.isalpha())


def _closest_run(read: str, spoken: Sequence[str]) -> tuple[float, Sequence[str]]:
    """Of all runs of caption words the one that is most similar, the shortest among equals.

    A run so long that it cannot come up to `FUZZY_SIMILARITY` ends the search from its first word.
    """
    from rapidfuzz.distance import Levenshtein

    best: tuple[float, Sequence[str]] = (0.0, ())
    if len(read) < _MIN_LETTERS:
        return best
    longest = len(read) / FUZZY_SIMILARITY
    for start, first in enumerate(spoken):
        joined = ""
        for end, word in enumerate(spoken[start:], start + 1):
            joined += word
            if len(joined) > longest and joined != first:
                break
            similarity = Levenshtein.normalized_similarity(read, joined)
            if (similarity, -(end - start)) > (best[0], -len(best[1])):
                best = similarity, spoken[start:end]
    return best

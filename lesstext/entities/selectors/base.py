"""The contract of a selector: images and texts become vectors whose dot product is a similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lesstext.errors import AnnotatorError, UsageError
from lesstext.images import Pixels
from lesstext.plugins import load_plugin

DEFAULT_SELECTOR = "clip"
ENTRY_POINT_GROUP = "lesstext.selectors"
Vectors = NDArray[np.float32]
Precision = Literal["fp32", "amp_bf16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorSettings:
    """What a user chooses about a selector.

    `device` is one concrete torch device such as `cpu` or `cuda:1`; `threads` is the number of
    CPU threads that the network may use; `options` are the selector's own, as text.
    """

    name: str = DEFAULT_SELECTOR
    device: str = "cpu"
    threads: int = 1
    model: str | None = None
    pretrained: str | None = None
    precision: Precision = "fp32"
    options: dict[str, str] = field(default_factory=dict)

    def refuse_unknown_options(self, known: Sequence[str]) -> None:
        """Raise UsageError when `options` holds a name that the selector does not have."""
        unknown = sorted(set(self.options) - set(known))
        if unknown:
            raise UsageError(
                f"selector {self.name!r} has no option {', '.join(unknown)}; "
                f"it has: {', '.join(known) or 'none'}"
            )


class Selector(Protocol):
    """Embeds images and texts; the similarity of the two is the dot product of their vectors.

    `id` names the model, its weights and every setting that can change a result. `batch_size` is
    how many images are best given at once.
    """

    @property
    def id(self) -> str: ...

    @property
    def batch_size(self) -> int: ...

    def embed_images(self, images: Sequence[Pixels]) -> Vectors:
        """One finite row (n, d) per image, in order; images are RGB uint8 (H, W, 3) of any size.

        An image's row does not depend on the images beside it, nor a text's on the texts.
        """
        ...

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """One finite row (n, d) per text, in order."""
        ...


class SelectorModule(Protocol):
    """What an entry point of the group `lesstext.selectors` names: a module with two functions."""

    def identify(self, settings: SelectorSettings) -> str:
        """The id that the loaded selector will have, found without loading anything heavy."""
        ...

    def load(self, settings: SelectorSettings) -> Selector: ...


def load_selector(settings: SelectorSettings) -> Selector:
    """Load a selector.

    Raises UsageError for an unknown name, model or option, AnnotatorError where it cannot run.
    """
    return _module(settings.name).load(settings)


def identify_selector(settings: SelectorSettings) -> str:
    """The id that `load_selector(settings)` would have."""
    return _module(settings.name).identify(settings)


def _module(name: str) -> SelectorModule:
    module: SelectorModule = load_plugin(ENTRY_POINT_GROUP, "selector", name, AnnotatorError)
    return module

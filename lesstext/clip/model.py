"""Any open_clip model: loaded by one spelling, embedding images and prompts, known by its weights.

A model is named as open_clip names it, with the tag or file of its weights; or by the path of its
config (JSON), with a file; or, stored with its weights, as `local-dir:FOLDER` or `hf-hub:NAME`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lesstext.clip.files import LOCAL, fetching, known_name
from lesstext.errors import UsageError

if TYPE_CHECKING:
    import torch
    from PIL import Image

Preprocess = Callable[["Image.Image"], "torch.Tensor"]
Tokenizer = Callable[[list[str]], "torch.Tensor"]
Precision = Literal["fp32", "amp_bf16"]
Embeddings = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipModel:
    """A network, what feeds it, and how it is run; embedding leaves its training mode as it was.

    `name` holds no path; `config` is open_clip's description of the architecture. `preprocess` is
    open_clip's own for this network. With `amp_bf16` the image tower runs in bfloat16 autocast;
    prompts are always embedded in the precision of the weights.
    """

    name: str
    config: Mapping[str, Any]
    network: Any
    tokenizer: Tokenizer
    preprocess: Preprocess
    device: str = "cpu"
    precision: Precision = "fp32"

    @property
    def embed_dim(self) -> int:
        return int(self.config["embed_dim"])

    def identity(self) -> str:
        """Everything that can change an embedding: name, weights, architecture, precision.

        Equal for the same model in another place or on another device. Reads all weights.
        """
        described = {"model": self.config, "preprocess": self.network.visual.preprocess_cfg}
        text = json.dumps(described, sort_keys=True, default=str)
        config = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        weights = weights_digest(self.network)
        return f"{self.name} weights={weights} config={config} precision={self.precision}"

    def embed_images(self, batches: Iterable[torch.Tensor]) -> Embeddings:
        """Unit vectors (n, d) of preprocessed images that come as batches (b, 3, px, px)."""
        import torch

        with evaluating(self.network), torch.inference_mode():
            return _join((self._embed_pixels(batch) for batch in batches), self.embed_dim)

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> Embeddings:
        """Unit vectors (n, d) of texts, in their order."""
        starts = range(0, len(texts), batch_size)
        parts = (self.embed_prompts(texts[start : start + batch_size]) for start in starts)
        return _join(parts, self.embed_dim)

    def embed_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """One batch of prompts as unit rows (n, d), float32, on the model's device."""
        import torch

        tokens = self.tokenizer(list(prompts)).to(self.device)
        with evaluating(self.network), torch.inference_mode():
            features = self.network.encode_text(tokens)
            return torch.nn.functional.normalize(features.float(), dim=-1)

    def _embed_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        with _autocast(self.device, self.precision):
            features = self.network.encode_image(pixels.to(self.device))
        return torch.nn.functional.normalize(features.float(), dim=-1)


def load_model(
    name: str, pretrained: str | None = None, device: str = "cpu", *, precision: Precision = "fp32"
) -> ClipModel:
    """Load an open_clip model; `pretrained` is a tag or the path of a checkpoint.

    `name` may also be the path of an open_clip model config (JSON), or, as `local-dir:FOLDER` or
    `hf-hub:NAME`, a model stored with its weights, which need no `pretrained`; FOLDER may be a run
    of train-clip. Raises UsageError when the model, its weights or the device cannot be had,
    naming what there is.
    """
    import open_clip

    with fetching(name, pretrained):
        known = known_name(name, pretrained)
        network = open_clip.create_model(
            known, pretrained=pretrained, device=device, require_pretrained=True
        )
        tokenizer = open_clip.get_tokenizer(known)
        config = open_clip.get_model_config(known)
    return ClipModel(
        name=LOCAL.rstrip(":") if known.startswith(LOCAL) else known,
        config=config,
        network=network.eval(),
        tokenizer=tokenizer,
        preprocess=preprocessing(network),
        device=device,
        precision=precision,
    )


def preprocessing(network: Any) -> Preprocess:
    """open_clip's own preprocessing for a network, without augmentation."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = PreprocessCfg(**network.visual.preprocess_cfg)
    transform: Preprocess = image_transform_v2(config, is_train=False)
    return transform


def prompt_templates(n: int) -> list[str]:
    """OpenAI's 80 ImageNet templates, their best 7, or the plain one; `{c}` stands for the name."""
    import open_clip

    if n == 1:
        return ["a photo of a {c}."]
    known = {80: open_clip.OPENAI_IMAGENET_TEMPLATES, 7: open_clip.SIMPLE_IMAGENET_TEMPLATES}
    if n not in known:
        raise UsageError(f"templates: choose 80, 7 or 1, not {n}")
    return [template("{c}") for template in known[n]]


def fill_template(template: str, name: str) -> str:
    """Put a class name where the template says `{c}` or `{}`."""
    return template.replace("{c}", name).replace("{}", name)


def build_classifier(
    model: ClipModel,
    classnames: Sequence[str],
    templates: Sequence[str],
    *,
    prompts_per_batch: int = 256,
) -> torch.Tensor:
    """The zero-shot classifier (d, C), float32, one unit column per class name.

    `templates` hold `{c}` (or `{}`) for the name; see `prompt_templates`. As in CLIP_benchmark
    and open_clip, each prompt's embedding is normalised, averaged and normalised again.
    """
    import torch

    columns = []
    classes_per_batch = max(1, prompts_per_batch // len(templates))
    for start in range(0, len(classnames), classes_per_batch):
        names = classnames[start : start + classes_per_batch]
        prompts = [fill_template(template, name) for name in names for template in templates]
        mean = model.embed_prompts(prompts).reshape(len(names), len(templates), -1).mean(dim=1)
        columns.append(mean / mean.norm(dim=-1, keepdim=True))
    return torch.cat(columns).T.contiguous()


def weights_digest(network: Any, leave_out: Collection[str] = ()) -> str:
    """BLAKE2 of all weights and buffers but those named, as hex: equal means bit-equal."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(network.state_dict().items()):
        if name in leave_out:
            continue
        digest.update(name.encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


class evaluating(AbstractContextManager[None]):
    """Switch a network to evaluation mode, and each of its modules back to what it was."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.modes = [(module, module.training) for module in network.modules()]

    def __enter__(self) -> None:
        self.network.eval()

    def __exit__(self, *_: object) -> None:
        for module, was_training in self.modes:
            module.training = was_training


def _autocast(device: str, precision: Precision) -> AbstractContextManager[Any]:
    import torch

    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def _join(parts: Iterable[torch.Tensor], dim: int) -> Embeddings:
    arrays = [part.cpu().numpy() for part in parts]
    return np.concatenate(arrays) if arrays else np.empty((0, dim), dtype=np.float32)

"""Zero-shot classification with any open_clip model: prompts, classifier, predictions, metrics.

The numbers follow CLIP_benchmark (and open_clip): per class, each prompt's embedding is
normalised, averaged and normalised again; images are ranked by cosine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attr_builder.errors import UsageError
from attr_builder.evaluation.outcomes import (
    NO_ATTACK,
    TOP_K,
    EvalSet,
    Metrics,
    Predictions,
    compute_metrics,
)
from attr_builder.evaluation.statistics import Ints
from attr_builder.labelled_images.classes import ClassList
from attr_builder.labelled_images.sources import SourceItem
from lesstext.errors import LesstextError
from lesstext.images import open_image

if TYPE_CHECKING:
    import torch
    from PIL import Image

Preprocess = Callable[["Image.Image"], "torch.Tensor"]
Tokenizer = Callable[[list[str]], "torch.Tensor"]

__all__ = [
    "EvalSet",
    "Metrics",
    "Predictions",
    "build_classifier",
    "classify",
    "compute_metrics",
    "evaluate_variants",
    "prompt_templates",
]


def prompt_templates(n: int) -> list[str]:
    """OpenAI's 80 ImageNet templates, their best 7, or the plain one; `{c}` stands for the name."""
    import open_clip

    if n == 1:
        return ["a photo of a {c}."]
    known = {80: open_clip.OPENAI_IMAGENET_TEMPLATES, 7: open_clip.SIMPLE_IMAGENET_TEMPLATES}
    if n not in known:
        raise UsageError(f"templates: choose 80, 7 or 1, not {n}")
    return [template("{c}") for template in known[n]]


def build_classifier(
    model: Any,
    tokenizer: Tokenizer,
    classnames: Sequence[str],
    templates: Sequence[str],
    device: str | torch.device = "cpu",
    *,
    prompts_per_batch: int = 256,
) -> torch.Tensor:
    """The zero-shot classifier (D, C), float32, one unit column per class name.

    `templates` hold `{c}` (or `{}`) for the name; see `prompt_templates`.
    """
    import torch

    columns = []
    classes_per_batch = max(1, prompts_per_batch // len(templates))
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(classnames), classes_per_batch):
            names = classnames[start : start + classes_per_batch]
            prompts = [fill_template(t, name) for name in names for t in templates]
            embedded = model.encode_text(tokenizer(prompts).to(device)).float()
            unit = torch.nn.functional.normalize(embedded, dim=-1)
            mean = unit.reshape(len(names), len(templates), -1).mean(dim=1)
            columns.append(mean / mean.norm(dim=-1, keepdim=True))
    return torch.cat(columns).T.contiguous()


def fill_template(template: str, name: str) -> str:
    """Put a class name where the template says `{c}` or `{}`."""
    return template.replace("{c}", name).replace("{}", name)


def classify(
    model: Any,
    preprocess: Preprocess,
    images: EvalSet,
    classifier: torch.Tensor,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 64,
    n_workers: int = 0,
    amp: bool = False,
    on_batch: Callable[[int], None] | None = None,
) -> Predictions:
    """Rank all classes for each image of `images`.

    Images that cannot be read are listed in `failures`, never skipped silently. `amp` runs the
    image tower in bfloat16; off, results equal CLIP_benchmark's with its amp off. `on_batch` is
    told how many images each batch held.
    """
    import torch

    attack = torch.tensor(list(images.attack_labels), dtype=torch.long)
    loader: Any = torch.utils.data.DataLoader(
        _Pixels(images.items, preprocess),  # type: ignore[arg-type]  # a map-style dataset
        batch_size=batch_size,
        num_workers=n_workers,
        collate_fn=list,
    )
    parts: list[_Answers] = []
    failures: list[tuple[int, str]] = []
    with evaluating(model), torch.inference_mode():
        for batch in loader:
            failures += [(row, reason) for row, _, _, reason in batch if reason]
            good = [(row, label, pixels) for row, label, pixels, reason in batch if not reason]
            if good:
                rows = torch.tensor([row for row, _, _ in good])
                labels = torch.tensor([label for _, label, _ in good])
                pixels = torch.stack([pixels for _, _, pixels in good]).to(device)
                with _autocast(device, amp):
                    features = model.encode_image(pixels)
                cosines = _cosines(features, classifier).cpu()
                parts.append(_answers(cosines, rows, labels, attack[rows]))
            if on_batch is not None:
                on_batch(len(batch))
    return _join(parts, failures, images.clusters)


def evaluate_variants(
    model: Any,
    tokenizer: Tokenizer,
    preprocess: Preprocess,
    sets: Mapping[str, EvalSet],
    classes: ClassList,
    *,
    n_templates: int = 80,
    clean: str = "clean",
    **options: Any,
) -> dict[str, Metrics]:
    """Metrics of each named set, paired with the set called `clean` where there is one.

    Cheap enough for a training loop; `options` go to `classify` (device, batch_size, …).
    """
    device = options.get("device", "cpu")
    templates = prompt_templates(n_templates)
    classifier = build_classifier(model, tokenizer, classes.names, templates, device)
    answers = {
        name: classify(model, preprocess, images, classifier, **options)
        for name, images in sets.items()
    }
    twin = answers.get(clean)
    return {
        name: compute_metrics(answer, classes, twin if name != clean else None)
        for name, answer in answers.items()
    }


class evaluating(AbstractContextManager[None]):
    """Switch a model to evaluation mode and back to what it was."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.was_training = bool(getattr(model, "training", False))

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.was_training)


def open_as_trainers_do(data: bytes) -> Image.Image:
    """Decode as torchvision and CLIP_benchmark do: PIL, RGB, EXIF orientation ignored.

    Zero-shot numbers must equal those of other tools, so this alone takes PIL's pixels of the
    stored frame. Raises ImageError.
    """
    with open_image(data) as image:
        return image.convert("RGB")


class _Pixels:
    """A torch dataset of (row, label, pixels or None, reason it failed or None)."""

    def __init__(self, items: Sequence[SourceItem], preprocess: Preprocess) -> None:
        self.items = items
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[int, int, torch.Tensor | None, str | None]:
        try:
            item = self.items[row]
            return row, item.label, self.preprocess(open_as_trainers_do(item.data)), None
        except LesstextError as error:
            return row, NO_ATTACK, None, str(error)


_Answers = tuple["Ints", "Ints", "Ints", "Ints", NDArray[np.float32], NDArray[np.float32]]


def _autocast(device: str | torch.device, amp: bool) -> AbstractContextManager[Any]:
    import torch

    if not amp:
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)


def _cosines(features: torch.Tensor, classifier: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.normalize(features.float(), dim=-1) @ classifier


def _answers(
    cosines: torch.Tensor, rows: torch.Tensor, labels: torch.Tensor, attack: torch.Tensor
) -> _Answers:
    k = min(TOP_K, cosines.shape[1])
    top = cosines.topk(k, dim=1, largest=True, sorted=True).indices
    true_cosine = cosines.gather(1, labels[:, None])[:, 0]
    attack_cosine = cosines.gather(1, attack.clamp(min=0)[:, None])[:, 0]
    attack_cosine[attack < 0] = math.nan
    return (
        rows.numpy(),
        labels.numpy(),
        attack.numpy(),
        top.numpy(),
        true_cosine.numpy(),
        attack_cosine.numpy(),
    )


def _join(
    parts: list[_Answers], failures: list[tuple[int, str]], clusters: Sequence[str]
) -> Predictions:
    if not parts:
        first = f"; the first: {failures[0][1]}" if failures else ""
        raise UsageError(f"no image could be evaluated ({len(failures)} failed{first})")
    rows, labels, attack, top, true_cosine, attack_cosine = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return Predictions(
        rows=rows,
        labels=labels,
        attack_labels=attack,
        clusters=[clusters[row] for row in rows],
        top=top,
        true_cosine=true_cosine,
        attack_cosine=attack_cosine,
        failures=failures,
    )

"""Zero-shot classification of a set of images, as CLIP_benchmark and open_clip do it.

Images are ranked by the cosine of their embedding with each class's prompts. Images of nothing but
a class's name, classified in the same way, say whether a model reads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from attr_builder.drawing.cards import Cards
from attr_builder.evaluation.embeddings import (
    Decode,
    LabelledEmbeddings,
    OnBatch,
    embed_labelled,
)
from attr_builder.evaluation.outcomes import TOP_K, EvalSet, Predictions, fooled
from attr_builder.evaluation.statistics import Rate, rate
from attr_builder.labelled_images.classes import ClassList
from lesstext.clip import ClipModel

if TYPE_CHECKING:
    import torch

    from attr_builder.evaluation.image_retrieval.store import StoredEmbeddings
    from attr_builder.evaluation.statistics import Ints


def classify(
    model: ClipModel,
    images: EvalSet,
    classifier: torch.Tensor,
    *,
    decode: Decode | None = None,
    batch_size: int = 64,
    n_workers: int = 0,
    on_batch: OnBatch | None = None,
) -> Predictions:
    """Rank all classes of a classifier (d, C) for each image of `images`.

    `decode` stands between an image's bytes and the model, as a defence does. With the model in
    fp32, results equal CLIP_benchmark's with its amp off. Images that cannot be read are listed in
    `failures`; raises UsageError where none can be read.
    """
    embedded = embed_labelled(
        model,
        images.items,
        decode=decode,
        batch_size=batch_size,
        n_workers=n_workers,
        on_batch=on_batch,
    )
    return predict(embedded, images, classifier, batch_size=batch_size)


def reading_score(
    model: ClipModel,
    classes: ClassList,
    classifier: torch.Tensor,
    *,
    decode: Decode | None = None,
    batch_size: int = 64,
    n_workers: int = 0,
    on_batch: OnBatch | None = None,
) -> Rate:
    """Share of plain renderings of the class names that are classified as what they say.

    A model that does not read scores at chance, one in `len(classes)`. Names that the shipped font
    cannot draw are left out.
    """
    cards = Cards(classes)
    names = [classes.names[label] for label in cards.labels]
    images = EvalSet(items=cards, attack_labels=cards.labels, clusters=names)
    answers = classify(
        model,
        images,
        classifier,
        decode=decode,
        batch_size=batch_size,
        n_workers=n_workers,
        on_batch=on_batch,
    )
    return rate(fooled(answers, classes), answers.clusters)


def predict(
    embedded: LabelledEmbeddings | StoredEmbeddings,
    images: EvalSet,
    classifier: torch.Tensor,
    *,
    batch_size: int = 64,
) -> Predictions:
    """Rank all classes for each embedded image of `images`."""
    attack = np.asarray(images.attack_labels, dtype=np.int64)[embedded.rows]
    top, true_cosine, attack_cosine = (
        np.concatenate(column)
        for column in zip(*_ranked(embedded, attack, classifier, batch_size), strict=True)
    )
    return Predictions(
        rows=embedded.rows,
        labels=embedded.labels,
        attack_labels=attack,
        clusters=[images.clusters[row] for row in embedded.rows],
        top=top,
        true_cosine=true_cosine,
        attack_cosine=attack_cosine,
        failures=embedded.failures,
    )


def _ranked(
    embedded: LabelledEmbeddings | StoredEmbeddings,
    attack_labels: Ints,
    classifier: torch.Tensor,
    batch_size: int,
) -> Iterator[tuple[Any, Any, Any]]:
    """Best classes, and the cosines with the true and the attack class, batch by batch."""
    import torch

    k = min(TOP_K, classifier.shape[1])
    for start in range(0, len(embedded.rows), batch_size):
        part = slice(start, start + batch_size)
        vectors = torch.from_numpy(np.array(embedded.vectors[part])).to(classifier.device)
        cosines = (vectors @ classifier).cpu()
        labels, attack = map(torch.from_numpy, (embedded.labels[part], attack_labels[part]))
        top = cosines.topk(k, dim=1, largest=True, sorted=True).indices
        true_cosine = cosines.gather(1, labels[:, None])[:, 0]
        attack_cosine = cosines.gather(1, attack.clamp(min=0)[:, None])[:, 0]
        attack_cosine[attack < 0] = math.nan
        yield top.numpy(), true_cosine.numpy(), attack_cosine.numpy()

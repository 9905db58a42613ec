"""How well images' classes are named from their embeddings: by neighbours, a probe, and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from attr_builder.evaluation.embeddings import Ints
from attr_builder.evaluation.image_retrieval.neighbours import K, vote, vote_leaving_out
from attr_builder.evaluation.image_retrieval.probe import fit_probe, halves
from attr_builder.evaluation.image_retrieval.ranking import Vectors
from attr_builder.evaluation.image_retrieval.store import StoredEmbeddings
from attr_builder.evaluation.outcomes import EvalSet, compute_metrics
from attr_builder.evaluation.statistics import Rate
from attr_builder.evaluation.zeroshot import predict
from attr_builder.labelled_images.classes import ClassList
from attr_builder.labelled_images.sources import Source
from lesstext.clip import ClipModel, build_classifier, prompt_templates


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAccuracy:
    """Accuracy in [0, 1] on `n_test` images of what `n_train` others teach.

    The probe is None where it is not wanted or there are no scikit-learn, two classes or test
    images; `knn` is NaN without these.
    """

    k: int
    n_train: int
    n_test: int
    knn: float
    linear_probe: float | None
    probe_strength: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAccuracy:
    """Accuracy in [0, 1] of naming an image's class from embeddings, by `k` neighbours and a probe.

    `knn` leaves out the image itself. `knn_split` and `linear_probe` train on every other image of
    each class and test on the rest, `n_test` images, as `SplitAccuracy` tells of them.
    """

    k: int
    knn: float
    n_test: int
    knn_split: float
    linear_probe: float | None
    probe_strength: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShot:
    """Zero-shot accuracy in [0, 1] among `n_classes`, each named in `n_templates` prompts.

    `top5` is NaN with fewer than five classes.
    """

    n_classes: int
    n_templates: int
    top1: Rate
    top5: Rate
    mean_per_class_recall: float


def measure_zeroshot(
    model: ClipModel,
    embedded: StoredEmbeddings,
    images: Source,
    names: Sequence[str],
    n_templates: int,
) -> ZeroShot:
    """Classify images that are embedded already among classes of these names, in label order."""
    classifier = build_classifier(model, names, prompt_templates(n_templates))
    answers = predict(embedded, EvalSet.plain(images, images.keys), classifier)
    found = compute_metrics(answers, ClassList(images.classes.wnids, tuple(names)))
    return ZeroShot(
        n_classes=len(names),
        n_templates=n_templates,
        top1=found.top1,
        top5=found.top5,
        mean_per_class_recall=found.mean_per_class_recall,
    )


def measure_accuracy(vectors: Vectors, labels: Ints, *, probe: bool = True) -> ClassAccuracy:
    """kNN and, where wanted, a probe on unit vectors (n, d) with `labels` (n,), at least two."""
    train = halves(labels)
    split = measure_split(
        vectors[train], labels[train], vectors[~train], labels[~train], probe=probe
    )
    return ClassAccuracy(
        k=K,
        knn=float((vote_leaving_out(vectors, labels) == labels).mean()),
        n_test=split.n_test,
        knn_split=split.knn,
        linear_probe=split.linear_probe,
        probe_strength=split.probe_strength,
    )


def measure_split(
    train: Vectors, known: Ints, test: Vectors, truth: Ints, *, probe: bool = True
) -> SplitAccuracy:
    """kNN and linear probe trained on unit vectors (n, d) with labels `known` (n,), and tested.

    The probe alone takes memory in proportion to the vectors.
    """
    can_probe = find_spec("sklearn") and len(truth) and len(np.unique(known)) > 1
    fitted = fit_probe(train, known, test) if probe and can_probe else None
    right = vote(test, train, known) == truth
    return SplitAccuracy(
        k=K,
        n_train=len(known),
        n_test=len(truth),
        knn=float(right.mean()) if len(right) else float("nan"),
        linear_probe=None if fitted is None else float((fitted.predicted == truth).mean()),
        probe_strength=None if fitted is None else fitted.strength,
    )

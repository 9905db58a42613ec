"""All measures of one retrieval set by one model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from attr_builder.evaluation.image_retrieval.folders import (
    RetrievalSet,
    labels_in,
    open_retrieval_set,
)
from attr_builder.evaluation.image_retrieval.naming import (
    ClassAccuracy,
    SplitAccuracy,
    ZeroShot,
    measure_accuracy,
    measure_split,
    measure_zeroshot,
)
from attr_builder.evaluation.image_retrieval.ranking import (
    Doubles,
    average_precisions,
    random_precision,
)
from attr_builder.evaluation.image_retrieval.store import StoredEmbeddings, embed_stored
from attr_builder.labelled_images.sources import Source
from attr_builder.labelled_images.subset import some_of
from lesstext.clip import Precision, load_model
from lesstext.storage.guard import claim_folder, refuse_overlap
from lesstext.storage.scratch import scratch_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig:
    """What `--image-retrieval` measures; stored beside its results. `spec` names the images.

    `train` names images of the same classes that kNN and the probe learn from; `limit` does not cut
    them. `embeddings` is a folder that keeps embeddings for other runs.
    """

    model: str
    pretrained: str | None
    spec: str
    train: str | None = None
    classes: str | None = None
    labels: Path | None = None
    limit: int | None = None
    n_templates: int = 80
    probe: bool = True
    embeddings: Path | None = None
    batch_size: int = 64
    n_workers: int = 2
    device: str = "cpu"
    amp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanPrecision:
    """mAP in [0, 1] of `n` queries, and of random features on the same classes.

    Without the query, images alone in their class are left out; NaN where all are.
    """

    n: int
    with_query: float
    with_query_random: float
    without_query: float
    without_query_random: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRetrieval:
    """mAP of all images, of each domain and of each class; `failures` as (key, reason).

    `accuracy` is None where a single image could be read, `train_test` without a train set, whose
    failures begin with the name of its folder, and `zeroshot` where it is not known what classes
    are called. `n_embedded` images were embedded, the others were
    kept from other runs.
    """

    config: RetrievalConfig
    kind: str
    model_identity: str
    accuracy: ClassAccuracy | None
    train_test: SplitAccuracy | None
    zeroshot: ZeroShot | None
    overall: MeanPrecision
    domains: dict[str, MeanPrecision]
    classes: dict[str, MeanPrecision]
    failures: list[tuple[str, str]]
    n_embedded: int


def open_images(config: RetrievalConfig) -> RetrievalSet:
    """The set that `config` names, cut to its limit, and its train set; raises SourceError."""
    found = open_retrieval_set(config.spec, config.classes, config.labels)
    cut = replace(found, images=some_of(found.images, config.limit))
    if config.train is None:
        return cut
    return replace(cut, train=open_retrieval_set(config.train, config.classes).images)


def measure_images(
    config: RetrievalConfig,
    found: RetrievalSet,
    on_batch: Callable[[int], None] | None = None,
) -> ImageRetrieval:
    """Embed the images and rank all of them for each of them, by cosine: vectors are normalised.

    `on_batch` is told of images embedded. Raises UsageError where none can be read, or the folder
    of embeddings is not ours, and SourceError where the train set lacks a class.
    """
    train_labels = None if found.train is None else labels_in(found.train, found.images)
    precision: Precision = "amp_bf16" if config.amp else "fp32"
    with _kept_in(config.embeddings, found) as folder:
        model = load_model(config.model, config.pretrained, config.device, precision=precision)
        run = {"batch_size": config.batch_size, "n_workers": config.n_workers}
        embedded = embed_stored(model, found.images, folder, on_batch=on_batch, **run)
        result = _summary(config, found, model.identity(), embedded)
        if found.names is not None:
            told = measure_zeroshot(model, embedded, found.images, found.names, config.n_templates)
            result = replace(result, zeroshot=told)
        if found.train is None or train_labels is None:
            return result
        learnt = embed_stored(model, found.train, folder, on_batch=on_batch, **run)
        return replace(
            result,
            train_test=measure_split(
                learnt.vectors,
                train_labels[learnt.rows],
                embedded.vectors,
                embedded.labels,
                probe=config.probe,
            ),
            failures=result.failures + _named(found.train, learnt, f"{found.train.location.name}/"),
            n_embedded=result.n_embedded + learnt.n_embedded,
        )


def _named(images: Source, embedded: StoredEmbeddings, before: str = "") -> list[tuple[str, str]]:
    return [(before + images.keys[row], reason) for row, reason in embedded.failures]


@contextmanager
def _kept_in(folder: Path | None, found: RetrievalSet) -> Iterator[Path]:
    """Where embeddings are kept: the folder asked for, or one that goes with the run."""
    if folder is None:
        with scratch_folder() as scratch:
            yield scratch
        return
    read = [found.images.location] + ([found.train.location] if found.train else [])
    refuse_overlap(folder, read)
    claim_folder(folder, "embeddings")
    yield folder


def _summary(
    config: RetrievalConfig,
    found: RetrievalSet,
    identity: str,
    embedded: StoredEmbeddings,
) -> ImageRetrieval:
    labels = embedded.labels
    precisions = Precisions(labels, *average_precisions(embedded.vectors, labels))
    names = found.images.classes.names
    domain_of = np.array(found.domains)[labels] if found.domains else np.array([])
    wnids = found.images.classes.wnids
    shown = {label: names[label] for label in np.unique(labels).tolist()}
    if len(set(shown.values())) < len(shown):  # ImageNet has two classes called "missile"
        shown = {label: f"{wnids[label]} {name}" for label, name in shown.items()}
    return ImageRetrieval(
        config=config,
        kind=found.images.kind,
        model_identity=identity,
        accuracy=(
            measure_accuracy(embedded.vectors, labels, probe=config.probe)
            if len(labels) > 1
            else None
        ),
        train_test=None,
        zeroshot=None,
        overall=precisions.mean(),
        domains={
            name: precisions.mean(domain_of == name)
            for name in dict.fromkeys(found.domains)
            if (domain_of == name).any()
        },
        classes={name: precisions.mean(labels == label) for label, name in shown.items()},
        failures=_named(found.images, embedded),
        n_embedded=embedded.n_embedded,
    )


class Precisions:
    """AP of every image, labelled `labels` (n,), beside what random features would get."""

    def __init__(self, labels: np.ndarray, with_query: Doubles, without: Doubles) -> None:
        sizes = np.bincount(labels)
        n = len(labels)
        floors = {
            int(size): [random_precision(int(size), n, with_query=w) for w in (True, False)]
            for size in np.unique(sizes[sizes > 0])
        }
        random = np.array([floors[int(size)] for size in sizes[labels]])
        self._columns = (with_query, random[:, 0], without, random[:, 1])

    def mean(self, mask: np.ndarray | None = None) -> MeanPrecision:
        """Over the images where `mask` (n,) holds, or over all."""
        columns = [column if mask is None else column[mask] for column in self._columns]
        a, b, c, d = map(_mean, columns)
        return MeanPrecision(
            n=len(columns[0]),
            with_query=a,
            with_query_random=b,
            without_query=c,
            without_query_random=d,
        )


def _mean(values: np.ndarray) -> float:
    """The mean of what is no NaN; NaN where nothing is left."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else float("nan")

"""Do a model's nearest neighbours agree? `python my_evaluation.py imagenet/val local-dir:run`."""

from __future__ import annotations

import sys

import numpy as np

from attr_builder.evaluation.embeddings import LabelledEmbeddings, embed_labelled
from attr_builder.labelled_images.sources import open_source
from lesstext.clip import load_model


def neighbour_accuracy(found: LabelledEmbeddings, k: int = 5) -> float:
    """Share of images whose label most of their `k` nearest others have; ties: the lower label."""
    k = min(k, len(found.labels) - 1)
    predicted: list[int] = []
    for start in range(0, len(found.labels), 1000):
        cosines = found.vectors[start : start + 1000] @ found.vectors.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf  # no image is its own neighbour
        nearest = np.argpartition(-cosines, k, axis=1)[:, :k]
        predicted += [int(np.bincount(labels).argmax()) for labels in found.labels[nearest]]
    return float(np.mean(predicted == found.labels))


def main(images: str, model: str, pretrained: str | None = None) -> None:
    found = embed_labelled(load_model(model, pretrained), open_source(images))
    n, accuracy = len(found.labels), neighbour_accuracy(found)
    print(f"5 nearest neighbours: {accuracy:.1%} of {n} images right")
    for row, reason in found.failures:
        print(f"image {row} is left out: {reason}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])

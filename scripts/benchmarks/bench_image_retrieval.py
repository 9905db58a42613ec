"""Measure the memory and time of mAP and kNN over embeddings on disk.

    python scripts/benchmarks/bench_image_retrieval.py 100000 --out image_retrieval.json
    python scripts/benchmarks/bench_image_retrieval.py 1000000 --queries 2000 --out million.json

The embeddings are synthetic: unit vectors around the centres of classes of ten, written into packs
as an evaluation writes them. Every image is ranked for each query; with `--queries`, so many of
them are ranked. Memory is the most that the process ever held resident, the writing included.
"""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from attr_builder.evaluation.image_retrieval.neighbours import vote_leaving_out
from attr_builder.evaluation.image_retrieval.ranking import average_precisions, random_precision
from attr_builder.evaluation.image_retrieval.store import PACK_ROWS, Shelf, StoredVectors
from lesstext.storage.files import write_text
from lesstext.storage.scratch import scratch_folder

_PER_CLASS = 10
_SPREAD = 3.0  # of an image around its class's centre, in units of the distance between centres


def synthetic(folder: Path, n: int, width: int) -> StoredVectors:
    """n unit vectors, those of a class one after another, in packs below `folder`."""
    shelf = Shelf(folder, "synthetic")
    random = np.random.default_rng(0)
    for start in range(0, n, PACK_ROWS):
        rows = np.arange(start, min(start + PACK_ROWS, n))
        classes = rows // _PER_CLASS
        centres = np.stack([_centre(label, width) for label in np.unique(classes).tolist()])
        vectors = random.standard_normal((len(rows), width), dtype=np.float32)
        vectors = _SPREAD * vectors + centres[classes - classes[0]]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        shelf.add([int(row).to_bytes(16, "big") for row in rows], vectors)
    return shelf.vectors(range(n))


def _centre(label: int, width: int) -> np.ndarray:
    return np.random.default_rng([1, label]).standard_normal(width, dtype=np.float32)


def measure(vectors: StoredVectors, queries: int) -> dict[str, Any]:
    """mAP of the first `queries` vectors among all, their kNN accuracy, and what each cost."""
    labels = np.arange(len(vectors)) // _PER_CLASS
    before = time.perf_counter(), time.process_time()
    with_query, without = average_precisions(vectors, labels, n_queries=queries)
    ranked = time.perf_counter(), time.process_time()
    votes = vote_leaving_out(vectors, labels, n_queries=queries)
    voted = time.perf_counter(), time.process_time()
    return {
        "map_with_query": float(with_query.mean()),
        "map_without_query": float(without.mean()),
        "random_without_query": random_precision(_PER_CLASS, len(vectors), with_query=False),
        "knn": float((votes == labels[:queries]).mean()),
        "map_wall_s": ranked[0] - before[0],
        "map_cpu_s": ranked[1] - before[1],
        "knn_wall_s": voted[0] - ranked[0],
        "knn_cpu_s": voted[1] - ranked[1],
    }


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(
    images: Annotated[int, typer.Argument(help="Embeddings.")],
    out: Annotated[Path, typer.Option(help="The JSON to write.")],
    queries: Annotated[int | None, typer.Option(help="Of them ranked. [all]")] = None,
    width: Annotated[int, typer.Option(help="Numbers per embedding.")] = 512,
) -> None:
    """Write and print the figures."""
    import torch  # as in every evaluation; a model's weights come on top

    n_queries = images if queries is None else min(queries, images)
    with scratch_folder() as folder:
        imported = _peak_bytes()
        vectors = synthetic(folder, images, width)
        written = _peak_bytes()
        found = measure(vectors, n_queries)
    told = {
        "images": images,
        "queries": n_queries,
        "width": width,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "numpy": np.__version__,
        "torch": torch.__version__,
        **found,
        "peak_imported_bytes": imported,
        "peak_written_bytes": written,
        "peak_bytes": _peak_bytes(),
    }
    write_text(out, json.dumps(told, indent=2) + "\n", unguarded=True)
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    typer.run(main)

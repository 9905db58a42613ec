"""A Tiny-ImageNet in miniature: three classes of noise, in the layout of the real one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

NAMES = ("goose", "lion", "pizza")


def png(seed: int) -> bytes:
    """A smooth picture of 64 x 64 pixels."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(40, 216, (4, 4, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize((64, 64), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def write_split(folder: Path, split: str, per_class: int, first: int) -> None:
    rows = [
        {
            "image": {"bytes": png(first + i * 10 + n), "path": f"{split}_{name}_{n}.png"},
            "label": i,
        }
        for i, name in enumerate(NAMES)
        for n in range(per_class)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")


@pytest.fixture(scope="session")
def tiny_imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and three validation photos of each of three classes."""
    folder = tmp_path_factory.mktemp("tiny_imagenet")
    write_split(folder, "train", 8, 0)
    write_split(folder, "train_more", 1, 2000)  # further data beside it, which is not the split
    write_split(folder, "val", 3, 1000)
    lines = [f"{i},n{i:08d},{name}" for i, name in enumerate(NAMES)]
    (folder / "classes.csv").write_text("\n".join(["label,wnid,name", *lines]) + "\n")
    return folder

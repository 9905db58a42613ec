"""open_clip's own loader reads exported shards: as many samples as `sizes.json` says, the same."""

from __future__ import annotations

import io
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lesstext.export.plan import ExportConfig
from lesstext.export.whole_run import export
from lesstext.policies import text_area
from lesstext.tables.selecting import select
from tests.lesstext.builders import ratio_samples, read_tar, write_tar
from tests.lesstext.conftest import Score

Sample = tuple[bytes, str]


@pytest.fixture
def kept(score: Score, tmp_path: Path) -> Path:
    """Two exported shards of 4 of 10 samples each, their captions all different."""
    for number in range(2):
        members = [
            (name, f"caption of {name}".encode() if name.endswith(".txt") else data)
            for name, data in ratio_samples([i / 50 for i in range(10)], f"s{number}_")
        ]
        write_tar(tmp_path / "in" / f"{number:05d}.tar", members)
    score(tmp_path / "in")
    select([tmp_path / "scores"], tmp_path / "keep.parquet", text_area.at_most(0.06))
    config = ExportConfig(
        shards=(str(tmp_path / "in"),), selection=tmp_path / "keep.parquet", out=tmp_path / "kept"
    )
    assert export(config).n_samples == 8
    return tmp_path / "kept"


def as_read(image: Image.Image) -> bytes:
    return image.convert("RGB").tobytes()


def expected(kept: Path) -> Counter[Sample]:
    """Pixels and caption of every sample, read by our own hand."""
    found: dict[str, dict[str, bytes]] = {}
    for tar in sorted(kept.glob("*.tar")):
        for name, data in read_tar(tar):
            key, _, suffix = name.rpartition(".")
            found.setdefault(key, {})[suffix] = data
    return Counter(
        (as_read(Image.open(io.BytesIO(one["png"]))), one["txt"].decode()) for one in found.values()
    )


def loaded(kept: Path, *, is_train: bool) -> tuple[int, Counter[Sample]]:
    """How many samples the loader counts on, and those of one pass."""
    from open_clip_train.data import get_wds_dataset

    args = Namespace(
        train_data=f"{kept}/{{00000..00001}}.tar",
        val_data=f"{kept}/{{00000..00001}}.tar",
        train_num_samples=None,
        val_num_samples=None,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        workers=1,
        world_size=1,
        batch_size=2,
    )
    data: Any = get_wds_dataset(args, as_read, is_train, tokenizer=lambda text: [text])
    pairs = [pair for images, texts in data.dataloader for pair in zip(images, texts, strict=True)]
    return data.dataloader.num_samples, Counter(pairs)


@pytest.mark.parametrize("is_train", [True, False])
def test_it_reads_every_sample_once(kept: Path, is_train: bool) -> None:
    n_counted, found = loaded(kept, is_train=is_train)
    wanted = expected(kept)
    assert len(wanted) == 8
    assert found == wanted
    assert n_counted == (8 if is_train else 0)

"""Shards drawn on the fly, and a model small enough to train in a blink."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from train_clip.config import TrainConfig
from train_clip.settings import SourceConfig

NANO = Path(__file__).parent / "nano.json"
WORDS = ("red", "green", "blue", "dog", "cat", "tree", "runs", "sits", "old", "new")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests' shard indexes away from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def nano_model() -> None:
    """Register `nano`, a ViT of 16 channels, with open_clip."""
    import open_clip
    import torch

    torch.set_num_threads(1)
    open_clip.add_model_config(NANO)


def jpeg(seed: int, width: int = 24, height: int = 20) -> bytes:
    """A small picture that differs for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    done, data = cv2.imencode(".jpg", pixels)
    assert done
    return data.tobytes()


def caption(seed: int) -> str:
    return f"a {WORDS[seed % 10]} {WORDS[seed // 10 % 10]} {seed}"


def sample(key: str, seed: int, image: bytes | None = None) -> list[tuple[str, bytes]]:
    """The members of one sample: picture, caption, and three captions in the JSON."""
    told = {"captions": [f"{caption(seed)} {n}" for n in range(3)], "key": key}
    return [
        (f"{key}.jpg", jpeg(seed) if image is None else image),
        (f"{key}.txt", caption(seed).encode()),
        (f"{key}.json", json.dumps(told).encode()),
    ]


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_shards(
    folder: Path, sizes: Sequence[int], bad: Callable[[int], bool] = lambda _: False
) -> Path:
    """Shards 00000.tar, 00001.tar, … of the given sizes; sample numbers `bad` hold garbage."""
    number = 0
    for shard, size in enumerate(sizes):
        members: list[tuple[str, bytes]] = []
        for _ in range(size):
            garbage = b"\xff\xd8 no image" if bad(number) else None
            members += sample(f"{number:05d}", number, garbage)
            number += 1
        write_tar(folder / f"{shard:05d}.tar", members)
    return folder


def write_class_folders(folder: Path, n_classes: int = 4, n: int = 4) -> Path:
    """`folder/CLASS/SEED.jpg`, `n` pictures for each class."""
    for seed in range(n_classes * n):
        place = folder / str(seed % n_classes)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{seed}.jpg").write_bytes(jpeg(seed))
    return folder


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Four shards of 12, 7, 9 and 12 samples."""
    return write_shards(tmp_path / "shards", (12, 7, 9, 12))


def make_config(data: Path | str, **changes: Any) -> TrainConfig:
    """A run of the nano model that takes well under a second; `steps` default 4."""
    changes.setdefault("sources", (SourceConfig(data=str(data)),))
    if not {"samples", "passes"} & set(changes):
        changes.setdefault("steps", 4)
    defaults: dict[str, Any] = {
        "model": "nano",
        "batch_size": 8,
        "workers": 0,
        "warmup": "0",
        "save_minutes": 0.0,
        "tracker": "none",
        "device": "cpu",
        "window_shards": 2,
    }
    return TrainConfig(**{**defaults, **changes})

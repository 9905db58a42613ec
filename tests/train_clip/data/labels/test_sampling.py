"""Drawing by entity at exact steps, and the ledger of entities, by hand and by brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train_clip.conftest import make_config, write_shards
from tests.train_clip.data.labels.test_labels import labelled
from tests.train_clip.labelled import write_labels
from train_clip.data.flat.classes import ClassStore
from train_clip.data.labels.sampling import draw_weights
from train_clip.data.ledger import count_draws
from train_clip.data.sources import prepare_data
from train_clip.data.stream import SourceOrder
from train_clip.errors import ConfigError
from train_clip.settings import SourceConfig
from train_clip.training.loop import train


def test_weights_by_hand() -> None:
    """Class 0 has 4 samples, class 1 one, class 2 none; sample 4 shows both 0 and 1."""
    store = ClassStore.of([[0], [0], [0], [], [0, 1]])
    assert draw_weights(store, 3, "natural") is None
    uniform, root = (draw_weights(store, 3, how) for how in ("uniform", "sqrt"))
    assert uniform is not None and root is not None
    assert uniform == pytest.approx(np.array([1, 1, 1, 0, 5]) / 4 * 5 / 2)
    assert root == pytest.approx(np.array([2, 2, 2, 0, 6]) / 4 * 5 / 3)


Counts = st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(any)


@given(Counts, st.integers(0, 3), st.integers(1, 3))
def test_a_pass_has_as_many_draws_and_each_sample_its_share(
    counts: list[int], seed: int, window: int
) -> None:
    n = sum(counts)
    weights = np.random.default_rng(seed).random(n) ** 3 + 1e-3
    weights *= n / weights.sum()
    order = SourceOrder(
        np.array(counts), seed=seed, source=0, window_shards=window, weights=weights
    )
    for number in range(3):
        drawn = order.indices(np.arange(number * n, (number + 1) * n))
        found = np.bincount(drawn, minlength=n)
        assert found.tolist() == order.repeats(number).tolist()
        assert (np.floor(weights - 1e-9) <= found).all() and (
            found <= np.ceil(weights + 1e-9)
        ).all()
    some = 2 * n + n // 2
    expected = np.bincount(order.indices(np.arange(some)), minlength=n)
    assert count_draws(order, some, []).tolist() == expected.tolist()
    assert order.indices(np.arange(n, some)).tolist() == order.indices(np.arange(some))[n:].tolist()


def test_weights_are_met_over_many_passes() -> None:
    weights = np.array([0.25, 3.5, 0.75, 0.5, 0.0])
    order = SourceOrder(np.array([2, 3]), seed=1, source=0, window_shards=1, weights=weights)
    mean = order.repeats_of_passes(2000) / 2000
    assert mean == pytest.approx(weights, abs=0.05)


def test_weights_of_one_each_are_the_natural_order_of_shards() -> None:
    counts = np.array([4, 5, 3])
    ones = SourceOrder(counts, seed=1, source=0, window_shards=2, weights=np.ones(12))
    plain = SourceOrder(counts, seed=1, source=0, window_shards=2)
    assert ones.indices(np.arange(24)).tolist() == plain.indices(np.arange(24)).tolist()


LONG_TAIL = {f"{n:05d}": ["Q1"] if n < 8 else ["Q2"] if n < 11 else ["Q3"] for n in range(12)}


def drawn(folder: Path, **changes: Any) -> dict[str, int]:
    """How often the images of each entity were drawn in 6 steps of 12."""
    shards = write_shards(folder / "in", (7, 5))
    labels = write_labels(folder / "labels" / "labels.parquet", shards, LONG_TAIL)
    source = SourceConfig(data=str(shards), labels=str(labels))
    config = make_config("", sources=(source,), steps=6, batch_size=12, **changes)
    result = train(config, folder / "run")
    assert result["ledger"][0]["n_drawn"] == 72
    rows = pq.read_table(folder / "run" / "entities.parquet").to_pylist()
    assert [row["class_index"] for row in rows] == [0, 1, 2]
    assert result["entities"]["n_seen"] == 3
    assert result["entities"]["most_drawn"] == max(row["n_drawn"] for row in rows)
    return {row["entity_id"]: row["n_drawn"] for row in rows}


def test_entities_are_drawn_by_images_by_their_root_or_all_alike(tmp_path: Path) -> None:
    assert drawn(tmp_path / "natural") == {"Q1": 48, "Q2": 18, "Q3": 6}
    uniform = drawn(tmp_path / "uniform", class_sampling="uniform")
    assert sum(uniform.values()) == 72
    assert max(uniform.values()) - min(uniform.values()) <= 6
    root = drawn(tmp_path / "sqrt", class_sampling="sqrt")
    expected = {"Q1": 8**0.5, "Q2": 3**0.5, "Q3": 1.0}
    for entity, share in expected.items():
        assert root[entity] == pytest.approx(72 * share / sum(expected.values()), abs=4)


def test_the_ledger_of_entities_by_hand(tmp_path: Path) -> None:
    """Five labelled images of seven; a step draws all seven once, another four of them again."""
    config = labelled(tmp_path, steps=1, batch_size=11)
    result = train(config, tmp_path / "run")
    rows = pq.read_table(tmp_path / "run" / "entities.parquet").to_pylist()
    assert [(row["entity_id"], row["name"], row["n_images"]) for row in rows] == [
        ("Q1", "thing 1", 3),
        ("Q2", "thing 2", 2),
        ("Q0", "thing 0", 1),
    ]
    assert all(row["n_images"] <= row["n_drawn"] <= 2 * row["n_images"] for row in rows)
    assert all(row["n_unique"] == row["n_images"] for row in rows)
    repeats = [row["n_drawn"] / row["n_images"] for row in rows]
    entities = result["entities"]
    assert entities["mean_repeats"] == pytest.approx(np.mean(repeats))
    assert entities["max_repeats"] == pytest.approx(max(repeats))
    assert (entities["n_entities"], entities["n_with_images"]) == (3, 3)


def test_samples_without_a_label_cannot_be_drawn_by_entity(tmp_path: Path) -> None:
    config = labelled(tmp_path, class_sampling="uniform")
    data = prepare_data(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="--class-sampling uniform takes labelled ones"):
        data.stream(config)

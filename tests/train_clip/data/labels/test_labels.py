"""Labels joined to the samples of a run: classes, plans, columns, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lesstext.errors import TableError
from tests.train_clip.conftest import make_config, write_shards
from tests.train_clip.labelled import write_labels
from train_clip.config import TrainConfig
from train_clip.data.reader import Produced
from train_clip.data.sources import open_data, prepare_data
from train_clip.errors import ConfigError, DataError
from train_clip.settings import SourceConfig
from train_clip.training.label_columns import LabelColumns

SHOWN = {"00000": ["Q1"], "00001": ["Q2", "Q1"], "00003": ["Q0"], "00005": ["Q2"], "00006": ["Q1"]}


def labelled(folder: Path, shown: dict[str, list[str]] = SHOWN, **changes: Any) -> TrainConfig:
    """A run on shards of 4 and 3 samples, of which five have labels; Q1 has most, then Q2."""
    shards = write_shards(folder / "in", (4, 3))
    labels = write_labels(folder / "labels" / "labels.parquet", shards, shown)
    return make_config("", sources=(source(shards, labels),), **changes)


def source(shards: Path, labels: Path, **changes: Any) -> SourceConfig:
    return SourceConfig(data=str(shards), labels=str(labels), **changes)


def test_labels_are_joined_by_shard_and_key(tmp_path: Path) -> None:
    config = labelled(tmp_path)
    prepare_data(config, tmp_path / "run")
    data = open_data(config, tmp_path / "run")
    assert data.vocabulary is not None
    assert data.vocabulary.numbers == {"Q1": 0, "Q2": 1, "Q0": 2}
    assert [data.vocabulary.text(n) for n in range(3)] == [
        "thing 1, number 1",
        "thing 2, number 2",
        "thing 0",
    ]
    (plan,) = data.plans
    assert plan.labels is not None
    found = {plan.key(i): plan.labels.get(i).tolist() for i in range(plan.size)}
    assert found == {
        "00000": [0], "00001": [0, 1], "00002": [], "00003": [2], "00004": [], "00005": [1],
        "00006": [0],
    }  # fmt: skip
    assert plan.labels.n_unlabelled == 2
    assert plan.labels.most == 2
    assert plan.labels.count(3).tolist() == [3, 2, 1]


def test_a_labels_file_selects_what_it_labels(tmp_path: Path) -> None:
    config = labelled(tmp_path)
    shards, labels = tmp_path / "in", tmp_path / "labels" / "labels.parquet"
    chosen = make_config("", sources=(source(shards, labels, selection=str(labels)),))
    (plan,) = prepare_data(chosen, tmp_path / "run").plans
    assert plan.labels is not None
    assert [plan.key(i) for i in range(plan.size)] == sorted(SHOWN)
    assert [plan.labels.get(i).tolist() for i in range(5)] == [[0], [0, 1], [2], [1], [0]]
    prepare_data(chosen, tmp_path / "run").require_labels("entity", chosen)
    with pytest.raises(ConfigError, match=r"2 of 7 samples .* --selection .*labels.parquet"):
        prepare_data(config, tmp_path / "all").require_labels("entity", config)


def test_other_labels_are_other_data(tmp_path: Path) -> None:
    """Also the same classes by number under other names, which are other texts."""
    digests = set[str]()
    for name, shown in (
        ("a", SHOWN),
        ("b", {**SHOWN, "00006": ["Q2"]}),
        ("c", {key: [one.replace("2", "3") for one in found] for key, found in SHOWN.items()}),
    ):
        config = labelled(tmp_path / name, shown)
        digests |= set(prepare_data(config, tmp_path / name / "run").digests)
    assert len(digests) == 3
    plain = make_config(tmp_path / "a" / "in")
    run = prepare_data(plain, tmp_path / "a" / "run")  # what lies there of labels is not read
    assert run.plans[0].labels is None and run.vocabulary is None
    assert digests.isdisjoint(run.digests)


def test_sources_share_their_classes(tmp_path: Path) -> None:
    one, two = (write_shards(tmp_path / name, (4,)) for name in "ab")
    a = write_labels(tmp_path / "la" / "labels.parquet", one, {"00000": ["Q1"], "00001": ["Q2"]})
    b = write_labels(tmp_path / "lb" / "labels.parquet", two, {"00000": ["Q5"], "00002": ["Q2"]})
    config = make_config("", sources=(source(one, a), source(two, b), SourceConfig(data=str(one))))
    data = prepare_data(config, tmp_path / "run")
    assert data.vocabulary is not None
    assert data.vocabulary.numbers == {"Q1": 0, "Q2": 1, "Q5": 2}
    stores = [plan.labels for plan in data.plans]
    assert stores[0] is not None and stores[1] is not None and stores[2] is None
    assert [stores[1].get(i).tolist() for i in range(4)] == [[2], [], [1], []]
    other = write_labels(tmp_path / "lc" / "labels.parquet", two, {"00000": ["Q5"]}, kb="other")
    config = make_config("", sources=(source(one, a), source(two, other)))
    with pytest.raises(ConfigError, match=r"different knowledge bases: .*labels.parquet"):
        prepare_data(config, tmp_path / "run")


def produced(*indices: int, start: int = 0) -> list[Produced]:
    return [
        Produced(start + place, 0, index, f"caption {index}", False, ())
        for place, index in enumerate(indices)
    ]


def say(texts: Sequence[str]) -> torch.Tensor:
    """Tokens that can be read: the bytes of a text."""
    return torch.tensor([[*text.encode().ljust(20)] for text in texts])


def read(tokens: torch.Tensor) -> list[str]:
    return [bytes(row.tolist()).decode().strip() for row in tokens]


def test_columns_of_labels(tmp_path: Path) -> None:
    data = prepare_data(labelled(tmp_path), tmp_path / "run")
    columns = LabelColumns(data, say, seed=3)
    rows = produced(0, 1, 2, 3)
    assert columns.labels(rows).tolist() == [[0, -1], [0, 1], [-1, -1], [2, -1]]
    entity = columns.entity(rows).tolist()
    assert entity == [0, entity[1], -1, 2]
    named = ["thing 1, number 1", "thing 2, number 2"]
    assert read(columns.entity_tokens(rows)) == [named[0], named[entity[1]], "caption 2", "thing 0"]


def test_draws_depend_on_seed_and_position_alone(tmp_path: Path) -> None:
    data = prepare_data(labelled(tmp_path), tmp_path / "run")
    columns = LabelColumns(data, say, seed=3)
    rows = produced(*[1] * 400)
    both, numbers = columns.entity(rows), columns.text_draw(rows)
    assert torch.equal(both[100:], columns.entity(rows[100:]))
    assert torch.equal(numbers[100:], columns.text_draw(rows[100:]))
    assert 140 < int(both.sum()) < 260  # half of them, each entity as likely
    assert float(numbers.min()) >= 0 and float(numbers.max()) < 1
    assert abs(float(numbers.mean()) - 0.5) < 0.06
    assert abs(np.corrcoef(both, numbers)[0, 1]) < 0.2
    assert not torch.equal(numbers, LabelColumns(data, say, seed=4).text_draw(rows))


def test_an_objective_of_labels_needs_some(tmp_path: Path) -> None:
    data = prepare_data(make_config(write_shards(tmp_path / "in", (4,))), tmp_path / "run")
    with pytest.raises(ConfigError, match="name the --labels"):
        LabelColumns(data, say, seed=0)


def test_labels_of_other_shards_or_versions_are_refused(tmp_path: Path) -> None:
    config = labelled(tmp_path)
    labels = tmp_path / "labels" / "labels.parquet"
    other = write_shards(tmp_path / "other", (5, 3))
    with pytest.raises(ConfigError, match="another version of shard 00000"):
        prepare_data(make_config("", sources=(source(other, labels),)), tmp_path / "run")
    (other / "00001.tar").rename(other / "x.tar")
    (other / "00000.tar").unlink()
    with pytest.raises(ConfigError, match="says nothing about x"):
        prepare_data(make_config("", sources=(source(other, labels),)), tmp_path / "run")
    plain = tmp_path / "keep.parquet"
    metadata = pq.read_schema(labels).metadata
    del metadata[b"lesstext_labels"]
    pq.write_table(pq.read_table(labels).replace_schema_metadata(metadata), plain)
    with pytest.raises(TableError, match="selection without labels; make some by"):
        prepare_data(make_config("", sources=(source(tmp_path / "in", plain),)), tmp_path / "run")
    assert config.sources[0].labels == str(labels)


def rewritten(labels: Path, table: pa.Table) -> None:
    pq.write_table(table.replace_schema_metadata(pq.read_schema(labels).metadata), labels)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.set_column(2, "entity_ids", t.column("key")), "no column entity_ids"),
        (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "shard 00000 has a key twice"),
        (
            lambda t: t.set_column(2, "entity_ids", pa.array([["Q9"]] * 5, t.schema.types[2])),
            "shard 00000 has a label of entity 'Q9', which its vocabulary lacks",
        ),
    ],
)
def test_damaged_labels_are_told(tmp_path: Path, damage: Any, message: str) -> None:
    config = labelled(tmp_path)
    labels = tmp_path / "labels" / "labels.parquet"
    rewritten(labels, damage(pq.read_table(labels)))
    with pytest.raises(DataError, match=message):
        prepare_data(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.drop_columns(["name"]), "no column name of texts"),
        (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "a class without a name, or twice"),
        (lambda t: t.slice(1), "has 2 classes, the labels 3"),
    ],
)
def test_a_damaged_vocabulary_is_told(tmp_path: Path, damage: Any, message: str) -> None:
    config = labelled(tmp_path)
    vocabulary = tmp_path / "labels" / "vocabulary.parquet"
    rewritten(vocabulary, damage(pq.read_table(vocabulary)))
    with pytest.raises(DataError, match=message):
        prepare_data(config, tmp_path / "run")


def test_settings_of_labels_are_stored(tmp_path: Path) -> None:
    config = labelled(tmp_path, class_sampling="sqrt")
    assert TrainConfig.from_json(config.as_json()) == config
    assert json.loads(config.as_json())["class_sampling"] == "sqrt"
    with pytest.raises(ConfigError, match="--class-sampling draws by entity; name the --labels"):
        make_config("in", class_sampling="uniform")

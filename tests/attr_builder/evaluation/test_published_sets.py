"""From a published set's files to the table, with a model that is fooled by one colour alone."""

from __future__ import annotations

import csv
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from attr_builder.errors import SourceError, UsageError
from attr_builder.evaluation import evaluate
from attr_builder.evaluation.evaluate import (
    EvaluateConfig,
    Evaluation,
    n_looks,
    open_sets,
    run_evaluation,
)
from attr_builder.evaluation.results import as_markdown, write_results
from lesstext.clip import ClipModel
from lesstext.storage.owners import this_host
from tests.attr_builder.conftest import photo

GREYS = {"cup": 30, "dog": 140}
WORDS = {"cup": "dog", "dog": "cat"}
NAMES = ("cat", "cup", "dog")
SIDE = 32


class FooledNetwork(torch.nn.Module):
    """Knows cups and dogs by their grey, and believes magenta text, the one word for each."""

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.stack([self._answer(image) for image in pixels])

    def _answer(self, image: torch.Tensor) -> torch.Tensor:
        red, green, _ = image
        grey = float(image[:, 0, 0].mean())
        thing = min(GREYS, key=lambda name: abs(GREYS[name] - grey))
        has_text = bool(((red > 180) & (green < 90)).any())
        said = WORDS[thing] if has_text else thing
        return torch.eye(3)[NAMES.index(said)] + 0.1 * torch.eye(3)[NAMES.index(thing)]

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.eye(3)[tokens[:, 0]]


def preprocess(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)[:, :SIDE, :SIDE]


def tokenize(prompts: list[str]) -> torch.Tensor:
    found = [[i for i, name in enumerate(NAMES) if f"a {name}." in text] for text in prompts]
    return torch.tensor(found)


@pytest.fixture
def fooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model that `evaluate` loads is one that text fools."""
    model = ClipModel(
        name="fooled",
        config={"embed_dim": 3},
        network=FooledNetwork(),
        tokenizer=tokenize,
        preprocess=preprocess,
    )
    monkeypatch.setattr(evaluate, "load_model", lambda *_, **__: model)


@pytest.fixture
def scam(tmp_path: Path) -> Path:
    """Six photos of cups and dogs without and with a word, as SCAM's folders."""
    lines = ["image_id,object,written_word"]
    for number in range(6):
        thing = ("cup", "dog")[number % 2]
        lines.append(f"img_{number},{thing},{WORDS[thing]}")
        for variant in ("NoSCAM", "SCAM"):
            pixels = np.full((SIDE, SIDE, 3), GREYS[thing] + number, dtype=np.uint8)
            if variant == "SCAM":
                pixels[10:20, 8:24] = (255, 0, 255)
            (tmp_path / "scam" / variant).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "scam" / variant / f"img_{number}.png")
    (tmp_path / "scam" / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "scam"


def measured(attr_set: Path, **options: Any) -> Evaluation:
    config = EvaluateConfig(
        model="fooled", pretrained=None, attr_set=attr_set, n_templates=1, n_workers=0, **options
    )
    sets = open_sets(config)
    told: list[int] = []
    found = run_evaluation(config, sets, told.append)
    assert sum(told) == n_looks(config, sets)
    return found


@pytest.mark.usefixtures("fooled")
def test_the_table_tells_fooled_from_defended(scam: Path, tmp_path: Path) -> None:
    defences = ("mean", "local-mean", "blur", "telea")
    found = measured(scam, defences=defences, detector="fake", regions=tmp_path / "regions")
    assert found.baseline == "NoSCAM" and found.detector == "fake magenta=1"
    assert list(found.variants)[:4] == ["NoSCAM", "SCAM", "NoSCAM, mean", "SCAM, mean"]
    assert len(found.variants) == 2 * (1 + len(defences))
    bare = found.variants["SCAM"].metrics
    assert bare.attack_success is not None and bare.attack_success.value == 1
    assert bare.pairwise_wins is not None and bare.pairwise_wins.value == 0
    assert bare.pairwise_drop is not None and bare.pairwise_drop.value == 1
    lost = bare.pairwise_losses_when_clean_won
    assert lost is not None and (lost.value, lost.n) == (1, 6)
    assert bare.drop is not None and (bare.drop.value, bare.n_without_twin) == (1, 0)
    for how in ("mean", "local-mean", "telea"):  # blurred, magenta on a dark cup stays magenta
        defended = found.variants[f"SCAM, {how}"]
        assert (defended.variant, defended.defence) == ("SCAM", how)
        assert defended.metrics.attack_success is not None
        assert defended.metrics.attack_success.value == 0
        assert defended.metrics.top1.value == 1
        cost = found.variants[f"NoSCAM, {how}"].metrics.drop
        assert cost is not None and (cost.value, cost.n) == (0, 6)
    assert found.variants["NoSCAM"].metrics.drop is None
    assert set(found.reading) == {"none", *defences}
    assert found.reading["none"].n == 6 and found.reading["none"].value < 1
    text = as_markdown(found)
    assert "| SCAM | none | 6 | 0.00 (" in text and "| SCAM | telea | 6 | 100.00 (" in text
    assert "by chance 33.33." in text and "`fake magenta=1`" in text
    dead = subprocess.Popen(["true"])
    dead.wait()
    write_results(found, tmp_path / "out")
    (tmp_path / f"out/.results.json.{this_host()}-{dead.pid}.partial").write_text("{")
    write_results(found, tmp_path / "out")  # a killed run's half is gone
    assert not list((tmp_path / "out").glob(".*.partial"))
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored["variants"]["SCAM, blur"]["defence"] == "blur"
    assert stored["reading"]["none"]["n"] == 6
    rows = pq.read_table(tmp_path / "out" / "per_image.parquet").to_pylist()
    assert len(rows) == 60 and {row["defence"] for row in rows} == {"none", *defences}


@pytest.mark.usefixtures("fooled")
def test_a_photo_without_a_readable_twin_is_left_out_of_paired_measures_only(scam: Path) -> None:
    (scam / "NoSCAM" / "img_0.png").unlink()
    (scam / "NoSCAM" / "img_1.png").write_bytes(b"no image")
    found = measured(scam)
    metrics = found.variants["SCAM"].metrics
    assert metrics.n == 6 and metrics.n_without_twin == 2
    assert metrics.attack_success is not None and metrics.attack_success.n == 6
    assert metrics.drop is not None and metrics.drop.n == 4
    assert metrics.pairwise_drop is not None and metrics.pairwise_drop.n == 4
    text = as_markdown(found)
    assert "| without a clean twin, left out of paired measures | – | 2 |" in text
    assert "- img_1: not an image" in text


@pytest.mark.usefixtures("fooled")
def test_a_set_without_twins_has_no_paired_measures(tmp_path: Path) -> None:
    for number, (thing, word) in enumerate(WORDS.items()):
        pixels = np.full((SIDE, SIDE, 3), GREYS[thing], dtype=np.uint8)
        pixels[10:20, 8:24] = (255, 0, 255) if number else (0, 0, 0)
        (tmp_path / "rta").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "rta" / f"label={thing}_text={word}.png")
    found = measured(tmp_path / "rta")
    metrics = found.variants["attacked"].metrics
    assert found.baseline is None and metrics.drop is None and metrics.pairwise_drop is None
    assert metrics.pairwise_wins is not None and metrics.pairwise_wins.value == 0.5
    assert "without clean twins" in as_markdown(found)


def as_rows(scam: Path) -> list[dict[str, str]]:
    """The drawn photos as the rows of Hugging Face's table."""
    with (scam / "labels.csv").open(encoding="utf-8", newline="") as lines:
        return [
            {
                "file_name": f"{variant}/{variant}_{row['image_id']}.png",
                "type": variant,
                "object_label": row["object"],
                "attack_word": row["written_word"],
                "id": f"{variant}_{row['image_id']}",
                "drawn": str(scam / variant / f"{row['image_id']}.png"),
            }
            for row in csv.DictReader(lines)
            for variant in ("NoSCAM", "SCAM")
        ]


def as_archive(scam: Path, out: Path) -> Path:
    columns = ("file_name", "type", "object_label", "attack_word", "id")
    table = [",".join(columns)]
    with zipfile.ZipFile(out / "images.zip", "w") as file:
        for row in as_rows(scam):
            file.write(row["drawn"], f"train/{row['file_name']}")
            table.append(",".join(row[column] for column in columns))
        file.writestr("train/metadata.csv", "\n".join(table) + "\n")
    return out / "images.zip"


def as_parquet(scam: Path, out: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {**row, "image": {"bytes": Path(row["drawn"]).read_bytes(), "path": row["file_name"]}}
        for row in as_rows(scam)
    ]
    pq.write_table(pa.Table.from_pylist(rows), out / "train-0.parquet", row_group_size=4)
    return out


def as_project_page(scam: Path, out: Path) -> Path:
    for row in as_rows(scam):
        path = out / "data_images" / row["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path(row["drawn"]).read_bytes())
    index = [
        {
            "image_id": row["id"],
            "object_label": row["object_label"],
            "attack_word": row["attack_word"],
        }
        for row in as_rows(scam)
        if row["type"] == "SCAM"
    ]
    (out / "vlm_similarity_index.json").write_text(json.dumps(index))
    return out


@pytest.mark.usefixtures("fooled")
@pytest.mark.parametrize("layout", [as_archive, as_parquet, as_project_page])
def test_the_measures_of_scam_are_those_of_its_folders_in_every_layout(
    scam: Path, tmp_path: Path, layout: Callable[[Path, Path], Path]
) -> None:
    out = tmp_path / "download"
    out.mkdir()
    found, known = measured(layout(scam, out)), measured(scam)
    assert found.baseline == "NoSCAM" and list(found.variants) == ["NoSCAM", "SCAM"]
    for name, variant in found.variants.items():
        assert variant.metrics.n == 6
        assert repr(variant.metrics) == repr(known.variants[name].metrics)  # NaN equals itself so
    attacked = found.variants["SCAM"].metrics
    assert attacked.attack_success is not None and attacked.attack_success.value == 1
    assert attacked.pairwise_drop is not None and attacked.pairwise_drop.value == 1
    assert found.reading == known.reading


@pytest.mark.usefixtures("fooled")
def test_disentangling_is_measured_against_the_photo_of_the_same_object(
    scam: Path, tmp_path: Path
) -> None:
    """Cup and dog with a word and without; what is written on a third photo is not magenta."""
    root = tmp_path / "typographic_attack_dataset"
    (root / "images").mkdir(parents=True)
    drawn = {"cup": "img_0", "dog": "img_1"}
    told = {}
    for thing, name in drawn.items():
        for variant, word in (("NoSCAM", ""), ("SCAM", WORDS[thing])):
            file = f"{variant}_{thing}.png"
            (root / "images" / file).write_bytes((scam / variant / f"{name}.png").read_bytes())
            told[file] = {"true object": thing, "typographic attack label": word}
    told["unread.png"] = {"true object": "dog", "typographic attack label": "cat"}
    (root / "images" / "unread.png").write_bytes((scam / "NoSCAM" / "img_3.png").read_bytes())
    (root / "annotations.json").write_text(json.dumps(told))
    found = measured(root)
    assert found.baseline == "clean" and list(found.variants) == ["clean", "attacked"]
    assert found.variants["clean"].metrics.top1.value == 1
    metrics = found.variants["attacked"].metrics
    assert (metrics.n, metrics.n_without_twin) == (3, 0)
    assert metrics.attack_success is not None
    assert metrics.attack_success.value == pytest.approx(2 / 3)
    assert metrics.drop is not None and metrics.drop.value == pytest.approx(2 / 3)
    assert metrics.pairwise_wins is not None
    assert metrics.pairwise_wins.value == pytest.approx(1 / 3)


def test_a_limit_takes_the_same_photos_of_every_variant(scam: Path, tmp_path: Path) -> None:
    config = EvaluateConfig(model="m", pretrained=None, attr_set=scam, limit=3)
    sets = open_sets(config)
    assert sets["NoSCAM"].images.clusters == sets["SCAM"].images.clusters
    assert sets["SCAM"].images.clusters == ["img_0", "img_2", "img_4"]
    assert [sets["SCAM"].images.items[i].key for i in range(3)] == ["img_0", "img_2", "img_4"]
    assert sets["NoSCAM"].is_clean and sets["SCAM"].classes.names == NAMES
    other = tmp_path / "other" / "label=cup_text=dog.png"
    other.parent.mkdir()
    photo(1).save(other)
    config = EvaluateConfig(
        model="m", pretrained=None, attr_set=scam, controls={"rta": str(other.parent)}, limit=1
    )
    assert [len(opened.images.items) for opened in open_sets(config).values()] == [1, 1, 1]


def test_wrong_use_is_told(scam: Path) -> None:
    for options, message in (
        ({"defences": ("paint",)}, "no defence named 'paint'; there are mean, local-mean"),
        ({"defences": ("mean", "mean")}, "name each once, got mean,mean"),
        ({"regions": scam}, "--regions keeps what is found for --defence"),
        ({"limit": 0}, "--limit must be at least 1, got 0"),
    ):
        with pytest.raises(UsageError, match=message):
            EvaluateConfig(model="m", pretrained=None, attr_set=scam, **options)
    config = EvaluateConfig(model="m", pretrained=None, attacked=str(scam))
    with pytest.raises(SourceError, match=r"several variants \(NoSCAM, SCAM\): give it as --set"):
        open_sets(config)

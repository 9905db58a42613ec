"""The outputs as others read them: torchvision, CLIP_benchmark, parquet, our own reader."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from attr_builder.building.build import Build, run_build
from attr_builder.building.manifest import read_manifest
from attr_builder.building.writers import FORMATS
from attr_builder.drawing.presets import make_recipe
from attr_builder.labelled_images.classes import imagenet_classes
from attr_builder.labelled_images.sources import open_source
from tests.attr_builder.conftest import LABELS, MakeBuild


@pytest.fixture
def built(make_build: MakeBuild) -> Build:
    """The photos in all formats, with one control."""
    recipe = make_recipe("visible", {"controls": ("none",)})
    plan = make_build(recipe, formats=FORMATS, chunk_size=8)
    run_build(plan)
    return plan


def test_torchvision_reads_the_image_folder(built: Build) -> None:
    wnids = imagenet_classes().wnids
    for variant in ("attacked", "none"):
        data = ImageFolder(str(built.out / variant / "val"))
        assert len(data) == 18
        assert data.classes == sorted(wnids[label] for label in LABELS)
        rows = {r.output: r for r in read_manifest(built.out) if r.variant == variant}
        for path, index in data.samples:
            row = rows[Path(path).relative_to(built.out).as_posix()]
            assert data.classes[index] == row.true_wnid
        assert data[0][0].mode == "RGB"


def test_clip_benchmark_reads_the_shards(built: Build) -> None:
    builder = pytest.importorskip(
        "clip_benchmark.datasets.builder", reason="needs the clip-benchmark package"
    )
    data = builder.build_wds_dataset(
        "wds/attr", lambda image: image, "test", str(built.out / "attacked")
    )
    assert data.classes == list(imagenet_classes().names)
    assert data.templates[0] == "a bad photo of a {c}." and len(data.templates) == 80
    read = [(image.tobytes(), label) for image, label in data]
    expected = []
    for row in read_manifest(built.out):
        if row.variant == "attacked":
            with Image.open(built.out / str(row.output)) as image:
                expected.append((image.convert("RGB").tobytes(), row.true_label))
    assert sorted(read) == sorted(expected)


def test_parquet_carries_what_datasets_needs(built: Build) -> None:
    files = sorted((built.out / "none" / "data").glob("validation-*-of-00003.parquet"))
    assert len(files) == 3
    rows = [row for row in read_manifest(built.out) if row.variant == "none"]
    table = pa.concat_tables(pq.read_table(file) for file in files)
    info = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert info["image"] == {"_type": "Image"}
    names = info["label"]["names"]
    assert names[207] == "Golden Retriever" and len(set(names)) == len(names) == 1000
    assert names[657] == "missile (n03773504)"
    for value, row in zip(table.to_pylist(), rows, strict=True):
        assert value["label"] == row.true_label
        assert value["image"]["path"] == f"{row.output_name}.jpg"
        with Image.open(io.BytesIO(value["image"]["bytes"])) as image:
            assert image.size == (row.width, row.height)
    card = (built.out / "README.md").read_text()
    assert "path: none/data/*.parquet" in card


def test_the_datasets_package_reads_the_parquet(built: Build) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the datasets package")
    data = datasets.load_dataset(
        "parquet",
        data_files=str(built.out / "attacked" / "data" / "*.parquet"),
        split="train",
        cache_dir=str(built.out.parent / "cache"),
    )
    assert data.features["label"].int2str(207) == "Golden Retriever"
    assert data[0]["image"].mode == "RGB"


def test_our_own_reader_gives_equal_images_from_every_format(built: Build) -> None:
    sources = [
        open_source(built.out / "attacked" / part, classes=imagenet_classes())
        for part in ("val", "test", "data")
    ]
    contents = [{i.key: (i.label, i.data) for i in source} for source in sources]
    assert [source.kind for source in sources] == ["imagefolder", "webdataset", "parquet"]
    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0]) == 18

"""The figures of the issue, on 1,000 real ImageNet images and on real attack photos."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from attr_builder.building.build import Build, run_build
from attr_builder.building.manifest import Row, read_manifest
from attr_builder.building.verify import verify_set
from attr_builder.drawing.attacks import paper_map
from attr_builder.drawing.fonts import resolve_font
from attr_builder.drawing.painter import Painter
from attr_builder.drawing.presets import make_recipe
from attr_builder.drawing.visibility import visible_in_crop
from attr_builder.evaluation.image_sets import open_any
from attr_builder.evaluation.legibility import COVERED, load, measure
from attr_builder.labelled_images.classes import imagenet_classes
from attr_builder.labelled_images.sources import open_source
from lesstext.errors import DetectorError


def build(real_data: Path, out: Path, preset: str, **changes: object) -> Build:
    source = open_source(real_data / "imagenet_sample")
    recipe = make_recipe(preset, changes)
    painter = Painter(recipe, source.classes, paper_map(source.classes))
    return Build(source=source, painter=painter, out=out)


@pytest.fixture(scope="module")
def paper(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    plan = build(real_data, tmp_path_factory.mktemp("real") / "paper", "paper")
    run_build(plan, n_workers=2)
    return plan


@pytest.fixture(scope="module")
def visible(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    plan = build(real_data, tmp_path_factory.mktemp("real") / "visible", "visible")
    run_build(plan, n_workers=2)
    return plan


def test_paper_statistics_are_those_computed_independently(paper: Build) -> None:
    rows = list(read_manifest(paper.out))
    in_image = np.array([row.visible_in_image for row in rows])
    in_crop = np.array([row.visible_in_crop for row in rows])
    assert len(rows) == 1000
    assert abs((in_image < 1).mean() - 0.195) <= 0.02
    assert abs((in_crop == 1).mean() - 0.133) <= 0.02
    assert abs((in_crop == 0).mean() - 0.014) <= 0.02
    assert len({row.true_wnid for row in rows if row.noop}) == 4
    assert abs(np.median([row.contrast_mean or 0 for row in rows]) - 1.5) <= 0.1


def test_paper_boxes_are_pils_text_boxes(paper: Build) -> None:
    font = ImageFont.truetype(resolve_font(None).path, 50, layout_engine=ImageFont.Layout.BASIC)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    for row in list(read_manifest(paper.out))[::10]:
        assert tuple(row.box or ()) == pen.textbbox((50, 50), row.attack_name, font=font)


def test_paper_attack_labels_are_the_authors(paper: Build, real_data: Path) -> None:
    import csv

    with (real_data / "imagenet_atr_attack_classes.csv").open() as file:
        expected = {
            int(r["class"]): (int(r["attack_class"]), r["attack_name"])
            for r in csv.DictReader(file)
        }
    found = {r.true_label: (r.attack_label, r.attack_name) for r in read_manifest(paper.out)}
    assert found == expected


def test_visible_is_visible_and_contrasts(visible: Build) -> None:
    rows = list(read_manifest(visible.out))
    assert [row.status for row in rows] == ["ok"] * 1000
    assert all(row.visible_in_crop == 1 for row in rows)
    assert all((row.contrast or 0) >= 4.5 for row in rows)
    assert not any(row.noop for row in rows)
    names = imagenet_classes().names
    assert not any(names[row.true_label] == names[row.attack_label] for row in rows)
    for row in rows[::50]:
        assert row.box is not None and row.width is not None and row.height is not None
        x0, y0, x1, y1 = row.box
        assert visible_in_crop((x0, y0, x1, y1), row.width, row.height) == 1


def test_a_sample_draws_again_to_the_same_bytes(visible: Build) -> None:
    verdict = verify_set(visible.out, visible.source, n_sample=40)
    assert (verdict.n_redrawn, verdict.problems) == (40, [])


def test_the_source_is_never_written(real_data: Path, visible: Build) -> None:
    row: Row = next(read_manifest(visible.out))
    data = (real_data / "imagenet_sample" / "val" / row.source_path).read_bytes()
    assert hashlib.sha256(data).hexdigest() == row.source_sha256


def test_the_projects_detector_reads_visible_text(visible: Build) -> None:

    try:
        detector = load("craft", 256)
    except DetectorError as error:
        pytest.skip(f"needs the detector's weights: {error}")
    rows = list(read_manifest(visible.out))[::50]
    covered = [share >= COVERED for _, share in measure(visible.out, rows, detector)]
    assert np.mean(covered) >= 0.95


def test_rta_and_scam_are_recognised(real_data: Path) -> None:
    rta = open_any(str(real_data / "rta100"), None, None)
    assert len(rta.images.items) == 143
    assert rta.images.items[0].label != rta.images.attack_labels[0]
    attacked = open_any(str(real_data / "scam" / "SCAM"), None, None)
    clean = open_any(str(real_data / "scam" / "NoSCAM"), None, None)
    assert len(attacked.images.items) == 291
    assert list(attacked.images.clusters) == list(clean.images.clusters)
    assert attacked.classes == clean.classes


def test_tiny_imagenet_parquet_needs_its_class_list(real_data: Path) -> None:
    from attr_builder.errors import SourceError
    from attr_builder.labelled_images.sources import parse_classes

    folder = real_data / "tiny_imagenet"
    with pytest.raises(SourceError, match="from 0 to 199"):
        open_source(folder / "val.parquet")
    classes = parse_classes(str(folder / "classes.csv"))
    source = open_source(folder / "val.parquet", classes=classes)
    assert len(source) == 3000 and classes is not None and len(classes) == 200

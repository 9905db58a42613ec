"""The example annotator of the page on extending: all that the engines give, from its one file."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest

from lesstext.shards.tar_reading import index_shard, read_member
from lesstext.storage.guard import MARKER
from tests.lesstext.builders import ratio_samples, write_tar
from tests.lesstext.engines.test_faults import command, kill_after
from tests.module_graph import ROOT

Lesstext = Callable[..., str]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight shards of 60 images."""
    folder = tmp_path_factory.mktemp("sharpness") / "in"
    for number in range(8):
        ratios = [(i % 10) / 50 for i in range(60)]
        write_tar(folder / f"{number:05d}.tar", ratio_samples(ratios, f"{number}_"))
    return folder


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example as an installed package, for every process that is started here."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "docs/examples/annotator.py", site / "my_annotator.py")
    described = site / "example-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Name: example\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(
        "[lesstext.annotators]\nsharpness = my_annotator:Sharpness\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
        yield


def lesstext(*arguments: object) -> str:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


@pytest.fixture(scope="module")
def wanted(shards: Path) -> dict[str, bytes]:
    """The tables of an undisturbed local run."""
    lesstext("annotate", "sharpness", shards, "--out", shards.parent / "calm", "--workers", 2)
    return tables(shards.parent / "calm")


def test_it_measures_what_it_says(shards: Path, wanted: dict[str, bytes]) -> None:
    assert len(wanted) == 8
    rows = pq.read_table(shards.parent / "calm/00003.parquet").to_pylist()
    assert list(rows[0]) == ["key", "uid", "status", "error", "sharpness"]
    with (shards / "00003.tar").open("rb") as file:
        for row, entry in zip(rows, index_shard(shards / "00003.tar").samples, strict=True):
            assert entry.image is not None
            path = shards.parent / f"one.{entry.image.suffix}"
            path.write_bytes(read_member(file, entry.image))
            pixels = cv2.imread(str(path))
            assert pixels is not None
            gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
            assert row["sharpness"] == pytest.approx(cv2.Laplacian(gray, cv2.CV_64F).var(), 1e-5)


def test_its_option_is_a_flag_and_another_value_another_table(
    shards: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    said = lesstext("annotate", "sharpness", shards, "--out", shards.parent / "calm")
    assert "8 done before" in said
    blunt = ("annotate", "sharpness", shards, "--out", tmp_path / "blunt", "--aperture", 5)
    lesstext(*blunt)
    assert all(data != wanted[name] for name, data in tables(tmp_path / "blunt").items())
    assert "8 done before" in lesstext(*blunt)


def test_it_is_selected_on_together_with_text_area(
    shards: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    lesstext("score", shards, "--out", tmp_path / "scores", "--detector", "fake")
    rule = "text_area_ratio <= 0.1 and sharpness > 0"
    said = lesstext(
        "select", tmp_path / "scores", shards.parent / "calm",
        "--out", tmp_path / "keep.parquet", "--where", rule,
    )  # fmt: skip
    kept = pq.read_table(tmp_path / "keep.parquet").num_rows
    assert f"480 read = {kept} kept" in said and 0 < kept < 480


def test_it_runs_on_ray(shards: Path, wanted: dict[str, bytes], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra `ray`")
    lesstext("annotate", "sharpness", shards, "--out", tmp_path / "ray", "--engine", "ray")
    assert tables(tmp_path / "ray") == wanted


def test_it_reads_and_writes_object_storage(
    shards: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    s3fs = pytest.importorskip("s3fs", reason="needs the extra `s3`")
    from tests.lesstext.s3_server import s3_bucket

    with s3_bucket():
        storage = s3fs.S3FileSystem()
        storage.put(f"{shards}/", "bucket/in/", recursive=True)
        lesstext("annotate", "sharpness", "s3://bucket/in/", "--out", "s3://bucket/out/")
        again = lesstext("annotate", "sharpness", "s3://bucket/in/", "--out", "s3://bucket/out/")
        assert "8 done before" in again
        storage.get("bucket/out/", f"{tmp_path}/got/", recursive=True)
    rows = {name: pq.read_table(tmp_path / "got" / name) for name in wanted}
    assert rows == {name: pq.read_table(shards.parent / "calm" / name) for name in wanted}


def test_kill_9_and_again_is_the_same(
    shards: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    arguments = command("annotate", "sharpness", shards, "--out", tmp_path / "out", "--workers", 2)
    rng = random.Random(3)
    assert sum(kill_after(rng.uniform(0.4, 1.4), arguments) for _ in range(5))
    subprocess.run(arguments, check=True, capture_output=True)
    assert tables(tmp_path / "out") == wanted
    hidden = [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    assert hidden == [MARKER]

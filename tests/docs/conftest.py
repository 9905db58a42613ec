"""A folder with everything that the documentation's examples name, and commands to run there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.attr_builder.conftest import SIX, write_image_folder
from tests.lesstext.builders import encoded, picture, sample, write_tar
from tests.module_graph import ROOT

# What a test may not wait for, and what stands in for it: the real detector by the fake one, which
# reads the text from the pixels; a training by two steps. What needs published weights is not run.
SUBSTITUTES = {
    'load_detector("confirmed")': 'load_detector("fake")',
    'detector="confirmed"': 'detector="fake"',
    "attr-builder evaluate": "true attr-builder evaluate",
    "--steps 300": "--steps 2",
    "--batch-size 64": "--batch-size 4",
    "steps=300, batch_size=64": "steps=2, batch_size=4",
}
DETECTING = ("score", "filter", "detect", "annotate\\ text_area")

ENTRY_POINTS = """
[lesstext.detectors]
mine = my_detector

[lesstext.annotators]
sharpness = my_annotator:Sharpness

[lesstext.report_panels]
sharpness = my_panel:SharpnessPanel

[train_clip.objectives]
hard-negatives = my_objective:HardNegatives
"""

RunScript = Callable[[str, str], str]


@pytest.fixture
def playground(tmp_path: Path) -> Path:
    """Two shards `laion/`, metadata (DataComp's, too), one photo, and `imagenet/val` with two."""
    for shard in ("00000", "00001"):
        ratios = [0.0, 0.3, 0.0, 0.1, 0.0, 0.004, 0.0, 0.02]
        members = []
        for i, ratio in enumerate(ratios):
            image = encoded(picture(256, 200, ratio, seed=i), "JPEG", quality=95, subsampling=0)
            uid = f"{int(shard):016x}{i:016x}"
            members += sample(f"{shard}{i:04d}", image, "jpg", f"a photo, number {i}", uid=uid)
        write_tar(tmp_path / "laion" / f"{shard}.tar", members)
        keys = [f"{shard}{i:04d}" for i in range(len(ratios))]
        metadata = pa.table({"key": keys, "similarity": [0.2 + i / 20 for i in range(len(ratios))]})
        (tmp_path / "laion-metadata").mkdir(exist_ok=True)
        pq.write_table(metadata, tmp_path / "laion-metadata" / f"{shard}.parquet")
    (tmp_path / "datacomp").mkdir()
    pool = {"uid": [f"{i:032x}" for i in range(9)], "text": ["a red bus"] * 9,
            "original_width": [320] * 9, "original_height": [200] * 9,
            "clip_l14_similarity_score": [i / 10 for i in range(9)]}  # fmt: skip
    pq.write_table(pa.table(pool), tmp_path / "datacomp" / "0.parquet")
    picture(320, 200, 0.1).save(tmp_path / "photo.jpg", quality=95)
    write_image_folder(tmp_path / "imagenet", SIX, (0, 1), 1)
    return tmp_path


def install_examples(site: Path) -> Path:
    """What a package with the examples as modules would install into the folder `site`."""
    described = site / "example-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Name: example\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(ENTRY_POINTS)
    for example in (ROOT / "docs" / "examples").glob("*.py"):
        shutil.copy(example, site / f"my_{example.name}")
    return site


@pytest.fixture
def run_script(playground: Path) -> RunScript:
    """Run a script of bash or python in the playground; its output, or an assertion error."""
    programs = playground / ".programs"
    programs.mkdir()
    site = install_examples(playground / ".site")
    for name, module in (
        ("lesstext", "lesstext"),
        ("attr-builder", "attr_builder.cli"),
        ("train-clip", "train_clip.cli"),
    ):
        _write_program(programs / name, module)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]),
        "LESSTEXT_DATA": str(playground),
        "XDG_CACHE_HOME": str(playground / ".cache"),
    }

    def run(language: str, text: str) -> str:
        for shown, instead in SUBSTITUTES.items():
            text = text.replace(shown, instead)
        interpreter = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
        done = subprocess.run(
            [*interpreter[language], text],
            cwd=playground,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


def _write_program(path: Path, module: str) -> None:
    """A command of ours from this checkout; where no detector is named, it is the fake one."""
    verbs = "|".join(DETECTING) if module == "lesstext" else "none"
    path.write_text(
        f"""#!/bin/sh
verb=$1
shift
if [ "$verb $1" = "annotate text_area" ]; then verb="$verb $1"; shift; fi
case $verb in {verbs}) set -- --detector fake "$@";; esac
exec {sys.executable} -m {module} $verb "$@"
"""
    )
    path.chmod(0o755)

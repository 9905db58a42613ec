"""The walk through the first hour: it agrees with what is right, and notices what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from walk import attacks, detecting, filtering
from walk.inputs import images_of
from walk.said import Ledger, Said, table_cells

from tests.lesstext.builders import encoded, picture, ratio_samples, sample, write_tar

RATIOS = [0.0, 0.004, 0.01, 0.05, 0.3]
FAKE = ["--detector", "fake", "--workers", "1"]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for name in ("00000", "00001"):
        members = sample(f"{name}-bad", b"no image")
        for number, ratio in enumerate(RATIOS):
            image = encoded(picture(40, 100, ratio, seed=number))
            members += sample(f"{name}-{number}", image)
        write_tar(tmp_path / "in" / f"{name}.tar", members)
    return tmp_path / "in"


def test_a_walk_agrees_with_the_files_and_notices_what_does_not(
    shards: Path, tmp_path: Path
) -> None:
    of = filtering.SetWalk("drawn", shards, tmp_path / "out", Ledger(), FAKE)
    filtering.walk(of)
    assert of.ledger.wrong == [] and of.ledger.n_checked > 60
    assert len(of.images) == 12 and of.n_failed == 2
    assert len(of.kept_at(filtering.DEFAULT)) == 4

    key = next(key for key in of.kept_at(filtering.DEFAULT))
    of.rows[key] = {**of.rows[key], "text_area_ratio": 0.9}
    filtering._report(of)
    assert any("ratio of" in wrong for wrong in of.ledger.wrong)
    assert any("drawn, report: " in wrong for wrong in of.ledger.wrong)


def test_time_to_the_first_sample_is_taken(shards: Path, tmp_path: Path) -> None:
    one = write_tar(tmp_path / "one" / "0.tar", ratio_samples([0.0]))
    assert 0.1 < detecting.start_up_s(one, tmp_path / "started", FAKE) < 60
    with pytest.raises(SystemExit, match="ended with"):
        detecting.start_up_s(tmp_path / "nothing", tmp_path / "failed", FAKE)


def test_images_go_by_shard_and_key(shards: Path) -> None:
    found = list(images_of(shards))
    assert found[0] == ("00000", "00000-bad") and len(found) == 12
    assert {shard for shard, _ in found} == {"00000", "00001"}


def test_a_line_that_was_never_said_ends_the_walk() -> None:
    said = Said("lesstext select", "keep.parquet: 3 read = 2 kept", "")
    assert said.ints(r"(\d+) read = (\d+) kept") == (3, 2)
    with pytest.raises(SystemExit, match="never said"):
        said.ints(r"(\d+) failed")


def test_shares_and_pairs_are_worked_out_by_hand() -> None:
    # Wilson's interval of 5 in 10, and of 0 in 8.
    assert attacks._share(np.array([True] * 5 + [False] * 5)) == "50.00 (23.66 to 76.34)"
    assert attacks._share(np.zeros(8, dtype=bool)) == "0.00 (0.00 to 32.44)"
    right, wrong = {"predicted": 1, "label": 1}, {"predicted": 2, "label": 1}
    clean = {str(n): {**right, "key": str(n)} for n in range(4)}
    rows = [{**(wrong if n else right), "key": str(n)} for n in range(4)]
    assert attacks._paired(rows, clean) == "3 lost, 0 gained, p = 0.25 (McNemar exact)"


def test_a_cell_of_a_table_is_found_by_its_row() -> None:
    table = "| | a | b |\n|---|---|---|\n| images | 3 | 4 |\n"
    assert table_cells(table, "images") == ["3", "4"]
    with pytest.raises(SystemExit, match="no row"):
        table_cells(table, "top-1")

"""Words: the same from one pass and from a score table's regions; failures stay failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lesstext.annotators.text_area import TextArea
from lesstext.annotators.words import Words
from lesstext.engines.local import LocalEngine
from lesstext.engines.whole_run import RunConfig, execute, plan
from lesstext.errors import UsageError
from tests.lesstext.builders import encoded, picture, sample, write_tar
from tests.lesstext.cli.test_cli import lesstext
from tests.lesstext.conftest import Score
from tests.lesstext.text_detection.drawn_words import board

WORD = pa.struct(
    [("text", pa.string()), ("score", pa.float32()), ("region", pa.list_(pa.float32()))]
)


def rows(folder: Path, shard: str = "00000") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / f"{shard}.parquet").to_pylist()
    return found


def write_magenta(path: Path) -> Path:
    members = sample("a", encoded(picture(64, 48, 0.25)))
    members += sample("b", encoded(picture(64, 48, 0.0)))
    members += sample("broken", b"no image")
    members += sample("a", encoded(picture(64, 48, 0.5)))
    return write_tar(path / "in/00000.tar", members)


class TestOnePass:
    def test_every_sample_has_a_row(self, tmp_path: Path, score: Score) -> None:
        write_magenta(tmp_path)
        summary = score(tmp_path / "in", out=tmp_path / "words", annotator=Words(detector="fake"))
        assert summary.counts == {"decode_error": 1, "duplicate_key": 1, "ok": 2}
        first, empty, broken, again = rows(tmp_path / "words")
        word = {"text": "64x12", "score": 1.0, "region": [0, 0, 64, 0, 64, 12, 0, 12]}
        assert (first["n_words"], first["words"]) == (1, [word])
        assert (first["width"], first["height"]) == (64, 48)
        assert (empty["n_words"], empty["words"]) == (0, [])
        for failed in (broken, again):
            assert failed["n_words"] is None and failed["words"] is None and failed["error"]

    def test_the_schema_is_what_the_docs_say(self, tmp_path: Path, score: Score) -> None:
        write_magenta(tmp_path)
        score(tmp_path / "in", out=tmp_path / "words", annotator=Words(detector="fake"))
        schema = pq.read_schema(tmp_path / "words/00000.parquet")
        assert schema.names[4:] == ["width", "height", "n_words", "words"]
        assert schema.field("n_words").type == pa.int32()
        assert schema.field("words").type.value_type == WORD

    def test_a_detector_that_does_not_read_is_refused(self, tmp_path: Path, score: Score) -> None:
        pytest.importorskip("rapidocr")
        write_magenta(tmp_path)
        with pytest.raises(UsageError, match=r"rapidocr finds text and does not read it.*none"):
            score(tmp_path / "in", out=tmp_path / "w", annotator=Words(detector="rapidocr"))


class TestRegionsOfAScoreTable:
    @pytest.fixture
    def scored(self, tmp_path: Path, score: Score) -> Path:
        pytest.importorskip("rapidocr")
        pixels = board([("OPEN TODAY", 30, 20, 40), ("café 24", 60, 150, 48)])
        members = sample("sign", encoded(Image.fromarray(pixels)))
        members += sample("blank", encoded(Image.fromarray(board([]))))
        members += sample("broken", b"no image")
        write_tar(tmp_path / "in/00000.tar", members)
        score(tmp_path / "in", out=tmp_path / "s", annotator=TextArea(detector="checked"))
        return tmp_path

    def config(self, folder: Path, **inputs: Path) -> RunConfig:
        return RunConfig(
            shards=(str(folder / "in"),),
            out=folder / "words",
            annotator=Words(detector="none"),
            inputs=inputs,
            workers=1,
        )

    def test_the_regions_are_read(self, scored: Path) -> None:
        config = self.config(scored, text_area=scored / "s")
        todo = plan(config)
        summary = execute(config, todo, LocalEngine(todo.annotator, todo.placements))
        assert summary.counts == {"decode_error": 1, "ok": 2}
        sign, blank, broken = rows(scored / "words")
        areas = rows(scored / "s")
        read = {word["text"].replace(" ", ""): word["region"] for word in sign["words"]}
        assert set(read) == {"OPENTODAY", "café24"}
        assert sorted(read.values()) == sorted(areas[0]["regions"])
        assert (blank["n_words"], blank["words"], blank["width"]) == (0, [], 384)
        assert broken["status"] == "decode_error" and broken["words"] is None

    def test_detector_and_input_go_together(self, scored: Path) -> None:
        with pytest.raises(UsageError, match="go together: give both"):
            plan(self.config(scored))
        with pytest.raises(UsageError, match="go together: give both"):
            own = Words(detector="fake")
            plan(replace(self.config(scored, text_area=scored / "s"), annotator=own))

    def test_areas_without_regions_are_refused(self, scored: Path, score: Score) -> None:
        areas = TextArea(detector="fake", regions=False)
        score(scored / "in", out=scored / "bare", annotator=areas)
        with pytest.raises(UsageError, match="stored without their regions"):
            plan(self.config(scored, text_area=scored / "bare"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_pixels": 0}, "--max-pixels must be at least 1"),
        ({"size_px": 8}, "--size must be within"),
        ({"detector": "none", "size_px": 640}, "--size goes with a detector"),
        ({"detector": "none", "options": {"score": "1"}}, "reading has no option score"),
        ({"detector": "none", "precision": "int8"}, "not 'int8'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Words(**options)


def test_the_same_bytes_by_any_number_of_workers(tmp_path: Path, score: Score) -> None:
    pytest.importorskip("rapidocr")
    for number in range(3):
        texts = [("LIME", 20 + number, 20, 30), ("ROSE 12", 60, 120, 34), ("Kaffee", 90, 200, 40)]
        images = [Image.fromarray(board(texts[: 1 + i])) for i in range(3)]
        members = [m for i, image in enumerate(images) for m in sample(f"{i}", encoded(image))]
        write_tar(tmp_path / f"in/{number:05}.tar", members)
    written = []
    for workers in (1, 2):
        config = RunConfig(
            shards=(str(tmp_path / "in"),),
            out=tmp_path / f"w{workers}",
            annotator=Words(),
            workers=workers,
        )
        todo = plan(config)
        execute(config, todo, LocalEngine(todo.annotator, todo.placements))
        files = sorted((tmp_path / f"w{workers}").rglob("*.parquet"))
        written.append([file.read_bytes() for file in files])
    assert len(written[0]) == 3
    assert written[0] == written[1]


class TestBesideTextAreas:
    """`score --words`: both tables from one pass."""

    def beside(self, folder: Path) -> Any:
        areas = TextArea(detector="fake")
        return {"annotator": areas, "beside": (Words.found_by(areas), folder)}

    def test_both_tables_are_those_of_two_runs(self, tmp_path: Path, score: Score) -> None:
        shards = write_magenta(tmp_path).parent
        score(shards, out=tmp_path / "s", **self.beside(tmp_path / "w"))
        score(shards, out=tmp_path / "s2", annotator=TextArea(detector="fake"))
        score(shards, out=tmp_path / "w2", annotator=Words(detector="fake"))
        for one, other in (("s", "s2"), ("w", "w2")):
            name = "00000.parquet"
            assert (tmp_path / one / name).read_bytes() == (tmp_path / other / name).read_bytes()

    def test_a_shard_is_done_when_both_are(self, tmp_path: Path, score: Score) -> None:
        shards = write_magenta(tmp_path).parent
        write_tar(shards / "00001.tar", sample("c", encoded(picture(64, 48, 0.1))))
        assert score(shards, out=tmp_path / "s", **self.beside(tmp_path / "w")).n_done_before == 0
        assert score(shards, out=tmp_path / "s", **self.beside(tmp_path / "w")).n_done_before == 2
        (tmp_path / "w/00001.parquet").unlink()
        assert score(shards, out=tmp_path / "s", **self.beside(tmp_path / "w")).n_done_before == 1
        assert (tmp_path / "w/00001.parquet").exists()

    def test_the_second_folder_is_guarded_as_the_first(self, tmp_path: Path, score: Score) -> None:
        shards = write_magenta(tmp_path).parent
        for folder in (shards, tmp_path / "s", tmp_path / "s/words"):
            with pytest.raises(UsageError):
                score(shards, out=tmp_path / "s", **self.beside(folder))
        other = Words(detector="fake", max_pixels=1000)
        score(shards, out=tmp_path / "w", annotator=other)
        with pytest.raises(UsageError, match=r"was made otherwise .*max_pixels=1000"):
            score(shards, out=tmp_path / "s", **self.beside(tmp_path / "w"))
        assert not (tmp_path / "s").exists()

    def test_by_the_command(self, tmp_path: Path) -> None:
        shards = write_tar(tmp_path / "in/00000.tar", sample("a", encoded(picture(64, 48, 0.25))))
        names = ["score", str(shards), "--out", str(tmp_path / "s"), "--workers", "1"]
        beside = ["--words", str(tmp_path / "w")]
        refused = lesstext(*names, "--detector", "craft", *beside)
        assert refused.returncode == 2 and "does not read" in refused.stderr
        done = lesstext(*names, "--detector", "fake", *beside)
        assert done.returncode == 0, done.stderr
        assert rows(tmp_path / "s")[0]["text_area_ratio"] == 0.25
        assert rows(tmp_path / "w")[0]["words"][0]["text"] == "64x12"

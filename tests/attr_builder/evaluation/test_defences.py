"""Text found and hidden before a model looks: what is hidden, and what is kept for the next run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attr_builder.evaluation import defences
from attr_builder.evaluation.defences import Defended, find_regions
from attr_builder.labelled_images.sources import SourceItem
from lesstext.errors import DetectorError, ImageError, TableError, UsageError
from lesstext.images import Pixels
from lesstext.text_detection.detectors.fake import FakeDetector
from lesstext.text_detection.protocol import DetectorSettings, TextRegions

FAKE = DetectorSettings(name="fake")
MAGENTA = (255, 0, 255)


def picture(grey: int, text: bool = True, side: int = 20) -> bytes:
    """A grey square; its text is 4 x 6 pixels of magenta."""
    pixels = np.full((side, side, 3), grey, dtype=np.uint8)
    if text:
        pixels[5:9, 6:12] = MAGENTA
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def items(*data: bytes) -> list[SourceItem]:
    return [SourceItem(f"photo-{i}", 0, one, f"{i}.png") for i, one in enumerate(data)]


class Counting(FakeDetector):
    """Counts what it is shown, and fails on pictures of one grey."""

    def __init__(self, fails_on: int | None = None) -> None:
        self.n_seen, self._fails_on = 0, fails_on

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        if any(image[0, 0, 0] == self._fails_on for image in images):
            raise RuntimeError("out of memory")
        self.n_seen += len(images)
        return super().detect(images)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    detector = Counting()
    monkeypatch.setattr(defences, "load_detector", lambda settings: detector)
    return detector


def test_the_text_is_hidden_and_nothing_else() -> None:
    data = picture(90)
    regions = find_regions([items(data)], FAKE)
    before = np.asarray(Image.open(io.BytesIO(data)))
    for how in ("mean", "local-mean", "blur", "telea"):
        after = np.asarray(Defended(regions, how)(data))
        differs = (after != before).any(axis=2)
        assert differs[5:9, 6:12].all() and differs.sum() == 24
    assert (np.asarray(Defended(regions, "local-mean")(data)) == 90).all()


def test_images_without_text_stay_as_they_are() -> None:
    data = picture(90, text=False)
    shown = Defended(find_regions([items(data)], FAKE), "mean")(data)
    assert (np.asarray(shown) == 90).all()


def test_regions_lie_in_the_frame_that_trainers_decode() -> None:
    image, buffer = Image.open(io.BytesIO(picture(90))), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = 6  # sideways, which trainers ignore
    image.save(buffer, format="PNG", exif=exif)
    data = buffer.getvalue()
    shown = np.asarray(Defended(find_regions([items(data)], FAKE), "local-mean")(data))
    assert (shown == 90).all()


def test_an_image_is_looked_at_once_and_with_a_folder_never_again(
    tmp_path: Path, counting: Counting
) -> None:
    sets = [items(*(picture(grey) for grey in range(20))), items(picture(3), picture(99))]
    told: list[int] = []
    first = find_regions(sets, FAKE, folder=tmp_path / "regions", on_image=told.append)
    assert counting.n_seen == 21 and sum(told) == 22
    again = find_regions(sets, FAKE, folder=tmp_path / "regions")
    assert counting.n_seen == 21 and again.keys() == first.keys()
    for digest, polygons in first.items():
        assert [p.tolist() for p in polygons or ()] == [p.tolist() for p in again[digest] or ()]
    find_regions([items(picture(200))], FAKE, folder=tmp_path / "regions")
    assert counting.n_seen == 22
    find_regions(sets, FAKE)
    assert counting.n_seen == 43


def test_what_was_found_is_stored_while_it_goes_on(
    tmp_path: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defences, "_SAVED_EVERY", 8)
    photos = items(*(picture(grey) for grey in range(20)))

    def interrupt(n: int) -> None:
        if counting.n_seen == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_regions([photos], FAKE, folder=tmp_path / "regions", on_image=interrupt)
    find_regions([photos], FAKE, folder=tmp_path / "regions")
    assert counting.n_seen == 20


def test_an_image_that_the_detector_fails_on_fails_alone_and_is_tried_again(
    tmp_path: Path, counting: Counting
) -> None:
    counting._fails_on = 7
    photos = items(*(picture(grey) for grey in range(8)), b"no image")
    regions = find_regions([photos], FAKE, folder=tmp_path / "regions")
    assert counting.n_seen == 7
    with pytest.raises(ImageError, match="the text detector failed on it"):
        Defended(regions, "mean")(picture(7))
    with pytest.raises(ImageError, match="starts with"):
        Defended(regions, "mean")(b"no image")
    counting._fails_on = None
    regions = find_regions([photos], FAKE, folder=tmp_path / "regions")
    assert counting.n_seen == 8
    Defended(regions, "mean")(picture(7))


def test_a_detector_that_cannot_run_is_no_failure_of_an_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Unable(FakeDetector):
        def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
            raise DetectorError("no device")

    monkeypatch.setattr(defences, "load_detector", lambda settings: Unable())
    with pytest.raises(DetectorError, match="no device"):
        find_regions([items(picture(1))], FAKE)


def test_tables_that_are_damaged_or_of_another_detector_are_refused(tmp_path: Path) -> None:
    photos = items(picture(1))
    find_regions([photos], FAKE, folder=tmp_path / "regions")
    (table,) = (tmp_path / "regions").glob("*.parquet")
    data = table.read_bytes()
    told = pq.read_table(table)
    pq.write_table(
        told.replace_schema_metadata({"lesstext_regions": '{"detector": "other"}'}), table
    )
    with pytest.raises(TableError, match="was made by 'other', not by 'fake magenta=1'"):
        find_regions([photos], FAKE, folder=tmp_path / "regions")
    for damaged in (data[: len(data) // 2], b"", b"PAR1"):
        table.write_bytes(damaged)
        with pytest.raises(TableError, match="is damaged, delete it"):
            find_regions([photos], FAKE, folder=tmp_path / "regions")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match="not empty and holds nothing of ours"):
        find_regions([photos], FAKE, folder=tmp_path / "mine")

"""Reading what a path names without waiting for what never comes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lesstext.cli.inspect_image import inspect_image
from lesstext.storage.files import read_file
from lesstext.text_detection.protocol import DetectorSettings, load_detector


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file.jpg").write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to("file.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert read_file(tmp_path / "file.jpg") == read_file(tmp_path / "link.jpg") == b"x"
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match=r"is no regular file"):
            read_file(path)


def test_a_pipe_named_as_an_image_stops_no_inspection(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    detector = load_detector(DetectorSettings(name="fake"))
    assert "no regular file" in str(inspect_image(tmp_path / "a.jpg", detector).error)

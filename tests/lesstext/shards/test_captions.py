"""All captions of a sample, for evaluations that have several of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesstext.shards.captions import read_captions
from lesstext.shards.tar_reading import index_shard
from tests.lesstext.builders import write_tar


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        (b"one", b'{"captions": [" a ", "", "b"], "caption": "c"}', ["a", "b"]),
        (b" one ", b'{"captions": ["  "]}', ["one"]),
        (b"one", b"[not json", ["one"]),
        (None, b'{"caption": "c", "captions": "a"}', ["a"]),
        (None, b'{"caption": ["c", "d"], "captions": 3}', ["c", "d"]),
        (b" ", b'{"caption": "c"}', []),
        (None, b"{}", []),
    ],
)
def test_all_captions(
    tmp_path: Path, text: bytes | None, fields: bytes, expected: list[str]
) -> None:
    members = [("a.json", fields), *([] if text is None else [("a.txt", text)])]
    path = write_tar(tmp_path / "x.tar", members)
    with path.open("rb") as file:
        assert read_captions(file, index_shard(path).samples[0]) == expected

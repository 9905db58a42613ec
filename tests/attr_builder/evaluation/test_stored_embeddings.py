"""Embeddings on disk: nothing is embedded twice, and nothing that is wrong is believed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from attr_builder.cli import app
from attr_builder.errors import UsageError
from attr_builder.evaluation.embeddings import embed_labelled
from attr_builder.evaluation.image_retrieval import store
from attr_builder.evaluation.image_retrieval.folders import open_retrieval_set
from attr_builder.evaluation.image_retrieval.neighbours import vote_leaving_out
from attr_builder.evaluation.image_retrieval.ranking import average_precisions
from attr_builder.evaluation.image_retrieval.store import StoredEmbeddings, embed_stored
from attr_builder.labelled_images.sources import Source
from lesstext.clip import ClipModel, load_model
from tests.attr_builder.conftest import photo
from tests.tiny_clip import write_tiny_model

N = 12


@pytest.fixture(scope="module")
def model(tiny_model: tuple[str, str]) -> ClipModel:
    return load_model(*tiny_model)


@pytest.fixture
def other_model(tmp_path: Path) -> ClipModel:
    """The same network with other weights."""
    (tmp_path / "other").mkdir()
    return load_model(*write_tiny_model(tmp_path / "other", seed=1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of four photos."""
    for number in range(N):
        place = tmp_path / "photos" / f"class {number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        photo(number, 60, 50).save(place / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PACK_ROWS", 5)


def images_in(folder: Path) -> Source:
    return open_retrieval_set(str(folder)).images


def same_as_in_memory(model: ClipModel, images: Source, found: StoredEmbeddings) -> bool:
    expected = embed_labelled(model, images)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.failures == expected.failures
    vectors: np.ndarray = np.asarray(found.vectors)
    assert vectors.dtype == np.float32
    return bool(np.abs(vectors - expected.vectors).max() < 1e-6)


def test_a_second_run_embeds_nothing(
    model: ClipModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, kept = images_in(folder), tmp_path / "kept"
    told: list[int] = []
    first = embed_stored(model, images, kept, on_batch=told.append)
    assert first.n_embedded == N and sum(told) == N
    assert same_as_in_memory(model, images, first)
    assert len(list(kept.rglob("*.npy"))) == 3

    def refuse(*_: object) -> object:
        raise AssertionError("embedded again")

    monkeypatch.setattr(model.network, "encode_image", refuse)
    again = embed_stored(model, images, kept, on_batch=told.append)
    assert again.n_embedded == 0 and sum(told) == 2 * N
    assert np.array_equal(np.asarray(again.vectors), np.asarray(first.vectors))


def test_a_changed_image_and_another_model_are_embedded_anew(
    model: ClipModel, other_model: ClipModel, folder: Path, tmp_path: Path
) -> None:
    images, kept = images_in(folder), tmp_path / "kept"
    embed_stored(model, images, kept)
    photo(77, 60, 50).save(folder / "class 1" / "4.png")
    changed = embed_stored(model, images, kept)
    assert changed.n_embedded == 1 and same_as_in_memory(model, images, changed)
    other = embed_stored(other_model, images, kept)
    assert other.n_embedded == N and same_as_in_memory(other_model, images, other)
    assert np.abs(np.asarray(other.vectors) - np.asarray(changed.vectors)).max() > 0.01


def cut_short(pack: Path) -> None:
    pack.write_bytes(pack.read_bytes()[:-7])


def flip_a_bit(pack: Path) -> None:
    data = bytearray(pack.read_bytes())
    data[-30] ^= 1
    pack.write_bytes(bytes(data))


def empty(pack: Path) -> None:
    pack.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, empty])
def test_a_damaged_pack_is_named_and_not_believed(
    model: ClipModel,
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
) -> None:
    images, kept = images_in(folder), tmp_path / "kept"
    embed_stored(model, images, kept)
    pack = max(kept.rglob("*.npy"), key=lambda path: path.stat().st_size)
    damage(pack)
    found = embed_stored(model, images, kept)
    assert found.n_embedded == 5 and same_as_in_memory(model, images, found)
    assert f"{pack} is damaged" in caplog.text


def test_packs_of_another_model_are_not_believed(
    model: ClipModel, other_model: ClipModel, folder: Path, tmp_path: Path
) -> None:
    images, kept = images_in(folder), tmp_path / "kept"
    embed_stored(model, images, kept)
    (mine,) = kept.iterdir()
    embed_stored(other_model, images, kept)
    (theirs,) = set(kept.iterdir()) - {mine}
    for pack in mine.iterdir():
        pack.unlink()
    for pack in theirs.iterdir():
        shutil.copy(pack, mine)
    found = embed_stored(model, images, kept)
    assert found.n_embedded == N and same_as_in_memory(model, images, found)


def test_equal_images_are_embedded_once_and_bad_ones_are_named(
    model: ClipModel, folder: Path, tmp_path: Path
) -> None:
    (folder / "class 0" / "bad.png").write_bytes(b"no image")
    (folder / "class 2" / "bad too.png").write_bytes(b"no image")
    shutil.copy(folder / "class 0" / "0.png", folder / "class 2" / "twin.png")
    images, kept = images_in(folder), tmp_path / "kept"
    found = embed_stored(model, images, kept)
    assert found.n_embedded == N and len(found.rows) == N + 1
    assert [images.keys[row] for row, _ in found.failures] == [
        "class 0/bad.png",
        "class 2/bad too.png",
    ]
    assert same_as_in_memory(model, images, found)
    assert embed_stored(model, images, kept).n_embedded == 0


def test_a_set_without_an_image_is_refused(model: ClipModel, tmp_path: Path) -> None:
    (tmp_path / "bad" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "a" / "x.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match="no image could be evaluated"):
        embed_stored(model, images_in(tmp_path / "bad"), tmp_path / "kept")


def test_parts_of_what_is_stored_are_those_of_an_array(
    model: ClipModel, folder: Path, tmp_path: Path
) -> None:
    images = images_in(folder)
    found = embed_stored(model, images, tmp_path / "kept")
    whole: np.ndarray = np.asarray(found.vectors)
    mask = found.labels != 1
    for part in (slice(0, 5), slice(6, 8), slice(3, 11), slice(4, 4), mask, np.array([9, 0, 0])):
        assert np.array_equal(np.asarray(found.vectors[part]), whole[part])
    assert np.array_equal(np.asarray(found.vectors[mask][2:6]), whole[mask][2:6])
    stored, arrays = (average_precisions(v, found.labels) for v in (found.vectors, whole))
    assert np.array_equal(stored[0], arrays[0]) and np.array_equal(stored[1], arrays[1])
    votes = [vote_leaving_out(v, found.labels, k=3).tolist() for v in (found.vectors, whole)]
    assert votes[0] == votes[1]


def test_the_command_keeps_embeddings_for_the_next_run(
    folder: Path, tmp_path: Path, tiny_model: tuple[str, str]
) -> None:
    model, weights = tiny_model
    call = ["evaluate", "--model", model, "--pretrained", weights, "--workers", "0"]
    call += ["--image-retrieval", str(folder), "--embeddings", str(tmp_path / "kept")]
    told = []
    for out in (tmp_path / "first", tmp_path / "second"):
        result = CliRunner().invoke(app, [*call, "--out", str(out)])
        assert result.exit_code == 0, result.output
        told.append(result.output)
    assert f"{N} images were embedded anew" in told[0]
    assert "0 images were embedded anew" in told[1]
    first, second = (tmp_path / name / "image_retrieval.json" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("where", ["photos/kept", "mine"])
def test_embeddings_never_go_where_something_else_lies(
    folder: Path, tmp_path: Path, tiny_model: tuple[str, str], where: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    model, weights = tiny_model
    call = ["evaluate", "--model", model, "--pretrained", weights, "--workers", "0"]
    call += ["--image-retrieval", str(folder), "--embeddings", str(tmp_path / where)]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 2
    assert "choose another" in result.output
    assert not list((tmp_path / where).rglob("*.npy"))

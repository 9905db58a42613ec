"""Similarity: open_clip's own cosines, of images as they are and with their text hidden."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lesstext.annotators.base import Annotator
from lesstext.annotators.similarity import Similarity
from lesstext.annotators.text_area import TextArea
from lesstext.engines.local import LocalEngine
from lesstext.engines.whole_run import RunConfig, RunSummary, execute, plan
from lesstext.errors import UsageError
from lesstext.fills import FILLS, Fill
from lesstext.images import Pixels
from tests.lesstext.builders import encoded, sample, write_tar
from tests.lesstext.conftest import FAKE, Score
from tests.tiny_clip import store_tiny_model, write_tiny_model

CAPTIONS = ["a goose", "the lion on a photo", "pizza"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    _, checkpoint = write_tiny_model(folder)
    return f"local-dir:{store_tiny_model(folder / 'stored', checkpoint)}"


def noise(seed: int, text_rows: int) -> Image.Image:
    """Noise of odd sizes whose topmost rows are what the fake detector takes for text."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 170, (48 + seed, 61, 3), dtype=np.uint8)
    pixels[:text_rows] = (255, 0, 255)
    return Image.fromarray(pixels)


PICTURES = [noise(0, 12), noise(1, 0), noise(2, 20), noise(3, 5)]


class Scene:
    """Two shards `in/`, their score tables, and the annotator run over them."""

    def __init__(self, folder: Path, score: Score, model: str) -> None:
        self.folder, self._score, self.model = folder, score, model
        members = []
        for i, image in enumerate(PICTURES):
            members += sample(f"k{i}", encoded(image), caption=CAPTIONS[i % 3])
        members += sample("several", encoded(PICTURES[0]), caption=None, captions=CAPTIONS)
        members += sample("none", encoded(PICTURES[0]), caption=None)
        members += sample("broken", b"no image")
        write_tar(folder / "in/00000.tar", members)
        write_tar(folder / "in/00001.tar", members[:6])
        score(folder / "in", out=folder / "scores", annotator=FAKE)

    def config(self, out: str, *, masked: bool = True, **options: Any) -> RunConfig:
        return RunConfig(
            shards=(str(self.folder / "in"),),
            out=self.folder / out,
            annotator=Similarity(**{"model": self.model, **options}),
            inputs={"text_area": self.folder / "scores"} if masked else {},
            workers=1,
        )

    def run(self, out: str = "sim", **options: Any) -> RunSummary:
        config = self.config(out, **options)
        annotator: Annotator = config.annotator
        return self._score(
            *config.shards, out=config.out, annotator=annotator, inputs=config.inputs
        )

    def rows(self, out: str = "sim") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(self.folder / out / "00000.parquet").to_pylist()
        return found


@pytest.fixture
def scene(tmp_path: Path, score: Score, model: str) -> Scene:
    return Scene(tmp_path, score, model)


def hide_topmost(pixels: Pixels, n_rows: int, how: Fill) -> None:
    """Hide whole rows at the top, as the fills' descriptions have it."""
    if how == "mean":
        pixels[:n_rows] = np.rint(pixels.reshape(-1, 3).mean(axis=0))
    elif how == "local-mean":
        ring = pixels[n_rows : n_rows + max(2, n_rows // 4)]
        pixels[:n_rows] = np.rint(ring.reshape(-1, 3).mean(axis=0))
    elif how == "blur":
        side, blurred = n_rows | 1, pixels
        for _ in range(3):
            blurred = np.asarray(cv2.blur(blurred, (side, side)), dtype=np.uint8)
        pixels[:n_rows] = blurred[:n_rows]
    else:
        hidden = np.zeros(pixels.shape[:2], dtype=np.uint8)
        hidden[:n_rows] = 1
        pixels[:n_rows] = cv2.inpaint(pixels, hidden, 3, cv2.INPAINT_TELEA)[:n_rows]


def cosines(
    model: str, png: bytes, text_rows: int, captions: Sequence[str], how: Fill = "mean"
) -> list[float]:
    """Decode, hide the topmost rows, and let open_clip do the rest."""
    import open_clip
    import torch

    clip, _, preprocess = open_clip.create_model_and_transforms(model)
    tokenize = open_clip.get_tokenizer(model)
    pixels = np.array(Image.open(io.BytesIO(png)).convert("RGB"))
    if text_rows:
        hide_topmost(pixels, text_rows, how)
    clip.eval()
    with torch.no_grad():
        seen = clip.encode_image(preprocess(Image.fromarray(pixels))[None], normalize=True)
        said = clip.encode_text(tokenize(list(captions)), normalize=True)
    found: list[float] = (said @ seen.T).flatten().tolist()
    return found


@pytest.mark.parametrize("how", FILLS)
def test_similarities_are_those_of_a_straightforward_reference(scene: Scene, how: Fill) -> None:
    assert scene.run(fill=how).exit_code == 0
    rows = scene.rows()
    for i, (row, image, text_rows) in enumerate(zip(rows, PICTURES, (12, 0, 20, 5), strict=False)):
        png, caption = encoded(image), CAPTIONS[i % 3]
        plain, masked = (cosines(scene.model, png, n, [caption], how)[0] for n in (0, text_rows))
        assert row["similarity"] == pytest.approx(plain, abs=1e-5)
        assert row["masked_similarity"] == pytest.approx(masked, abs=1e-5)
        assert (abs(plain - masked) > 1e-4) == bool(text_rows)  # the fill is seen by the model
        assert (row["n_captions"], row["caption_index"]) == (1, 0)


def test_the_caption_that_fits_best_is_taken_for_both(scene: Scene) -> None:
    scene.run()
    row = scene.rows()[4]
    png = encoded(PICTURES[0])
    plain, masked = (cosines(scene.model, png, n, CAPTIONS) for n in (0, 12))
    best = int(np.argmax(plain))
    assert (row["n_captions"], row["caption_index"]) == (3, best)
    assert row["similarity"] == pytest.approx(plain[best], abs=1e-5)
    assert row["masked_similarity"] == pytest.approx(masked[best], abs=1e-5)


def test_samples_without_caption_or_image_have_no_similarity(scene: Scene) -> None:
    scene.run()
    none, broken = scene.rows()[5:]
    assert (none["status"], none["n_captions"], none["similarity"]) == ("ok", 0, None)
    assert (broken["status"], broken["n_captions"]) == ("decode_error", None)
    assert none["masked_similarity"] is broken["masked_similarity"] is None


def test_without_text_areas_nothing_is_hidden(scene: Scene) -> None:
    scene.run("masked")
    scene.run("plain", masked=False)
    plain, masked = scene.rows("plain"), scene.rows("masked")
    assert [row["similarity"] for row in plain] == [row["similarity"] for row in masked]
    assert {row["masked_similarity"] for row in plain} == {None}
    with pytest.raises(UsageError, match="--fill needs --input text_area=SCORES"):
        scene.run("other", masked=False, fill="mean")


@pytest.mark.parametrize("how", ["local-mean", "blur", "telea"])
def test_every_fill_hides_in_its_own_way(scene: Scene, how: Fill) -> None:
    scene.run("mean")
    scene.run("other", fill=how)
    mean, other = scene.rows("mean"), scene.rows("other")
    assert mean[0]["similarity"] == other[0]["similarity"]
    assert mean[0]["masked_similarity"] != other[0]["masked_similarity"]
    assert mean[1] == other[1]  # no text there
    with pytest.raises(UsageError, match="made otherwise"):
        scene.run("mean", fill=how)


def test_two_workers_write_the_same_bytes_and_a_second_run_nothing(scene: Scene) -> None:
    assert scene.run().n_done_before == 0
    config = scene.config("two")
    todo = plan(config)
    assert todo.annotator_id.startswith("clip local-dir weights=")
    engine = LocalEngine(config.annotator, [todo.placements[0]] * 2)
    assert execute(config, todo, engine).exit_code == 0
    for name in ("00000.parquet", "00001.parquet"):
        one, two = ((scene.folder / out / name).read_bytes() for out in ("sim", "two"))
        assert one == two
    assert scene.run().n_done_before == 2


def test_a_failed_text_area_fails_here_too(scene: Scene, score: Score) -> None:
    small = replace(FAKE, max_pixels=61 * 48)
    score(scene.folder / "in", out=scene.folder / "scores", annotator=small, rescore=True)
    scene.run()
    rows = scene.rows()
    assert rows[0]["status"] == "ok"
    assert rows[1]["status"] == "too_large" and rows[1]["error"].startswith("text_area: ")
    assert rows[1]["similarity"] is None


def test_wrong_use_is_refused(scene: Scene, score: Score) -> None:
    with pytest.raises(UsageError, match="similarity needs --model"):
        scene.run("none", model=None)
    with pytest.raises(UsageError, match="--batch-size must be at least 1"):
        Similarity(batch_size=0)
    with pytest.raises(UsageError, match="fill"):
        Similarity(fill="black")  # type: ignore[arg-type]
    bare = TextArea(detector="fake", regions=False)
    score(scene.folder / "in", out=scene.folder / "bare", annotator=bare)
    config = replace(scene.config("x"), inputs={"text_area": scene.folder / "bare"})
    with pytest.raises(UsageError, match="without their regions"):
        plan(config)

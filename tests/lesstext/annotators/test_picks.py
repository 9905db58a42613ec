"""Picks: every candidate measured, the same by any number of workers, nothing from a stale base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lesstext.annotators.picks import Picks
from lesstext.engines.local import LocalEngine
from lesstext.engines.whole_run import RunConfig, RunSummary, execute, plan
from lesstext.errors import UsageError
from tests.lesstext.builders import picture
from tests.lesstext.conftest import FAKE, Score
from tests.lesstext.entities.colours import COLOURS, NamedMentions, write_colours, write_pictures
from tests.tiny_clip import store_tiny_model, write_tiny_model

SAMPLES = [
    ("red", "red lime red blue"),
    ("lime", "-"),
    ("blue", "nothing known"),
    ("-", "red"),
    ("pink", "pink red"),
    ("-", "-"),
    ("red", "dark red"),
    ("red", "red unreadable"),
]


class Scene:
    """Shards of pictures, their mentions, and runs of `picks` over them."""

    def __init__(self, folder: Path, score: Score) -> None:
        self.folder, self._score = folder, score
        self.kb = write_colours(folder / "kb.parquet")
        for number in range(3):
            write_pictures(folder / f"in/{number:05}.tar", SAMPLES[: 8 - number])
        self.find()

    def find(self, **options: Any) -> RunSummary:
        found = NamedMentions(kb=self.kb, **options)
        return self._score(
            self.folder / "in", out=self.folder / "mentions", annotator=found, rescore=True
        )

    def options(self, **options: Any) -> Picks:
        texts = str(self.folder / "texts")
        return Picks(**{"selector": "colours", "kb": self.kb, "texts": texts, **options})

    def config(self, out: str = "picks", **options: Any) -> RunConfig:
        inputs = {"mentions": self.folder / "mentions", **options.pop("inputs", {})}
        return RunConfig(
            shards=(str(self.folder / "in"),),
            out=self.folder / out,
            annotator=self.options(**options),
            inputs=inputs,
            workers=1,
        )

    def pick(self, out: str = "picks", **options: Any) -> RunSummary:
        config = self.config(out, **options)
        return self._score(
            *config.shards, out=config.out, annotator=config.annotator, inputs=config.inputs
        )

    def rows(self, shard: str = "00000", out: str = "picks") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(
            self.folder / out / f"{shard}.parquet"
        ).to_pylist()
        return rows


@pytest.fixture
def scene(tmp_path: Path, score: Score, colours: None) -> Scene:
    return Scene(tmp_path, score)


def test_all_candidates_of_a_sample_are_measured_and_sorted(scene: Scene) -> None:
    assert scene.pick().exit_code == 0
    first, none, unknown, broken, pink, _, dark, unreadable = scene.rows()
    assert [(p["entity_id"], p["similarity"], p["mention"]) for p in first["picks"]] == [
        ("red", 1.0, 0),
        ("blue", 0.0, 3),
        ("lime", 0.0, 1),
    ]
    assert (first["n_mentions"], first["n_candidates"]) == (4, 3)
    assert (first["best_entity"], first["best_similarity"]) == ("red", 1.0)
    assert (none["n_mentions"], none["n_candidates"], none["picks"]) == (0, 0, [])
    assert (unknown["n_mentions"], unknown["n_candidates"], unknown["picks"]) == (2, 0, [])
    assert (broken["status"], broken["picks"]) == ("decode_error", None)
    assert pink["picks"][0]["entity_id"] == "pink" and 0.6 < pink["picks"][1]["similarity"] < 0.7
    assert (dark["status"], dark["error"]) == ("annotator_error", "a similarity is not finite")
    assert (unreadable["error"], unreadable["picks"]) == ("mentions: unreadable", None)


def test_an_image_without_candidates_is_not_looked_at(scene: Scene) -> None:
    scene.pick()
    assert scene.rows()[5]["status"] == "ok"  # its bytes are no image


def test_any_number_of_workers_and_of_images_at_a_time_gives_the_same_bytes(scene: Scene) -> None:
    scene.pick()
    config = scene.config("other", options={"batch": "2"}, texts=str(scene.folder / "others"))
    todo = plan(config)
    engine = LocalEngine(config.annotator, [todo.placements[0]] * 2)
    assert execute(config, todo, engine).exit_code == 0
    for shard in ("00000", "00001", "00002"):
        one, two = (scene.folder / out / f"{shard}.parquet" for out in ("picks", "other"))
        assert one.read_bytes() == two.read_bytes()


def test_a_clip_gives_its_cosines_the_same_by_one_worker_and_by_two(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    _, checkpoint = write_tiny_model(scene.folder)
    stored = store_tiny_model(scene.folder / "model", checkpoint)
    clip = {"selector": "clip", "model": f"local-dir:{stored}"}
    assert scene.pick(**clip).exit_code == 0
    first, _, _, broken, *_, unreadable = scene.rows()
    assert first["picks"] == _cosines(stored, ["blue", "lime", "red"])
    assert (broken["status"], unreadable["picks"]) == ("decode_error", None)
    config = scene.config("other", texts=str(scene.folder / "others"), **clip)
    todo = plan(config)
    assert todo.annotator_id.startswith("clip local-dir weights=")
    engine = LocalEngine(config.annotator, [todo.placements[0]] * 2)
    assert execute(config, todo, engine).exit_code == 0
    for shard in ("00000", "00001", "00002"):
        one, two = (scene.folder / out / f"{shard}.parquet" for out in ("picks", "other"))
        assert one.read_bytes() == two.read_bytes()


def _cosines(model: Path, names: list[str]) -> Any:
    """What open_clip itself says of the first, red, picture, the most similar name first."""
    import open_clip
    import torch

    clip, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{model}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{model}")
    image = picture()
    image.paste(COLOURS["red"], (0, 0, *image.size))
    with torch.no_grad():
        seen = clip.encode_image(preprocess(image)[None], normalize=True)
        said = clip.encode_text(tokenize(names), normalize=True)
    cosines = (said @ seen.T).flatten().tolist()
    both = sorted(zip(cosines, names, strict=True), reverse=True)
    order = ["red", "lime", "red", "blue"]
    return [
        {"entity_id": name, "similarity": pytest.approx(cosine, abs=1e-5), "weight": 1.0,
         "mention": order.index(name), "text": name}
        for cosine, name in both
    ]  # fmt: skip


def test_a_text_is_embedded_once_for_all_shards_and_runs(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = scene.folder / "log"
    monkeypatch.setenv("LOG", str(log))
    scene.pick()
    assert sorted(log.read_text().split()) == ["blue", "dark", "lime", "pink", "red"]
    scene.pick("again")
    assert len(log.read_text().split()) == 5
    scene.pick("described", templates=("a {name}", "{name}"))
    assert "a red" in log.read_text().splitlines()
    assert len(list((scene.folder / "texts").iterdir())) == 3  # two tables and the marker


def test_a_damaged_table_of_texts_is_made_again(scene: Scene) -> None:
    scene.pick()
    before = scene.rows()
    for file in (scene.folder / "texts").rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:-20])
    scene.pick("again")
    assert scene.rows(out="again") == before
    assert scene.pick("third").exit_code == 0


def test_a_base_made_anew_under_old_mentions_is_refused_by_name(scene: Scene) -> None:
    write_colours(Path(scene.kb), description="a colour")
    with pytest.raises(UsageError, match=r"mentions of shard 00000 .*kb\.parquet"):
        scene.pick()
    scene.find()
    assert scene.pick().exit_code == 0


def test_a_selector_that_changed_is_not_done(scene: Scene) -> None:
    assert scene.pick().n_done_before == 0
    assert scene.pick().n_done_before == 3
    with pytest.raises(UsageError, match=r"colours version=1 kb=.* not 'colours version=2"):
        scene.pick(options={"version": "2"})


def test_an_entity_that_is_not_in_the_base_names_shard_and_key(scene: Scene) -> None:
    write_pictures(scene.folder / "in/00001.tar", [("red", "red"), ("red", "red purple")])
    scene.find(extra="purple")
    (failed,) = scene.pick().failed
    assert failed.shard == "00001"
    assert "key k1: mentions: entity 'purple' is not in" in str(failed.error)


def test_text_is_hidden_before_the_image_is_measured(scene: Scene, score: Score) -> None:
    scores = scene.folder / "scores"
    score(scene.folder / "in", out=scores, annotator=FAKE)
    scene.pick("plain")
    scene.pick("filled", fill="mean", inputs={"text_area": scores})
    assert scene.rows(out="filled") == scene.rows(out="plain")  # no text there
    with pytest.raises(UsageError, match="go together"):
        scene.pick(fill="mean")
    with pytest.raises(UsageError, match="go together"):
        scene.pick(inputs={"text_area": scores})
    score(scene.folder / "in", out=scores, annotator=replace(FAKE, regions=False), rescore=True)
    with pytest.raises(UsageError, match="without their regions"):
        scene.pick(fill="mean", inputs={"text_area": scores})


@pytest.mark.parametrize("template", ["", "no field", "{name} {price}", "{name", "{0}"])
def test_a_template_without_a_field_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="--template"):
        Picks(templates=(template,))

"""Image retrieval: mAP by the official definition, folders of classes, the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from attr_builder.cli import app
from attr_builder.errors import SourceError
from attr_builder.evaluation.image_retrieval import ranking
from attr_builder.evaluation.image_retrieval.folders import open_retrieval_set
from attr_builder.evaluation.image_retrieval.neighbours import vote, vote_leaving_out
from attr_builder.evaluation.image_retrieval.probe import fit_probe, halves
from attr_builder.evaluation.image_retrieval.ranking import average_precisions, random_precision
from tests.attr_builder.conftest import photo


def unit(seed: int, n: int, d: int = 32) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def by_definition(vectors: np.ndarray, labels: np.ndarray, *, with_query: bool) -> list[float]:
    """AP from the whole ranking: the mean precision at the places of the hits."""
    found = []
    for row, scores in enumerate(vectors.astype(np.float64) @ vectors.T.astype(np.float64)):
        ranked = np.argsort(-scores)
        ranked = ranked if with_query else ranked[ranked != row]
        hits = labels[ranked] == labels[row]
        precision_at = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        found.append(float(precision_at[hits].mean()) if hits.any() else float("nan"))
    return found


def test_precisions_equal_the_definition_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = np.random.default_rng(1).integers(0, 40, 301)
    labels[0] = 40  # alone in its class
    vectors = unit(0, 301) + 0.3 * unit(2, 41)[labels]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    monkeypatch.setattr(ranking, "_SCORES_AT_ONCE", 7 * 301)
    monkeypatch.setattr(ranking, "_VECTORS_AT_ONCE", 50)
    seen: list[int] = []
    with_query, without = average_precisions(vectors, labels, seen.append)
    np.testing.assert_allclose(
        with_query, by_definition(vectors, labels, with_query=True), atol=1e-6
    )
    np.testing.assert_allclose(without, by_definition(vectors, labels, with_query=False), atol=1e-6)
    assert np.isnan(without[0]) and with_query[0] == 1
    assert sum(seen) == 301 and len(seen) == 43
    first = average_precisions(vectors, labels, n_queries=20)
    assert np.array_equal(first, [with_query[:20], without[:20]], equal_nan=True)


def test_random_features_get_what_gpr1200s_size_gives_them() -> None:
    """1,200 classes of 10: .102 with the query in the index, .0015 without it."""
    labels = np.repeat(np.arange(1200), 10)
    with_query, without = average_precisions(unit(0, 12_000, 16), labels)
    assert with_query.mean() == pytest.approx(0.102, abs=5e-4)
    assert with_query.mean() == pytest.approx(
        random_precision(10, 12_000, with_query=True), abs=3e-4
    )
    assert without.mean() == pytest.approx(random_precision(10, 12_000, with_query=False), abs=3e-4)


@pytest.mark.parametrize("with_query", [True, False])
@pytest.mark.parametrize(("n_class", "n"), [(2, 2), (3, 7), (5, 6)])
def test_the_random_floor_is_the_mean_over_orders(n_class: int, n: int, with_query: bool) -> None:
    random = np.random.default_rng(0)
    total = []
    for _ in range(20_000):
        places = 1 + np.sort(random.permutation(n - 1)[: n_class - 1])
        if with_query:
            places = np.concatenate([[1], places + 1])
        total.append((np.arange(1, len(places) + 1) / places).mean())
    assert random_precision(n_class, n, with_query=with_query) == pytest.approx(
        np.mean(total), abs=0.01
    )


def test_a_collapsed_model_earns_nothing() -> None:
    labels = np.repeat(np.arange(50), 2)
    _, without = average_precisions(np.full((100, 4), 0.5, dtype=np.float32), labels)
    assert without.max() < 0.02


def clustered(seed: int, n: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors that tell their classes in part."""
    labels = np.random.default_rng(seed).integers(0, n_classes, n)
    vectors = unit(seed + 1, n) + 0.6 * unit(seed + 2, n_classes)[labels]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)), labels


def test_votes_equal_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

    monkeypatch.setattr(ranking, "_SCORES_AT_ONCE", 9 * 400)
    vectors, labels = clustered(0, 400, 12)
    theirs = KNeighborsClassifier(20, metric="cosine").fit(vectors[:250], labels[:250])
    ours = vote(vectors[250:], vectors[:250], labels[:250])
    assert ours.tolist() == theirs.predict(vectors[250:]).tolist()
    nearest = NearestNeighbors(n_neighbors=20, metric="cosine").fit(vectors)
    others = nearest.kneighbors(return_distance=False)
    expected = [int(np.bincount(row).argmax()) for row in labels[others]]
    assert vote_leaving_out(vectors, labels).tolist() == expected
    assert vote_leaving_out(vectors, labels, n_queries=31).tolist() == expected[:31]
    assert 0.2 < (np.array(expected) == labels).mean() < 1


def test_fewer_vectors_than_neighbours_all_vote() -> None:
    labels = np.array([4, 7, 7])
    assert vote(unit(0, 2), unit(1, 3), labels).tolist() == [7, 7]
    assert vote_leaving_out(unit(1, 3), labels).tolist() == [7, 4, 4]


def test_the_probe_equals_scikit_learns_with_the_strength_chosen_in_training() -> None:
    from sklearn.linear_model import LogisticRegression

    vectors, labels = clustered(5, 400, 8)
    train, truth, test = vectors[:300], labels[:300], vectors[300:]
    fitted = halves(truth)
    tried = (0.01, 1.0, 100.0)
    scores = [
        LogisticRegression(C=c, max_iter=1000)
        .fit(train[fitted], truth[fitted])
        .score(train[~fitted], truth[~fitted])
        for c in tried
    ]
    best = tried[int(np.argmax(scores))]
    found = fit_probe(train, truth, test, tried)
    theirs = LogisticRegression(C=best, max_iter=1000).fit(train, truth).predict(test)
    assert found.strength == best
    assert found.predicted.tolist() == theirs.tolist()
    assert len(set(scores)) > 1


def write_gpr(folder: Path, names: tuple[str, ...]) -> Path:
    folder.mkdir()
    for seed, name in enumerate(names):
        photo(seed, 40, 40).save(folder / name)
    return folder


def test_gpr1200_is_read_with_its_domains(tmp_path: Path) -> None:
    names = ("0_a.jpg", "0_b.jpg", "250_a.jpg", "1199_x.jpg")
    found = open_retrieval_set(f"gpr1200:{write_gpr(tmp_path / 'gpr', names)}")
    told = [found.images.classes.names[label] for label in found.images.labels]
    assert sorted(told) == ["0000", "0000", "0250", "1199"]
    assert found.domains == ("Landmarks", "iNaturalist", "Faces")


@pytest.mark.parametrize("name", ["1200_a.jpg", "photo.jpg"])
def test_a_file_without_a_class_number_is_named(tmp_path: Path, name: str) -> None:
    folder = write_gpr(tmp_path / "gpr", ("0_a.jpg", name))
    with pytest.raises(SourceError, match=name):
        open_retrieval_set(f"gpr1200:{folder}")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no images"):
        open_retrieval_set(f"gpr1200:{tmp_path}")


def test_the_command_measures_a_folder_and_names_what_it_cannot_read(
    tmp_path: Path, tiny_model: tuple[str, str]
) -> None:
    folder = write_gpr(tmp_path / "gpr", tuple(f"{c}_{i}.jpg" for c in (3, 400) for i in range(3)))
    (folder / "400_bad.jpg").write_bytes(b"no image")
    model, weights = tiny_model
    out = tmp_path / "results"
    call = ["evaluate", "--model", model, "--pretrained", weights, "--workers", "0"]
    result = CliRunner().invoke(
        app, [*call, "--image-retrieval", f"gpr1200:{folder}", "--out", str(out)]
    )
    assert result.exit_code == 1, result.output
    told = json.loads((out / "image_retrieval.json").read_text())
    assert told["overall"]["n"] == 6
    assert [key for key, _ in told["failures"]] == ["400_bad.jpg"]
    assert set(told["domains"]) == {"Landmarks", "ImageNet-Sketch"}
    assert told["classes"]["0003"]["n"] == 3
    assert 0 < told["overall"]["without_query"] < told["overall"]["with_query"] <= 1
    assert "normalised" in (out / "image_retrieval.md").read_text()


def test_real_photos_in_class_folders(
    tmp_path: Path, tiny_model: tuple[str, str], real_data: Path
) -> None:
    """Products of the grocery set, eight a class, as an ImageFolder of any names."""
    import pyarrow.parquet as pq

    rows = pq.read_table(real_data / "grocery" / "val.parquet").to_pylist()
    for number, row in enumerate(rows[:64]):
        place = tmp_path / "photos" / f"product {row['label']}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.jpg").write_bytes(row["image"]["bytes"])
    model, weights = tiny_model
    call = ["evaluate", "--model", model, "--pretrained", weights, "--workers", "0"]
    given = ["--image-retrieval", str(tmp_path / "photos"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*call, *given])
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "out" / "image_retrieval.json").read_text())
    assert told["overall"]["n"] == 64
    accuracy = told["accuracy"]
    assert 0 <= accuracy["knn"] <= 1 and accuracy["n_test"] > 20
    assert accuracy["linear_probe"] > 1 / len(told["classes"])
    assert told["overall"]["with_query"] > told["overall"]["with_query_random"]

"""Which word is written: the paper's map to the letter, and sound draws."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attr_builder.drawing.attacks import (
    check_enough_classes,
    choose_attacks,
    nonsense_word,
    paper_map,
    random_map,
    read_map,
    similar_map,
)
from attr_builder.drawing.presets import PAPER, VISIBLE, make_recipe
from attr_builder.errors import UsageError
from attr_builder.labelled_images.classes import ClassList, imagenet_classes
from lesstext.clip import load_model

CLASSES = imagenet_classes()
FEW = ClassList(("a", "b", "c", "d"), ("tabby cat", "golden dog", "red fox", "Red Fox"))


def test_class_names_are_open_clips() -> None:
    from open_clip import IMAGENET_CLASSNAMES

    assert CLASSES.names == tuple(IMAGENET_CLASSNAMES)


def test_paper_map_has_exactly_four_noops() -> None:
    targets = paper_map(CLASSES).targets
    assert [len(t) for t in targets] == [1] * 1000
    noops = [i for i, t in enumerate(targets) if CLASSES.same_name(i, t[0])]
    assert sorted(CLASSES.names[i] for i in noops) == ["missile"] * 2 + ["sunglasses"] * 2


def test_paper_keeps_noops_and_visible_replaces_them() -> None:
    attack_map = paper_map(CLASSES)
    kept = choose_attacks(PAPER, attack_map, CLASSES, 657, "k")[0]
    assert (kept.label, kept.is_noop, kept.strategy) == (744, True, "paper")
    replaced = choose_attacks(VISIBLE, attack_map, CLASSES, 657, "k")[0]
    assert not replaced.is_noop
    assert replaced.strategy == "paper, then random"
    assert CLASSES.names[replaced.label] != "missile"


@given(label=st.integers(0, 3), key=st.text(max_size=8), seed=st.integers(0, 5))
def test_random_attacks_are_distinct_in_name_and_never_the_true_name(
    label: int, key: str, seed: int
) -> None:
    recipe = make_recipe("visible", {"strategy": "random", "attacks_per_image": 2, "seed": seed})
    attacks = choose_attacks(recipe, random_map(), FEW, label, key)
    names = {FEW.names[a.label].casefold() for a in attacks} | {FEW.names[label].casefold()}
    assert len(names) == 3
    assert attacks == choose_attacks(recipe, random_map(), FEW, label, key)


def test_random_draws_differ_by_key_and_seed() -> None:
    recipe = make_recipe("visible", {"strategy": "random"})
    other = make_recipe("visible", {"strategy": "random", "seed": 1})
    drawn = {choose_attacks(recipe, random_map(), CLASSES, 0, f"k{i}")[0].label for i in range(50)}
    assert len(drawn) > 40
    first = choose_attacks(recipe, random_map(), CLASSES, 0, "k")[0]
    assert first != choose_attacks(other, random_map(), CLASSES, 0, "k")[0]


def test_map_file_ranks_attacks_and_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("wnid,attack_wnid\na,b\na,c\nb,a\nb,c\nc,a\nc,b\nd,a\nd,b\n")
    attack_map = read_map(path, FEW)
    recipe = make_recipe("visible", {"strategy": "map", "attacks_per_image": 2})
    assert [a.label for a in choose_attacks(recipe, attack_map, FEW, 0, "k")] == [1, 2]
    path.write_text(attack_map.to_csv(FEW))
    assert read_map(path, FEW) == attack_map


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wnid,attack_wnid\na,zebra\n", "line 2: 'zebra' is not in the class list"),
        ("wnid,attack_wnid\na,b\n", "has no row for b"),
        ("from,to\na,b\n", "columns wnid,attack_wnid"),
    ],
)
def test_bad_maps_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_map(tmp_path / "map.csv", FEW)


def test_paper_map_is_refused_for_other_classes() -> None:
    with pytest.raises(UsageError, match="use --strategy random or similar"):
        paper_map(FEW)


def test_more_attacks_than_names_are_refused() -> None:
    recipe = make_recipe("visible", {"strategy": "random", "attacks_per_image": 3})
    with pytest.raises(UsageError, match="the class list has 2"):
        check_enough_classes(recipe, random_map(), FEW)
    recipe = make_recipe("visible", {"attacks_per_image": 2})
    with pytest.raises(UsageError, match="one attack per class"):
        check_enough_classes(recipe, paper_map(CLASSES), CLASSES)


def test_similar_ranks_other_names_by_text_embedding(tiny_model: tuple[str, str]) -> None:
    targets = similar_map(load_model(*tiny_model), FEW, 3).targets
    for label, ranked in enumerate(targets):
        assert not any(FEW.same_name(label, other) for other in ranked)
    assert set(targets[0]) == {1, 2, 3}
    assert set(targets[2]) == {0, 1}


@settings(max_examples=50)
@given(label=st.integers(0, 999), key=st.text(max_size=6))
def test_nonsense_keeps_the_shape_and_names_nothing(label: int, key: str) -> None:
    name = CLASSES.names[label]
    word = nonsense_word(name, CLASSES, 0, key)
    assert len(word) == len(name)
    assert [c.isalpha() for c in word] == [c.isalpha() for c in name]
    assert [c.isupper() for c in word] == [c.isupper() for c in name]
    assert CLASSES.words.isdisjoint(word.casefold().split())

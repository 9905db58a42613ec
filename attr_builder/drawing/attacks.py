"""Which words are written on an image: the wrong class, and the controls' words."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from attr_builder.drawing.presets import Recipe
from attr_builder.drawing.seeding import Draw
from attr_builder.errors import UsageError
from attr_builder.labelled_images.classes import DATA, ClassList
from lesstext.clip import ClipModel, build_classifier, prompt_templates

_VOWELS = "aeiou"
_CONSONANTS = "bcdfghjklmnprstvwz"


@dataclass(frozen=True, slots=True)
class Attack:
    """One wrong class for one image, and the strategy that truly chose it."""

    label: int
    strategy: str
    is_noop: bool


@dataclass(frozen=True, slots=True)
class AttackMap:
    """For each label the attack labels, best first; empty where every class is drawn at random."""

    targets: tuple[tuple[int, ...], ...]

    def to_csv(self, classes: ClassList) -> str:
        """The map as the CSV that `--strategy map` reads."""
        lines = ["wnid,attack_wnid"]
        for label, targets in enumerate(self.targets):
            lines += [f"{classes.wnids[label]},{classes.wnids[target]}" for target in targets]
        return "\n".join(lines) + "\n"


def paper_map(classes: ClassList) -> AttackMap:
    """The authors' own map, by wnid; raises UsageError where `classes` does not hold it."""
    text = DATA.joinpath("paper_attack_classes.csv").read_text("utf-8")
    return _parse_map(text, "the paper's attack map", classes)


def read_map(path: Path, classes: ClassList) -> AttackMap:
    """A user's map: a CSV with the columns wnid,attack_wnid; several rows per class rank them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"attack map {path} cannot be read: {error}") from error
    return _parse_map(text, f"attack map {path}", classes)


def similar_map(model: ClipModel, classes: ClassList, n: int) -> AttackMap:
    """The `n` classes of another name whose text embeddings lie nearest, nearest first.

    Embeddings are those of the prompt "a photo of a NAME."; ties go to the lower label.
    """
    columns = build_classifier(model, classes.names, prompt_templates(1))
    cosines = (columns.T @ columns).cpu().numpy()
    targets = []
    for label in range(len(classes)):
        ranked = (-cosines[label]).argsort(kind="stable").tolist()
        others = [other for other in ranked if not classes.same_name(label, other)]
        targets.append(tuple(others[:n]))
    return AttackMap(tuple(targets))


def random_map() -> AttackMap:
    """No map: every image draws among all classes of another name."""
    return AttackMap(())


def default_map(recipe: Recipe, classes: ClassList) -> AttackMap:
    """The map of a strategy that needs nothing else; raises UsageError for the others."""
    if recipe.strategy == "random":
        return random_map()
    if recipe.strategy == "paper":
        return paper_map(classes)
    raise UsageError(f"the strategy {recipe.strategy} needs an attack_map")


def choose_attacks(
    recipe: Recipe, attack_map: AttackMap, classes: ClassList, label: int, key: str
) -> list[Attack]:
    """`recipe.attacks_per_image` distinct wrong classes for one image.

    The map's targets come first. No-ops among them are kept or replaced as the recipe says; what
    is missing is drawn at random from (seed, key), and marked as such.
    """
    chosen: list[Attack] = []
    for target in attack_map.targets[label] if attack_map.targets else ():
        noop = classes.same_name(label, target)
        if not noop or recipe.keep_noops:
            chosen.append(Attack(target, recipe.strategy, noop))
    chosen = chosen[: recipe.attacks_per_image]
    missing = recipe.attacks_per_image - len(chosen)
    if missing:
        used = {attack.label for attack in chosen}
        strategy = "random" if recipe.strategy == "random" else f"{recipe.strategy}, then random"
        drawn = _draw_labels(recipe.seed, classes, label, key, used, missing)
        chosen += [Attack(target, strategy, False) for target in drawn]
    return chosen


def check_enough_classes(recipe: Recipe, attack_map: AttackMap, classes: ClassList) -> None:
    """Raise UsageError where some class cannot get as many distinct attacks as asked for."""
    smallest = len({name.casefold().strip() for name in classes.names}) - 1
    if recipe.attacks_per_image > smallest:
        raise UsageError(
            f"{recipe.attacks_per_image} attacks per image need as many other names; "
            f"the class list has {smallest}"
        )
    if recipe.strategy == "paper" and recipe.attacks_per_image > 1:
        raise UsageError(
            "the paper has one attack per class; several attacks per image need --strategy "
            "random, similar or map"
        )
    for label, targets in enumerate(attack_map.targets):
        if recipe.strategy == "map" and len(targets) < recipe.attacks_per_image:
            raise UsageError(
                f"the attack map gives {classes.wnids[label]} ({classes.names[label]}) "
                f"{len(targets)} classes; {recipe.attacks_per_image} are asked for"
            )


def nonsense_word(text: str, classes: ClassList, seed: int, key: str) -> str:
    """A pronounceable word of `text`'s length, spaces, capitals and signs that names no class.

    Vowels are replaced by vowels and consonants by consonants, so that it looks alike.
    """
    draw = Draw(seed, key, "nonsense")
    for _ in range(1000):
        word = "".join(_replace(letter, draw) for letter in text)
        if classes.words.isdisjoint(word.casefold().split()):
            return word
    raise UsageError(f"no pseudo-word of the shape {text!r} avoids every class name")


def _replace(letter: str, draw: Draw) -> str:
    if not letter.isalpha():
        return letter
    pool = _VOWELS if letter.lower() in "aeiouy" else _CONSONANTS
    new = pool[draw.integer(len(pool))]
    return new.upper() if letter.isupper() else new


def _draw_labels(
    seed: int, classes: ClassList, label: int, key: str, used: set[int], n: int
) -> list[int]:
    draw = Draw(seed, key, "class")
    drawn: list[int] = []
    names = {classes.names[other].casefold() for other in used}
    while len(drawn) < n:
        candidate = draw.integer(len(classes))
        name = classes.names[candidate].casefold()
        if not classes.same_name(label, candidate) and name not in names:
            names.add(name)
            drawn.append(candidate)
    return drawn


def _parse_map(text: str, origin: str, classes: ClassList) -> AttackMap:
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not {"wnid", "attack_wnid"} <= set(rows[0]):
        raise UsageError(f"{origin}: needs a header with the columns wnid,attack_wnid")
    targets: list[list[int]] = [[] for _ in range(len(classes))]
    for number, row in enumerate(rows):
        label, target = classes.label_of(row["wnid"]), classes.label_of(row["attack_wnid"] or "")
        if label is None and origin.startswith("the paper"):
            continue
        if label is None or target is None:
            unknown = row["wnid"] if label is None else row["attack_wnid"]
            raise UsageError(
                f"{origin}, line {number + 2}: {unknown!r} is not in the class list "
                f"({len(classes)} classes); use --strategy random or similar, or another map"
            )
        targets[label].append(target)
    missing = [label for label, found in enumerate(targets) if not found]
    if missing:
        raise UsageError(
            f"{origin}: has no row for {classes.wnids[missing[0]]} ({len(missing)} classes lack "
            "one); use --strategy random or similar, or another map"
        )
    return AttackMap(tuple(tuple(found) for found in targets))

"""From one labelled image to its attacked twin and controls: what is written, and the pixels.

`build`, `verify` and `AttrTransform` all go through here, so they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from attr_builder.drawing.attacks import Attack, AttackMap, choose_attacks, nonsense_word
from attr_builder.drawing.fonts import resolve_font
from attr_builder.drawing.presets import Recipe, Variant
from attr_builder.drawing.render import Placement, draw_text
from attr_builder.drawing.seeding import Draw
from attr_builder.labelled_images.classes import ClassList

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Twin:
    """One image to make: which variant, which of the image's attacks it belongs to, what to write
    (None: nothing). Controls carry the first attack, the one that they are compared with."""

    variant: Variant
    attack_no: int
    attack: Attack
    text: str | None


@dataclass(frozen=True)
class Painter:
    """Everything that turns (image, label, key) into twins; picklable."""

    recipe: Recipe
    classes: ClassList
    attack_map: AttackMap

    def twins(self, label: int, key: str) -> list[Twin]:
        """What to make from one image: its attacks in order, then the controls."""
        attacks = choose_attacks(self.recipe, self.attack_map, self.classes, label, key)
        names = self.classes.names
        twins = [Twin("attacked", i, a, names[a.label]) for i, a in enumerate(attacks)]
        for control in self.recipe.controls:
            text = self._control_text(control, names[attacks[0].label], label, key)
            twins.append(Twin(control, 0, attacks[0], text))
        return twins

    def paint(
        self, image: Image.Image, twin: Twin, key: str, *, in_place: bool = False
    ) -> tuple[Image.Image, Placement | None]:
        """Draw one twin's text on a copy of an RGB image (on itself with `in_place`).

        Raises RowError where it cannot be drawn; the image is then untouched.
        """
        if twin.text is None:
            return image, None
        render = self.recipe.render
        draw = Draw(self.recipe.seed, key, f"place{twin.attack_no}")
        font = resolve_font(render.font)
        return draw_text(image, twin.text, font, render, draw, in_place=in_place)

    def _control_text(self, control: Variant, attack: str, label: int, key: str) -> str | None:
        if control == "none":
            return None
        if control == "correct":
            return self.classes.names[label]
        return nonsense_word(attack, self.classes, self.recipe.seed, key)

"""The attack as a transform, so that nobody has to store a second copy of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attr_builder.drawing.attacks import AttackMap, check_enough_classes, default_map
from attr_builder.drawing.painter import Painter
from attr_builder.drawing.presets import PRESETS, Recipe, Variant
from attr_builder.drawing.render import encode_image
from attr_builder.errors import UsageError
from attr_builder.labelled_images.classes import ClassList, imagenet_classes
from lesstext.images import open_image

if TYPE_CHECKING:
    from PIL import Image


class AttrTransform:
    """Attack one image: `transform(image, label, key)` returns the attacked RGB image.

    Draws exactly what `attr-builder build` stores for the same recipe, key and pixels; with
    `reencode` the JPEG round trip of the stored file is made too. `label` counts in `classes`.
    Picklable, without state, so it may run in any data-loader worker.

    >>> from PIL import Image
    >>> attacked = AttrTransform("visible")(Image.new("RGB", (320, 240)), 0, "n01440764/1")
    >>> attacked.size
    (320, 240)
    """

    def __init__(
        self,
        recipe: Recipe | str = "visible",
        *,
        classes: ClassList | None = None,
        attack_map: AttackMap | None = None,
        variant: Variant = "attacked",
        attack_no: int = 0,
        reencode: bool = True,
    ) -> None:
        if isinstance(recipe, str):
            if recipe not in PRESETS:
                raise UsageError(f"no preset {recipe!r}; there are {', '.join(PRESETS)}")
            recipe = PRESETS[recipe]
        if variant not in recipe.variants:
            raise UsageError(f"the recipe has no variant {variant!r}; add it to its controls")
        classes = classes or imagenet_classes()
        attack_map = attack_map or default_map(recipe, classes)
        check_enough_classes(recipe, attack_map, classes)
        self.painter = Painter(recipe, classes, attack_map)
        self.variant = variant
        self.attack_no = attack_no
        self.reencode = reencode

    def __call__(self, image: Image.Image, label: int, key: str) -> Image.Image:
        """The attacked twin; raises RowError where the text cannot be drawn."""
        wanted = (self.variant, self.attack_no)
        twins = self.painter.twins(label, key)
        twin = next(t for t in twins if (t.variant, t.attack_no) == wanted)
        painted, _ = self.painter.paint(image.convert("RGB"), twin, key)
        if not self.reencode:
            return painted
        return _decoded(encode_image(painted, self.painter.recipe.render))


def _decoded(data: bytes) -> Image.Image:
    with open_image(data) as image:
        return image.convert("RGB")

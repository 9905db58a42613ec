"""Names alone on plain ground: whoever classifies these can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from attr_builder.drawing.fonts import resolve_font
from attr_builder.drawing.presets import RenderOptions
from attr_builder.drawing.render import draw_text, encode_image
from attr_builder.drawing.seeding import Draw
from attr_builder.labelled_images.classes import ClassList
from attr_builder.labelled_images.sources import SourceItem

CARDS_PER_CLASS = 2
_SIDE_PX = 224
_GROUNDS = ("white", "black", "khaki", "steelblue", "lightgray", "darkred")
_STYLE = RenderOptions(
    placement="image", size="20%", min_size_ratio=0.03, stroke="never", box="never", encoding="png"
)


class Cards(Sequence[SourceItem]):
    """Each class's name on its own, as 224 px PNGs, drawn when asked for.

    In black or white, whichever contrasts, a fifth of the side high or as large as fits, at a
    place and on a ground that follow from the name: the same for every model.
    """

    def __init__(self, classes: ClassList, per_class: int = CARDS_PER_CLASS) -> None:
        self._classes, self._per_class = classes, per_class

    def __len__(self) -> int:
        return len(self._classes) * self._per_class

    def __getitem__(self, index: Any) -> Any:
        label, number = divmod(range(len(self))[index], self._per_class)
        name = self._classes.names[label]
        draw = Draw(0, f"{name}\0{number}", "card")
        ground = _GROUNDS[draw.integer(len(_GROUNDS))]
        canvas = Image.new("RGB", (_SIDE_PX, _SIDE_PX), ground)
        drawn, _ = draw_text(canvas, name, resolve_font(None), _STYLE, draw, in_place=True)
        return SourceItem(f"{name}-{number}", label, encode_image(drawn, _STYLE), name)

    @property
    def labels(self) -> list[int]:
        """The class of each card; costs no drawing."""
        return [index // self._per_class for index in range(len(self))]

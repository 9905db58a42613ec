"""How much of a box is left in the image, and in what a model sees of it."""

from __future__ import annotations

Box = tuple[int, int, int, int]
MODEL_PX = 224


def visible_in_image(box: Box, width: int, height: int) -> float:
    """Share of the box's area inside the image, in [0, 1]; 0 for an empty box.

    >>> visible_in_image((-10, 0, 10, 10), 100, 100)
    0.5
    """
    return _share(box, (0.0, 0.0, float(width), float(height)))


def visible_in_crop(box: Box, width: int, height: int, model_px: int = MODEL_PX) -> float:
    """Share of the box's area left after torchvision's Resize(model_px) + CenterCrop(model_px).

    >>> visible_in_crop((0, 0, 100, 50), 200, 100)
    0.5
    """
    return _share(box, crop_window(width, height, model_px))


def crop_window(
    width: int, height: int, model_px: int = MODEL_PX
) -> tuple[float, float, float, float]:
    """The window of Resize + CenterCrop in the image's own pixels, with torchvision's rounding.

    >>> crop_window(448, 224)
    (112.0, 0.0, 336.0, 224.0)
    """
    shorter, longer = min(width, height), max(width, height)
    resized_longer = int(model_px * longer / shorter)
    resized_w, resized_h = (
        (resized_longer, model_px) if width >= height else (model_px, resized_longer)
    )
    left, top = round((resized_w - model_px) / 2.0), round((resized_h - model_px) / 2.0)
    x_scale, y_scale = width / resized_w, height / resized_h
    return (
        left * x_scale,
        top * y_scale,
        (left + model_px) * x_scale,
        (top + model_px) * y_scale,
    )


def _share(box: Box, window: tuple[float, float, float, float]) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    if area <= 0:
        return 0.0
    width = min(box[2], window[2]) - max(box[0], window[0])
    height = min(box[3], window[3]) - max(box[1], window[1])
    return max(0.0, width) * max(0.0, height) / area

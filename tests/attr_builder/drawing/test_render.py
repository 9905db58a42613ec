"""Drawing: the paper's to the pixel; the visible one where models see it, and legible."""

from __future__ import annotations

import doctest
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms import v2

from attr_builder.drawing import contrast, fonts, presets, seeding, transform, visibility
from attr_builder.drawing.fonts import resolve_font
from attr_builder.drawing.presets import PAPER, VISIBLE, RenderOptions, make_recipe
from attr_builder.drawing.render import Placement, draw_text, encode_image, load_image
from attr_builder.drawing.seeding import Draw
from attr_builder.drawing.visibility import crop_window, visible_in_crop
from attr_builder.errors import RowError, UsageError
from attr_builder.labelled_images.classes import imagenet_classes
from tests.attr_builder.conftest import photo

FONT = resolve_font(None)
NAMES = imagenet_classes().names


def draw(
    image: Image.Image, text: str, options: RenderOptions = VISIBLE.render, key: str = "k"
) -> tuple[Image.Image, Placement]:
    return draw_text(image, text, FONT, options, Draw(0, key, "place0"))


def changed_box(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int]:
    """Bounds of the pixels that differ."""
    rows, columns = np.nonzero((np.asarray(before) != np.asarray(after)).any(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_doctests() -> None:
    for module in (contrast, fonts, presets, seeding, transform, visibility):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", ["tench", "Staffordshire Bull Terrier", "kite (bird of prey)"])
def test_paper_draws_what_pil_draws(name: str) -> None:
    image = photo(1, 300, 200)
    drawn, placement = draw(image, name, PAPER.render)
    expected = image.copy()
    font = ImageFont.truetype(FONT.path, 50, layout_engine=ImageFont.Layout.BASIC)
    pen = ImageDraw.Draw(expected)
    pen.text((50, 50), name, font=font, fill=(255, 0, 0))
    assert drawn.tobytes() == expected.tobytes()
    assert placement.box == pen.textbbox((50, 50), name, font=font)
    assert placement.surround == "image"


def test_paper_encodes_with_pils_default_settings() -> None:
    image = photo(1)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG")
    assert encode_image(image, PAPER.render) == buffer.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(64, 600),
    height=st.integers(64, 600),
    label=st.integers(0, 999),
    key=st.text(max_size=5),
)
def test_visible_text_lies_in_the_crop_and_contrasts(
    width: int, height: int, label: int, key: str
) -> None:
    image = photo(label, width, height)
    try:
        drawn, placement = draw(image, NAMES[label], key=key)
    except RowError as error:
        assert error.status == "text_does_not_fit" and min(width, height) < 120
        return
    assert placement.visible_in_crop == placement.visible_in_image == 1
    assert placement.contrast >= 4.5
    assert placement.font_px >= 0.06 * min(width, height)
    x0, y0, x1, y1 = changed_box(image, drawn)
    bx0, by0, bx1, by1 = placement.box
    assert bx0 <= x0 and by0 <= y0 and x1 <= bx1 and y1 <= by1


def test_place_varies_by_key_and_seed_and_is_else_the_same() -> None:
    image = photo(3, 400, 300)
    boxes = {draw(image, "tench", key=f"k{i}")[1].box for i in range(12)}
    assert len(boxes) == 12
    assert draw(image, "tench")[1] == draw(image, "tench")[1]
    other = draw_text(image, "tench", FONT, VISIBLE.render, Draw(1, "k", "place0"))[1]
    assert other.box != draw(image, "tench")[1].box


def test_long_names_wrap_before_they_shrink() -> None:
    _, wrapped = draw(photo(1, 300, 300), "Soft-coated Wheaten Terrier dog of Ireland")
    assert "\n" in wrapped.text and wrapped.font_px == 30
    _, shrunk = draw(photo(1, 300, 300), "Donaudampfschifffahrtskapitän")
    assert "\n" not in shrunk.text and 18 <= shrunk.font_px < 30


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (photo(1, 20, 20), "goldfish"),
        (photo(1, 200, 100), "x" * 400),
        (photo(1, 100, 90), "ab " * 300),
    ],
)
def test_text_that_cannot_fit_is_a_reason_not_a_crash(image: Image.Image, text: str) -> None:
    with pytest.raises(RowError, match="does not fit") as caught:
        draw(image, text)
    assert caught.value.status == "text_does_not_fit"
    drawn, placement = draw(image, text, PAPER.render)
    assert drawn.size == image.size
    assert placement.visible_in_image < 1


def test_paper_text_outside_a_tiny_image_is_measured_as_gone() -> None:
    image = photo(1, 20, 20)
    drawn, placement = draw(image, "tench", PAPER.render)
    assert drawn.tobytes() == image.tobytes()
    assert placement.visible_in_image == placement.visible_in_crop == 0
    assert np.isnan(placement.contrast)


def test_missing_glyphs_are_named() -> None:
    with pytest.raises(RowError, match=r"lacks 金 \(U\+91D1\) 魚 \(U\+9B5A\)"):
        draw(photo(1), "金魚 fish")


def test_bare_glyphs_then_stroke_then_box() -> None:
    flat = Image.new("RGB", (300, 300), (10, 20, 60))
    assert draw(flat, "tench")[1].surround == "image"
    halves = Image.fromarray(
        np.kron(np.indices((20, 20)).sum(axis=0) % 2, np.ones((15, 15))).astype(np.uint8) * 255
    ).convert("RGB")
    assert draw(halves, "tench")[1].surround == "stroke"
    pale = make_recipe("visible", None, {"color": "#ff0000", "stroke_color": "#ff8888"}).render
    drawn, placement = draw(halves, "tench", pale)
    assert placement.surround == "box"
    assert placement.surround_color == (0, 0, 0)
    assert placement.contrast == pytest.approx(5.25, abs=0.01)
    x0, y0 = placement.box[:2]
    assert drawn.getpixel((x0, y0)) == (0, 0, 0)


def test_a_stroke_too_thin_for_the_model_becomes_a_box() -> None:
    checks = (np.indices((900, 900)).sum(axis=0) // 9 % 2 * 255).astype(np.uint8)
    small = make_recipe("visible", None, {"size": "1%", "min_size_ratio": 0.01}).render
    assert draw(Image.fromarray(checks).convert("RGB"), "tench", small)[1].surround == "box"


def test_contrast_is_measured_on_the_pixels_beside_the_glyphs() -> None:
    image = Image.new("RGB", (400, 300), (0, 255, 0))
    red = make_recipe("paper").render
    _, placement = draw(image, "tench", red)
    expected = contrast.ratio(contrast.luminance((255, 0, 0)), contrast.luminance((0, 255, 0)))
    assert placement.contrast == pytest.approx(expected, abs=1e-4)
    assert placement.contrast_mean == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (333, 500), (500, 500), (64, 97)])
def test_crop_window_is_what_torchvision_shows(size: tuple[int, int]) -> None:
    width, height = size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ramp = Image.fromarray(x.astype(np.float32)), Image.fromarray(y.astype(np.float32))
    crop = v2.Compose([v2.Resize(224), v2.CenterCrop(224)])
    left, top, right, bottom = crop_window(width, height)
    scale = (right - left) / 224
    for image, low, high in ((ramp[0], left, right), (ramp[1], top, bottom)):
        seen = np.asarray(crop(image))
        assert seen.min() == pytest.approx(low + scale / 2, abs=max(1, scale))
        assert seen.max() == pytest.approx(high - scale / 2, abs=max(1, scale))
    assert visible_in_crop((0, 0, width, height), width, height) == pytest.approx(
        min(width, height) ** 2 / (width * height), rel=0.01
    )


def test_exif_is_applied_but_by_the_paper(tmp_path: Path) -> None:
    image = photo(1, 60, 40)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    data = (tmp_path / "a.jpg").read_bytes()
    assert load_image(data, exif=True).size == (40, 60)
    assert load_image(data, exif=False).size == (60, 40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placement": "left"}, "placement"),
        ({"size": "10"}, "size"),
        ({"color": "reddish"}, "no such colour"),
        ({"stroke": "maybe"}, "stroke"),
        ({"quality": 0}, "quality"),
        ({"min_contrast": 30.0}, "min_contrast"),
        ({"min_size_ratio": 0.0}, "min_size_ratio"),
    ],
)
def test_bad_options_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_recipe("visible", None, changes)


def test_bad_fonts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_bytes(b"no font")
    for path in (tmp_path / "font.ttf", tmp_path / "missing.ttf"):
        with pytest.raises(UsageError, match="cannot be read"):
            resolve_font(str(path))

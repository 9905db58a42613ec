"""Pictures for the documentation, drawn when it is built, from nothing but code."""

from __future__ import annotations

import cv2
import numpy as np

from lesstext.fills import FILLS, fill, region_mask
from lesstext.images import Pixels

_HEIGHT_PX, _WIDTH_PX, _GAP_PX = 180, 260, 8
_SIGNS = (("OPEN", (70, 78), 1.1, -8.0), ("fresh fish", (140, 152), 0.8, 4.0))


def fills_picture() -> bytes:
    """A PNG: a scene with two signs, the mask of their text, and each fill, three in a row."""
    scene = _scene()
    regions = [_write(scene, *sign) for sign in _SIGNS]
    mask = region_mask(regions, _WIDTH_PX, _HEIGHT_PX)
    shown = [
        ("image", scene),
        ("mask", np.where(mask[..., None], 255, scene // 3).astype(np.uint8)),
    ]
    shown += [(how, fill(scene, regions, how)) for how in FILLS]
    panels = [_titled(pixels, title) for title, pixels in shown]
    rows = [np.hstack(panels[start : start + 3]) for start in range(0, len(panels), 3)]
    encoded, data = cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))
    assert encoded
    return data.tobytes()


def _scene() -> Pixels:
    """Something like a street: sky, a wall of bricks, pavement, and the grain of a photo."""
    y, x = np.mgrid[:_HEIGHT_PX, :_WIDTH_PX].astype(np.float64)
    sky = np.stack([120 + y * 0.5, 160 + y * 0.4, 210 + y * 0.1], axis=2)
    bricks = ((y // 12) % 2 * 10 + x) % 24 < 2
    wall = np.where((bricks | (y % 12 < 2))[..., None], (190, 180, 165), (165, 95, 70))
    ground = np.stack([95 + x * 0.15, 95 + x * 0.12, 100 + x * 0.1], axis=2)
    scene = np.where((y < 40)[..., None], sky, np.where((y < 130)[..., None], wall, ground))
    grain = np.random.default_rng(0).normal(0, 5, scene.shape)
    return np.clip(scene + grain, 0, 255).astype(np.uint8)


def _write(
    scene: Pixels, text: str, centre: tuple[int, int], size: float, degrees: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Write a sign into the scene; returns the region of its text."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), base = cv2.getTextSize(text, font, size, 2)
    board = np.zeros((_HEIGHT_PX, _WIDTH_PX), dtype=np.uint8)
    start = (centre[0] - width // 2, centre[1] + height // 2)
    cv2.putText(board, text, start, font, size, 255, 2, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), degrees, 1.0)
    letters = cv2.warpAffine(board, turn, (_WIDTH_PX, _HEIGHT_PX))[..., None] / 255
    scene[:] = (scene * (1 - letters) + np.array([250, 245, 230]) * letters).astype(np.uint8)
    box = (centre, (width + 6, height + base + 4), -degrees)
    return np.asarray(cv2.boxPoints(box), dtype=np.float32)


def _titled(pixels: Pixels, title: str) -> Pixels:
    """A panel with its title below and a white margin."""
    panel = cv2.copyMakeBorder(
        pixels, _GAP_PX, 24, _GAP_PX, _GAP_PX, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    place = (_GAP_PX, _HEIGHT_PX + _GAP_PX + 17)
    cv2.putText(panel, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    return np.asarray(panel, dtype=np.uint8)

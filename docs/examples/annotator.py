"""How sharp each image is: once it is installed, `lesstext annotate sharpness` measures it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import cv2
import pyarrow as pa

from lesstext.annotators.base import Annotator
from lesstext.dataclass_options import Flag
from lesstext.shards.samples import OpenSample


@dataclass(frozen=True, kw_only=True)
class Sharpness(Annotator):
    """Measure how sharp each image is: the variance of its Laplacian, in squared gray levels."""

    name: ClassVar[str] = "sharpness"

    aperture: Annotated[int, Flag("Size of the Laplacian's kernel in px, odd.")] = 1

    @property
    def columns(self) -> Sequence[tuple[str, pa.DataType]]:
        return [("sharpness", pa.float32())]

    def describe(self, sample: OpenSample, inputs: Mapping[str, Any]) -> dict[str, Any]:
        assert sample.image is not None
        gray = cv2.cvtColor(sample.image.pixels, cv2.COLOR_RGB2GRAY)
        return {"sharpness": float(cv2.Laplacian(gray, cv2.CV_64F, ksize=self.aperture).var())}

"""All fuzz targets by name. A new one is one function in a module of its own, and one line here."""

from __future__ import annotations

from tests.fuzz.case import Target
from tests.fuzz.images import fuzz_images
from tests.fuzz.specs import fuzz_specs
from tests.fuzz.tars import fuzz_tars

TARGETS: dict[str, Target] = {
    "images": fuzz_images,
    "specs": fuzz_specs,
    "tars": fuzz_tars,
}

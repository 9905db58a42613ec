"""All fuzz targets by name. A new one is one function in a module of its own, and one line here."""

from __future__ import annotations

from tests.fuzz.case import Target
from tests.fuzz.configs import fuzz_toml
from tests.fuzz.images import fuzz_images
from tests.fuzz.rules import fuzz_where
from tests.fuzz.specs import fuzz_specs
from tests.fuzz.stored import fuzz_selections, fuzz_settings, fuzz_tables
from tests.fuzz.tars import fuzz_tars

TARGETS: dict[str, Target] = {
    "images": fuzz_images,
    "selections": fuzz_selections,
    "settings": fuzz_settings,
    "specs": fuzz_specs,
    "tables": fuzz_tables,
    "tars": fuzz_tars,
    "toml": fuzz_toml,
    "where": fuzz_where,
}

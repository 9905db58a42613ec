"""Score, select and filter WebDataset shards by the share of each image that is text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lesstext.annotators.base import Annotator
    from lesstext.annotators.text_area import TextArea
    from lesstext.clip import ClipModel, load_model
    from lesstext.engines.whole_run import RunSummary
    from lesstext.errors import (
        AnnotatorError,
        DetectorError,
        ImageError,
        LesstextError,
        MissingFileError,
        ShardError,
        StorageError,
        TableError,
        UsageError,
    )
    from lesstext.export.whole_run import ExportSummary
    from lesstext.fills import fill, region_mask
    from lesstext.geometry import AreaRatios, area_ratios
    from lesstext.images import DecodedImage, decode
    from lesstext.report.page import write_report
    from lesstext.shards.opening import open_samples
    from lesstext.shards.samples import OpenSample
    from lesstext.shards.specs import ShardSource, expand_specs
    from lesstext.shards.tar_reading import ShardIndex, index_shard
    from lesstext.storage.paths import location
    from lesstext.tables.folder import read_tables
    from lesstext.tables.rule import Rule
    from lesstext.tables.selection import Counts, Selection, read_selection
    from lesstext.text_detection.protocol import (
        Detector,
        DetectorSettings,
        TextRegions,
        load_detector,
    )
    from lesstext.verbs import annotate, export_shards, score, select

__version__ = "0.1.0"

__all__ = [
    "Annotator",
    "AnnotatorError",
    "AreaRatios",
    "ClipModel",
    "Counts",
    "DecodedImage",
    "Detector",
    "DetectorError",
    "DetectorSettings",
    "ExportSummary",
    "ImageError",
    "LesstextError",
    "MissingFileError",
    "OpenSample",
    "Rule",
    "RunSummary",
    "Selection",
    "ShardError",
    "ShardIndex",
    "ShardSource",
    "StorageError",
    "TableError",
    "TextArea",
    "TextRegions",
    "UsageError",
    "__version__",
    "annotate",
    "area_ratios",
    "decode",
    "expand_specs",
    "export_shards",
    "fill",
    "index_shard",
    "load_detector",
    "load_model",
    "location",
    "open_samples",
    "read_selection",
    "read_tables",
    "region_mask",
    "score",
    "select",
    "write_report",
]


def lazily(
    package: str, holds: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package; `holds` maps modules to names, split by spaces.

    A module is imported when one of its names is first asked for; the name then stays in place.
    """
    homes = {name: module for module, names in holds.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names


__getattr__, __dir__ = lazily(
    __name__,
    {
        "lesstext.annotators.base": "Annotator",
        "lesstext.annotators.text_area": "TextArea",
        "lesstext.clip": "ClipModel load_model",
        "lesstext.engines.whole_run": "RunSummary",
        "lesstext.errors": "AnnotatorError DetectorError ImageError LesstextError "
        "MissingFileError ShardError StorageError TableError UsageError",
        "lesstext.export.whole_run": "ExportSummary",
        "lesstext.fills": "fill region_mask",
        "lesstext.geometry": "AreaRatios area_ratios",
        "lesstext.images": "DecodedImage decode",
        "lesstext.report.page": "write_report",
        "lesstext.shards.opening": "open_samples",
        "lesstext.shards.samples": "OpenSample",
        "lesstext.shards.specs": "ShardSource expand_specs",
        "lesstext.shards.tar_reading": "ShardIndex index_shard",
        "lesstext.storage.paths": "location",
        "lesstext.tables.folder": "read_tables",
        "lesstext.tables.rule": "Rule",
        "lesstext.tables.selection": "Counts Selection read_selection",
        "lesstext.text_detection.protocol": "Detector DetectorSettings TextRegions load_detector",
        "lesstext.verbs": "annotate export_shards score select",
    },
)

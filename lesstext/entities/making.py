"""`lesstext entities kb`: a knowledge base from a source of any known format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from lesstext.dataclass_options import Flag, check_choices
from lesstext.entities.converters import oewn, wikidata
from lesstext.entities.converters.rows import RowsSource
from lesstext.entities.kb_writing import write_kb
from lesstext.entities.knowledge_base import Entity, Origin
from lesstext.errors import UsageError
from lesstext.storage.guard import refuse_overlap
from lesstext.storage.paths import Location
from lesstext.storage.scratch import scratch_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class KbConfig:
    """What `lesstext entities kb` was asked for."""

    source: str
    out: Location
    format: Annotated[
        Literal["oewn", "wikidata", "table"],
        Flag("oewn: WordNet's YAML sources; wikidata: the JSON dump; table: csv or parquet."),
    ]
    version: Annotated[str | None, Flag("What the footer says of the source's edition.")] = None
    language: Annotated[
        tuple[str, ...], Flag("wikidata: languages of names, in order of preference. [en, mul]")
    ] = ()
    root: Annotated[
        tuple[str, ...], Flag("wikidata: classes of depictable things, instead of ours.")
    ] = ()
    min_sitelinks: Annotated[int, Flag("wikidata: only items that so many sites link to.")] = 0
    only_depictable: Annotated[bool, Flag("wikidata: only items that a photo can show.")] = False
    workers: Annotated[int | None, Flag("Processes that parse. [cores]")] = None

    def __post_init__(self) -> None:
        check_choices(self)
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers must be at least 1, got {self.workers}")
        given = (self.language, self.root, self.min_sitelinks, self.only_depictable)
        if self.format != "wikidata" and any(given):
            raise UsageError(
                "--language, --root, --min-sitelinks and --only-depictable go with "
                "--format wikidata"
            )


def make_kb(config: KbConfig, on_progress: Callable[[int], None] | None = None) -> Origin:
    """Write the knowledge base and return what its footer says; `on_progress` hears of lines read.

    Raises UsageError for a source that cannot be used.
    """
    refuse_overlap(config.out, [config.source])
    if config.format == "wikidata":
        return _from_wikidata(config, on_progress)
    path = _local(config.source)
    if config.format == "oewn":
        source = oewn.OewnSource(path)
        entities = source.entities(config.workers)
        return _write(config, entities, source.counts, oewn.NOTICE, version=lambda: source.version)
    rows = RowsSource(path)
    return _write(config, rows.entities(), rows.counts, "", version="")


def _from_wikidata(config: KbConfig, on_progress: Callable[[int], None] | None) -> Origin:
    source = wikidata.WikidataSource(
        place=config.source,
        languages=config.language or ("en", "mul"),
        roots=config.root or tuple(wikidata.ROOTS),
        min_sitelinks=config.min_sitelinks,
        only_depictable=config.only_depictable,
        n_workers=config.workers,
        on_progress=on_progress,
    )
    with scratch_folder() as scratch:
        return _write(
            config,
            source.entities(scratch),
            source.counts,
            wikidata.NOTICE,
            version="",
            keep_first=True,
        )


def _write(
    config: KbConfig, entities: Iterable[Entity], counts: Any, notice: str, **how: Any
) -> Origin:
    if config.version is not None:
        how["version"] = config.version
    return write_kb(
        entities,
        config.out,
        format=config.format,
        source=config.source.rpartition("/")[2],
        counts=counts,
        notice=notice,
        **how,
    )


def _local(source: str) -> Path:
    if "://" in source:
        raise UsageError(f"{source}: only --format wikidata reads URLs")
    path = Path(source)
    if not path.exists():
        raise UsageError(f"{source}: there is no such file or folder")
    return path

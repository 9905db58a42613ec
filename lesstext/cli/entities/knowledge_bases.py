"""`lesstext entities kb` and `show`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from lesstext.console import say
from lesstext.dataclass_options import build, with_options
from lesstext.entities.knowledge_base import Entity, open_kb, weight_of
from lesstext.entities.making import KbConfig, make_kb
from lesstext.errors import UsageError
from lesstext.storage.paths import location

_BUILT_IN = "wordnet"
_SAY_EVERY = 1_000_000


def kb_command() -> Callable[..., None]:
    """The command with the flags of `KbConfig`."""
    return with_options(KbConfig, leave_out=("source", "out"))(_kb)


def _kb(
    source: Annotated[str, typer.Argument(help="File, folder or URL; see --format.")],
    out: Annotated[str, typer.Option(help="Knowledge base to write (parquet).")],
    **values: Any,
) -> None:
    config = build(KbConfig, values, source=source, out=location(out))
    origin = make_kb(config, _teller())
    print(f"{config.out}: {origin.n_entities} entities, digest {origin.digest}")
    for word, number in sorted(origin.counts.items()):
        print(f"  {word}: {number}")


def _teller() -> Callable[[int], None]:
    said = 0

    def tell(n_lines: int) -> None:
        nonlocal said
        if n_lines >= said + _SAY_EVERY:
            said = n_lines
            say(f"lesstext: {n_lines} lines read")

    return tell


def show_command() -> Callable[..., None]:
    """The command that prints the entities of a name."""
    return _show


def _show(
    kb: Annotated[str, typer.Argument(help="Knowledge base; `wordnet`: the built-in one.")],
    name: Annotated[str, typer.Argument(help="A name or alias, or an entity's id.")],
    limit: Annotated[int, typer.Option(help="Entities at most.")] = 20,
) -> None:
    base = open_kb(None if kb == _BUILT_IN else location(kb))
    by_id = base.entity(name)
    found = [by_id] if by_id is not None else base.named(name)
    if not found:
        raise UsageError(f"{base.location} knows nothing by the name {name!r}")
    for entity in found[:limit]:
        _print(entity, name)
    if len(found) > limit:
        print(f"and {len(found) - limit} more")
    if base.origin.notice:
        print(base.origin.notice)


def _print(entity: Entity, name: str) -> None:
    weight = weight_of(entity, name)
    shown = "depictable" if entity.depictable else "not depictable"
    print(f"{entity.entity_id}  {entity.name}  ({shown}, weight {weight or entity.prior:.3g})")
    for word, value in (
        ("", entity.description),
        ("also: ", ", ".join(alias for alias in entity.aliases if alias != entity.name)),
        ("types: ", ", ".join(entity.types)),
        ("links: ", ", ".join(entity.links)),
    ):
        if value:
            print(f"  {word}{value}")

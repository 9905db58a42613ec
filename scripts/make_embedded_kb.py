"""Make the knowledge base that travels in the wheel, from Open English WordNet's sources.

    python scripts/make_embedded_kb.py $LESSTEXT_DATA/oewn/english-wordnet-src.tar.xz

It holds the physical things. An alias that most often means something else is left out, and so are
the shares of meanings that are no physical things: weights of one alias sum to less than 1 then.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from lesstext.entities.converters.oewn import NOTICE, OewnSource
from lesstext.entities.kb_writing import write_kb
from lesstext.entities.knowledge_base import EMBEDDED, Entity


def physical(entities: Iterable[Entity]) -> Iterator[Entity]:
    """The depictable entities, with the aliases that most often mean something depictable."""
    every = list(entities)
    first: dict[str, tuple[float, bool]] = {}
    for entity in every:
        for alias, weight in _weighted(entity):
            first[alias] = max(first.get(alias, (0.0, False)), (weight, entity.depictable))
    for entity in every:
        if entity.depictable:
            kept = [(alias, weight) for alias, weight in _weighted(entity) if first[alias][1]]
            yield replace(
                entity,
                aliases=[alias for alias, _ in kept],
                alias_weights=[round(weight, 3) for _, weight in kept],
                prior=round(entity.prior, 3),
                types=entity.types[:5],
            )


def _weighted(entity: Entity) -> list[tuple[str, float]]:
    return list(zip(entity.aliases, entity.alias_weights or (), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=EMBEDDED)
    args = parser.parse_args()
    source = OewnSource(args.source)
    origin = write_kb(
        physical(source.entities()),
        args.out,
        format="oewn",
        source=args.source.name,
        version=lambda: source.version,
        counts=source.counts,
        notice=NOTICE,
    )
    print(f"{args.out}: {origin.n_entities} entities, {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()

"""A shard's name: its path below a root, without `.tar`. One rule, however the path was typed.

Compressed tars and parquet lose their suffix likewise; runs of a folder's images are numbered.

The root is what stands before `/./` in a spec, as rsync's `--relative` has it; without that mark
it is the folder that was given, or the folder part before the first wildcard, or the folder of the
file. So `in/`, `in/*/*.tar` and `in/./a/` name one file `a/00000`, and `in/a/` names it `00000`.
Paths are compared as paths: `in//a`, `./in/a/` and `/data/in/b/../a` are one folder.

Tables that were made below another root are still found: a shard that nothing is known of under its
own name goes by the one known name that ends its path (`known_as`), and its fingerprint is compared
as always.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from lesstext.errors import UsageError
from lesstext.shards.sources.kinds import SHARD_SUFFIX, SOURCE_SUFFIXES, stem_of
from lesstext.shards.tar_walk import spelled

MAX_SHARDS = 1_000_000
WILDCARD = re.compile(r"[*?\[{]")
URL = re.compile(r"^[a-z][a-z0-9+.-]*://")
PIPE = "pipe:"
_ROOT_MARK = "/./"
_BRACES = re.compile(r"\{\d+\.\.\d+\}|\{[^{}]*,[^{}]*\}")
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?\}")
_INNERMOST = re.compile(r"\{([^{}]*)\}")
_COUNTED = re.compile(r"\0(\d+)\0")
_MAX_NESTED = 100


@dataclass(frozen=True, slots=True, order=True)
class ShardSource:
    """A shard's name (path below its input root, without `.tar`) and where its bytes are.

    `files` are those of a folder of images that make up the shard; `location` is the folder then.
    """

    name: str
    location: str
    files: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def is_tar(self) -> bool:
        """Whether it is a plain tar by its name, so that offsets into it can be used."""
        path = self.location.partition("?")[0]
        is_other = path.endswith(SOURCE_SUFFIXES) and not path.endswith(SHARD_SUFFIX)
        return not self.files and not is_other

    @property
    def is_local(self) -> bool:
        return not self.is_url and not self.location.startswith(PIPE)

    @property
    def is_url(self) -> bool:
        return bool(URL.match(self.location))

    @property
    def place(self) -> str:
        """Where its bytes are, as every working folder says it."""
        return os.path.abspath(self.location) if self.is_local else self.location


def known_as(sources: Sequence[ShardSource], known: Collection[str]) -> list[ShardSource]:
    """The same shards under the names by which tables or a selection know them.

    A shard keeps its own name where that is known, where no known name ends its path, and where
    two shards would get one name.

    >>> typed = [ShardSource("a/00", "in/a/00.tar"), ShardSource("b/01", "in/b/01.tar")]
    >>> [source.name for source in known_as(typed, {"00", "01/b"})]
    ['00', 'b/01']
    """
    names = [
        source.name if source.name in known else _known_end(source, known) for source in sources
    ]
    n_claims = Counter(names)
    return [
        source if n_claims[name] > 1 else replace(source, name=name)
        for source, name in zip(sources, names, strict=True)
    ]


def split_root(spec: str) -> tuple[str | None, str]:
    """The root that a spec marks by `/./`, if any, and the spec without the mark.

    >>> split_root("in/./a/*.tar"), split_root("./in/*.tar")
    (('in', 'in/a/*.tar'), (None, './in/*.tar'))
    """
    scheme, separator, rest = spec.rpartition("://")
    root, mark, below = rest.partition(_ROOT_MARK)
    if not mark:
        return None, spec
    if WILDCARD.search(root):
        raise UsageError(f"{spec!r}: a wildcard stands before the root's mark {_ROOT_MARK!r}")
    root = f"{scheme}{separator}{root or '/'}"
    return root, posixpath.join(root, below.replace(_ROOT_MARK, "/").lstrip("/"))


def local_name(root: str, path: str) -> str:
    """The name of a local file below a root folder; raises UsageError where it has none."""
    below = os.path.relpath(path, root or ".")
    return _checked(stem_of(below).replace(os.sep, "/"), path)


def remote_name(root: str, path: str) -> str:
    """The name of an object below a root, without a query; raises UsageError where it has none."""
    prefix = f"{root.rstrip('/')}/"
    below = path[len(prefix) :] if root and path.startswith(prefix) else path
    return _checked(stem_of(below.partition("?")[0].strip("/")), path)


def run_name(root: str | None, folder: str, number: int) -> str:
    """The name of a run of a folder's images: the folder's below a root, else its own, numbered."""
    name = os.path.relpath(folder, root or os.path.join(folder, os.pardir)).replace(os.sep, "/")
    if name == ".":  # the root of the disk is its own parent
        name = os.path.basename(os.path.abspath(folder)) or "images"
    return _checked(f"{name}-{number:05d}", folder)


def is_hidden(path: str) -> bool:
    """Whether a part of a relative path begins with a dot, as macOS's `._x.tar` does."""
    return any(part.startswith(".") for part in path.split("/"))


def expand_braces(spec: str) -> list[str]:
    """The paths that `{a,b}` and `{00..41}` stand for; one path where there are none."""
    import braceexpand

    if not _BRACES.search(spec):
        return [spec]
    try:
        if _n_expanded(spec) > MAX_SHARDS:
            raise UsageError(f"{spec!r} stands for more than {MAX_SHARDS:,} shards")
        return list(braceexpand.braceexpand(spec))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{spec!r}: its braces cannot be read ({error})") from error


def refuse_name_clashes(sources: Sequence[ShardSource]) -> None:
    """Raise UsageError for two inputs that yield one name."""
    seen: dict[str, str] = {}
    for source in sources:
        if source.name in seen:
            other = seen[source.name]
            raise UsageError(
                f"two inputs yield the shard name {source.name!r}: {other} and "
                f"{source.location}; give a folder above both, mark it as the root of each "
                "(data/./a data/./b), or use separate outputs"
            )
        seen[source.name] = source.location


def _known_end(source: ShardSource, known: Collection[str]) -> str:
    """The longest known name that ends the shard's path; its own name where there is none."""
    whole = source.location if source.is_url else os.path.abspath(source.location)
    if source.files:
        whole = posixpath.join(posixpath.dirname(whole), posixpath.basename(source.name))
    parts = stem_of(whole.partition("?")[0]).split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in map(spelled, ends) if end in known), source.name)


def _checked(name: str, path: str) -> str:
    if not name or is_hidden(name):
        raise UsageError(
            f"{path!r} cannot be a shard: the name {name!r} leaves its root, or is hidden, which "
            "tables are never found under"
        )
    return spelled(name)


def _n_expanded(spec: str) -> int:
    """How many paths the braces of a spec stand for, at most MAX_SHARDS + 1; expands nothing."""
    counts: list[int] = []

    def product(text: str) -> int:
        total = 1
        for number in _COUNTED.findall(text):
            total = min(total * counts[int(number)], MAX_SHARDS + 1)
        return total

    def count(group: re.Match[str]) -> str:
        ends = _RANGE.fullmatch(group[0])
        n = sum(map(product, group[1].split(",")))
        if ends is not None:
            n = abs(int(ends[2]) - int(ends[1])) + 1
        counts.append(min(n, MAX_SHARDS + 1))
        return f"\0{len(counts) - 1}\0"

    for _ in range(_MAX_NESTED):
        spec, n_found = _INNERMOST.subn(count, spec)
        if not n_found:
            return product(spec)
    return MAX_SHARDS + 1

"""Keys out of names that were not meant for tars: no two alike, and each can be turned back.

A key ends at the first dot of a member's file name, so dots are written `%2E` there, as in URLs,
and `%` itself `%25`. Of several images that differ in their suffix alone, each key ends in `%` and
its suffix. Nothing else is changed: nearly every key is the path without its suffix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import unquote


def key_of(name: str) -> str:
    r"""The key for a name, a path of any depth without its suffix; "" for an empty name.

    >>> key_of("a.b/c.d"), key_of("100%"), key_of("__x__")
    ('a.b/c%2Ed', '100%25', '%5F_x__')
    >>> key_of("../a\0"), key_of("/b/")
    ('%2E%2E%2Fa%00', '%2Fb%2F')
    """
    name = name.replace("%", "%25").replace("\0", "%00")
    folder, slash, base = name.rpartition("/")
    if any(part in ("", ".", "..") for part in name.split("/")):  # it would leave its folder
        folder, slash, base = "", "", name.replace("/", "%2F")
    if base.startswith("__") and base.endswith("__"):
        base = f"%5F{base[1:]}"
    return folder + slash + base.replace(".", "%2E")


def keys_of_files(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each path with its key, in order.

    >>> list(keys_of_files(["a/b.jpg", "a/c.jpg", "a/c.PNG"]))
    [('a/b.jpg', 'a/b'), ('a/c.jpg', 'a/c%jpg'), ('a/c.PNG', 'a/c%PNG')]
    """
    paths = list(paths)
    n_alike = Counter(path.rpartition(".")[0] for path in paths)
    for path in paths:
        stem, _, suffix = path.rpartition(".")
        yield path, key_of(stem) + (f"%{suffix}" if n_alike[stem] > 1 else "")


def file_of(key: str) -> str:
    """The path that a key of an image folder stands for, without the suffix where that was alone.

    >>> file_of("a.b/c%2Ed"), file_of("a/c%PNG"), file_of("100%25")
    ('a.b/c.d', 'a/c.PNG', '100%')
    """
    stem, percent, suffix = key.rpartition("%")
    if percent and suffix.isalpha() and not _is_hex(suffix[:2]):
        return f"{unquote(stem)}.{suffix}"
    return unquote(key)


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdefABCDEF" for letter in text)

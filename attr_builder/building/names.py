"""Names of the images of a set: one for each source image, on every file system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_MAX_BYTES = 200  # of 255: `__a12`, a suffix and the affixes of a temporary file come around it
_N_DIGITS = (12, 32, 64)
# What some file system, `FILE:KEY` in the manifest, or a listing without hidden files cannot hold.
_ODD = re.compile(r"""^\.|[\x00-\x1f\x7f\\:*?"<>|\ud800-\udfff]""")


def output_stems(keys: Sequence[str], labels: Sequence[int], wnids: Sequence[str]) -> list[str]:
    """`WNID/STEM` for each key, in order, no two of which differ in case or Unicode form alone.

    STEM is the key below its class, `/` as `__`. Where that is too long, cannot be a file's name
    or would be another image's, a digest of the key is appended, to all that share the name.
    """
    where = [wnids[label] for label in labels]
    stems = [
        key.removeprefix(f"{w}/").replace("/", "__") for key, w in zip(keys, where, strict=True)
    ]
    names = [
        f"{wnid}/{stem if _is_plain(stem) else _marked(stem, key, _N_DIGITS[0])}"
        for key, stem, wnid in zip(keys, stems, where, strict=True)
    ]
    for n_digits in _N_DIGITS:
        folded = [_folded(name) for name in names]
        count = Counter(folded)
        if len(count) == len(names):
            break
        for i, name in enumerate(folded):
            if count[name] > 1:
                names[i] = f"{where[i]}/{_marked(stems[i], keys[i], n_digits)}"
    return names


def _is_plain(stem: str) -> bool:
    return bool(stem) and _ODD.search(stem) is None and len(stem.encode()) <= _MAX_BYTES


def _marked(stem: str, key: str, n_digits: int) -> str:
    """The stem, shortened and without odd characters, and a digest of the whole key."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:n_digits]
    room = _MAX_BYTES - n_digits - 1
    start = _ODD.sub("_", stem).encode()[:room].decode("utf-8", "ignore")
    return f"{start}~{digest}"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())

"""Where the files of an open_clip model are: named, checked, fetched, recognised by their bytes."""

from __future__ import annotations

import hashlib
import logging
import pickle
import socket
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from lesstext.errors import UsageError

CONFIG_FILE = "open_clip_config.json"
# Where a run of train-clip keeps its model: `local-dir:RUN` means this folder in it.
RUN_FOLDER = "open_clip"
LOCAL = "local-dir:"
_STORED = (LOCAL, "hf-hub:")
# What torch, safetensors and open_clip raise on files that hold no such weights, on configs of no
# such model, and on devices that are not there.
_LOAD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
)
_MAX_REASON = 300


@contextmanager
def fetching(name: str, pretrained: str | None) -> Iterator[None]:
    """Raise UsageError, in one line, where a model's files cannot be fetched or loaded."""
    from safetensors import SafetensorError

    what = name if pretrained is None else f"{name} with {pretrained!r}"
    unreachable = None if _is_here(name, pretrained) else _unreachable_hub()
    try:
        with _fetching_quietly(cached_only=unreachable is not None):
            yield
    except (*_LOAD_ERRORS, SafetensorError) as error:
        if unreachable is not None:
            reason = f"{unreachable} cannot be reached, and its files are not all in the cache"
            raise UsageError(f"{what} cannot be fetched: {reason}") from error
        raise UsageError(f"{what} cannot be loaded: {_reason(error)}") from error


def known_name(name: str, pretrained: str | None) -> str:
    """The name by which open_clip finds the model, with its weights checked as far as is cheap."""
    import open_clip

    if name.startswith(_STORED):
        return _stored_name(name)
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise UsageError(f"no such model config: {name}")
        open_clip.add_model_config(name)
        name = Path(name).stem
    if name not in open_clip.list_models():
        close = [m for m in open_clip.list_models() if m.lower()[:5] == name.lower()[:5]]
        raise UsageError(f"open_clip knows no model {name!r}; near: {', '.join(close) or 'none'}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        raise UsageError(f"name the weights of {name}: --pretrained FILE or {', '.join(tags)}")
    if pretrained not in tags and not Path(pretrained).is_file():
        raise UsageError(
            f"{pretrained!r} is neither a file nor a tag of {name}; its tags: {', '.join(tags)}"
        )
    return name


def _stored_name(name: str) -> str:
    """The folder of a run's model where a run is named; any other name as it is."""
    folder = Path(name.removeprefix(LOCAL))
    if not name.startswith(LOCAL) or (folder / CONFIG_FILE).is_file():
        return name
    return f"{LOCAL}{folder / RUN_FOLDER}" if (folder / RUN_FOLDER).is_dir() else name


def stored_digest(name: str, pretrained: str | None = None) -> str:
    """BLAKE2, as hex, of the files that `load_model` would read, without loading them.

    Weights that are named by a tag, or lie on a hub, are fetched for it. Raises UsageError as
    `load_model` does.
    """
    digest = hashlib.blake2b(digest_size=8)
    with fetching(name, pretrained):
        for path in _stored_files(name, pretrained):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def _stored_files(name: str, pretrained: str | None) -> list[Path]:
    if name.startswith(LOCAL):
        folder = Path(_stored_name(name).removeprefix(LOCAL))
        if not (folder / CONFIG_FILE).is_file():
            raise UsageError(f"{folder} holds no model: there is no {CONFIG_FILE}")
        return sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != ".")
    from open_clip import pretrained as weights

    if name.startswith(_STORED):
        return [Path(weights.download_pretrained_from_hf(name.partition(":")[2]))]
    known = known_name(name, pretrained)
    config = [Path(name)] if name.endswith(".json") else []
    if pretrained is not None and Path(pretrained).is_file():
        return [*config, Path(pretrained)]
    return [Path(weights.download_pretrained(weights.get_pretrained_cfg(known, pretrained)))]


def _is_here(name: str, pretrained: str | None) -> bool:
    """Whether a model is all in files that the caller names, so that nothing is fetched."""
    return name.startswith(LOCAL) or (pretrained is not None and Path(pretrained).is_file())


def _unreachable_hub() -> str | None:
    """The host of Hugging Face's hub where no proxy is set and its name leads nowhere."""
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT
    if getproxies().keys() & {"http", "https", "all"}:
        return None
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return host
    return None


@contextmanager
def _fetching_quietly(*, cached_only: bool) -> Iterator[None]:
    """Keep huggingface_hub's warnings about retries to itself; with `cached_only`, let it not try.

    Offline it would try five times for each of several names of a file, half a minute long.
    """
    from huggingface_hub import constants

    log, was_offline = logging.getLogger("huggingface_hub"), constants.HF_HUB_OFFLINE
    level = log.level
    log.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = was_offline or cached_only
    try:
        yield
    finally:
        log.setLevel(level)
        constants.HF_HUB_OFFLINE = was_offline


def _reason(error: Exception) -> str:
    """In one line; torch's own words advise to load what it refused, running what is inside."""
    if isinstance(error, pickle.UnpicklingError):
        return "the file is damaged, or holds other things than weights"
    text = " ".join(str(error).split()) or repr(error)
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}…"

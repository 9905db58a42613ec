"""Target `specs`: whatever is typed comes to shards of the data, or to an error, and to an end."""

from __future__ import annotations

import os
import random
from pathlib import Path

from lesstext.errors import UsageError
from lesstext.shards.names import is_hidden, known_as
from lesstext.shards.specs import expand_specs, input_places
from lesstext.storage.guard import refuse_overlap
from tests.fuzz.case import Case, check


def _words(text: str) -> list[str]:
    return text.split()


_FILES = _words(
    "00.tar 01.tar a/00.tar a/b/00.tar a/[x].tar a/{x,y}.tar ü.tar ._h.tar .h/00.tar c,d/01.tar "
    f"a/note.txt .tar a/x.tar.tar {'n' * 200}.tar"
)
_HEADS = _words("in in/ ./in in/a in//a in/./a in/../in in/loop in/* in/** in/[ac]* in/{a,b}")
_TAILS = _words(
    "*.tar 0?.tar {00..01}.tar {00,01}.tar 00.tar b/00.tar **/*.tar **/** [!x].tar x.tar.tar "
    "{a,{00,x}}.tar 00.tar::in/01.tar [[]x].tar ./00.tar ./b"
)
_ODD = [
    *_words("a b * ** ? [0-9] [ ] {a,b } {0..20000000} {0..99999999999999999999} {1..3..0} .. . ~"),
    *_words("~nobody-here @list @self @pipe @/dev/zero @in :: : pipe:echo memory://x file:// ://"),
    *_words("nosuch://x ü - --out %00 # ! $HOME `id` pipe.tar folder.tar gone.tar loop http"),
    "\0", "\udce9", " ", "/./", "x" * 300, "{" * 60, "{a,b}" * 30,
]  # fmt: skip
# Deep enough that no spec climbs out of the case's folder.
_DEPTH = "1/2/3/4/5/6/7/8"


def fuzz_specs(case: Case) -> str:
    """Expand odd specs in a folder of odd files, and hold every shard to the rule of names."""
    work = case.folder / _DEPTH
    _make_files(case.rng, work)
    specs = [_within(_any_spec(case.rng)) for _ in range(case.rng.choice([1, 1, 1, 2, 3]))]
    case.seal()
    os.environ["HOME"] = str(work)
    os.chdir(work)
    try:
        return _expand(specs, work)
    finally:
        os.chdir("/")


def _expand(specs: list[str], work: Path) -> str:
    try:
        sources = expand_specs(specs)
    except UsageError as error:
        text = str(error).encode("utf-8", "backslashreplace")
        check(len(text) < 20_000, "words", f"an error of {len(text)} bytes")
        return "refused"
    names = [source.name for source in sources]
    check(len(set(names)) == len(names), "names", f"two shards of one name for {specs!r}")
    for source in sources:
        said = f"{source!r} of {specs!r}"
        check(bool(source.name) and not is_hidden(source.name), "names", said)
        check("//" not in source.name and not source.name.startswith("/"), "names", said)
        source.name.encode()
        if source.is_local:
            inside = os.path.realpath(source.location).startswith(f"{os.path.realpath(work)}/")
            check(os.path.isfile(source.location) and inside, "kind", said)
    places = [source.location for source in sources]
    renamed = [source.location for source in known_as(sources, set(names[::2]))]
    check(renamed == places, "names", "renaming moved a shard")
    refuse_overlap(work / "out", input_places(specs, sources))
    return "expanded"


def _make_files(rng: random.Random, work: Path) -> None:
    for name in rng.sample(_FILES, rng.randint(2, len(_FILES))):
        path = work / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (work / "list").write_text("in/00.tar\n# comment\n\nin/*.tar\n@list2\n")
    (work / "self").write_text("@self\nin\n")
    (work / "in/folder.tar").mkdir()
    os.mkfifo(work / "pipe")
    os.mkfifo(work / "in/pipe.tar")
    (work / "in/loop").symlink_to(".")
    (work / "in/gone.tar").symlink_to("nothing")


def _any_spec(rng: random.Random) -> str:
    if rng.random() < 0.6:
        spec = f"{rng.choice(_HEADS)}/{rng.choice(_TAILS)}"
        if rng.random() < 0.3:
            spec = rng.choice(_HEADS)
    else:
        pieces = [rng.choice([*_ODD, *_HEADS, *_TAILS]) for _ in range(rng.randint(1, 5))]
        spec = rng.choice(["/", "/", ""]).join(pieces)
    if rng.random() < 0.15:
        at = rng.randrange(len(spec) + 1)
        spec = spec[:at] + chr(rng.choice([0, 10, 42, 47, 46, 123, 0xE9, 0x202E])) + spec[at:]
    return spec


def _within(spec: str) -> str:
    """The same without what would search this machine: an end that is far is no finding."""
    parts = spec.split("::")
    return "::".join(f"in{part}" if part.startswith(("/", "file:")) else part for part in parts)

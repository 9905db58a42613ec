"""The code blocks of the documentation, and the command lines in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.module_graph import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
COMMANDS = ("lesstext", "attr-builder", "train-clip")
RUN = "<!-- run -->"
_BLOCK = re.compile(rf"^({RUN}\n)?```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(
    rf"(?:^|[\s\"'(])((?:{'|'.join(COMMANDS)}) [^\"\n]*(?:\"[^\"\n]*\"[^\"\n]*)*)"
)
_INLINE = re.compile(rf"`((?:{'|'.join(COMMANDS)}) [^`]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `runs` where the comment `<!-- run -->` stands on the line above it."""

    language: str
    text: str
    runs: bool


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(language, text, bool(mark)) for mark, language, text in found]


def command_lines(page: Path) -> Iterator[list[str]]:
    """Every command line of ours in a fenced block, as words; `sh -c "…"` included."""
    for block in blocks(page):
        if block.language in ("bash", "yaml"):
            for line in block.text.replace("\\\n", " ").splitlines():
                if match := _COMMAND.search(line):
                    yield shlex.split(match[1].split('"]')[0], comments=True)


def mentions(text: str) -> Iterator[list[str]]:
    """Commands of ours in inline code, as words; they may leave arguments out."""
    for line in _INLINE.findall(text):
        yield [word for word in shlex.split(line.replace("\n", " ")) if word != "…"]

"""Every command line in the documentation parses: no option is named that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer.main

import attr_builder.cli
import lesstext.cli.app
import train_clip.cli
from tests.docs.blocks import COMMANDS, PAGES, command_lines, mentions
from tests.docs.conftest import install_examples

APPS = (lesstext.cli.app.app, attr_builder.cli.app, train_clip.cli.app)
TREES: dict[str, Any] = {
    name: typer.main.get_command(app) for name, app in zip(COMMANDS, APPS, strict=True)
}


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples of the page on extending, which its command lines name."""
    monkeypatch.syspath_prepend(str(install_examples(tmp_path / "site")))


def parse(words: list[str], *, complete: bool = True) -> None:
    """Parse a command line as the command would, and run nothing; raises what it would raise."""
    tree, rest = TREES[words[0]], words[1:]
    context = tree.context_class(tree, info_name=words[0])
    try:
        while hasattr(tree, "get_command") and rest and rest[0] != "--help":
            verb, *rest = rest
            tree = tree.get_command(context, verb)
            assert tree is not None, f"no command {verb}"
        if rest != ["--help"]:
            tree.make_context(words[0], rest)
    except Exception as error:
        if complete or type(error).__name__ != "MissingParameter":
            raise AssertionError(f"{' '.join(words)}: {error}") from error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_command_lines_parse(page: Path) -> None:
    for words in command_lines(page):
        parse(words)
    for words in mentions(page.read_text(encoding="utf-8")):
        parse(words, complete=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_in_the_help_parse(command: str) -> None:
    for verb in TREES[command].commands.values():
        examples = list(mentions(verb.epilog))
        assert examples, f"{command} {verb.name} --help shows no example"
        for words in examples:
            parse(words)


def test_the_readme_shows_every_command() -> None:
    (readme,) = [page for page in PAGES if page.name == "README.md"]
    shown = {tuple(words[:2]) for words in command_lines(readme)}
    assert shown == {(name, verb) for name in COMMANDS for verb in TREES[name].commands}


@pytest.mark.parametrize(
    "words",
    [["lesstext", "score", "a", "--out", "b", "--nope"], ["lesstext", "score", "--out", "b"]],
)
def test_a_wrong_command_line_is_found(words: list[str]) -> None:
    with pytest.raises(AssertionError, match=r"No such option|Missing parameter"):
        parse(words)


def test_the_readme_is_short() -> None:
    (readme,) = [page for page in PAGES if page.name == "README.md"]
    assert len(readme.read_bytes()) <= 8000

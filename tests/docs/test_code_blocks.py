"""The documentation's examples do what they say: blocks marked `<!-- run -->` are run."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, blocks
from tests.docs.conftest import RunScript

RUNNABLE = [page for page in PAGES if any(block.runs for block in blocks(page))]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page: Path, run_script: RunScript) -> None:
    """In the order of the page, in one folder; neighbours of one language run as one script."""
    runnable = [block for block in blocks(page) if block.runs]
    for language, group in groupby(runnable, lambda block: block.language):
        run_script(language, "\n".join(block.text for block in group))


def test_pages_with_commands_have_blocks_that_run() -> None:
    assert {page.stem for page in RUNNABLE} >= {"README"}

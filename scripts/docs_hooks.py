"""What mkdocs does beside its plugins: draw pictures, and show the results in scripts/results.

Pages link to them as `../scripts/results/…`, which is right where the pages are read as plain
Markdown; on the site they lie below `results/`.
"""

from __future__ import annotations

from pathlib import Path

from docs_pictures import fills_picture
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

_RESULTS = Path(__file__).parent / "results"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures and every result file to the site, outside the navigation."""
    files.append(File.generated(config, "fills.png", content=fills_picture()))
    for path in sorted(_RESULTS.rglob("*")):
        if path.is_file():
            name = f"results/{path.relative_to(_RESULTS).as_posix()}"
            shown = InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, name, abs_src_path=str(path), inclusion=shown))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Point links at the place of the results on the site."""
    return markdown.replace("](../scripts/results/", "](results/")

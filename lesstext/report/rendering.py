"""The page as text, with a policy that lets the browser run nothing but the page's own script."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lesstext.report.findings import Findings


_PARTS = Path(__file__).parent / "parts"
_STYLE = "page.css"
_SCRIPTS = ("start.js", "charts.js", "view.js", "grid.js", "detail.js", "marks.js")
_SCRIPT_END = "finish.js"
_N_SHARDS_LISTED = 200


def render(findings: Findings) -> str:
    """The page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["plain"] = lambda ratio: repr(ratio).removesuffix(".0")
    style, script = _read(_STYLE), _script(findings.panel_scripts)
    return environment.get_template("template.html.j2").render(
        report=findings,
        data=as_data(findings.for_script()),
        style=style,
        script=script,
        policy=_policy(style, script),
        n_shards_listed=_N_SHARDS_LISTED,
    )


def as_data(value: Any) -> str:
    """JSON that no HTML parser finds an end or a tag in, whatever texts it holds."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _script(panels: list[tuple[str, str]]) -> str:
    """All of the page's script; each panel is a function of its own that knows its NAME."""
    registered = [f"((NAME) => {{\n{script}\n}})({as_data(name)});" for name, script in panels]
    return "\n".join([*map(_read, _SCRIPTS), *registered, _read(_SCRIPT_END)])


def _policy(style: str, script: str) -> str:
    """The Content-Security-Policy: this style and this script by their hashes, pictures beside the
    page, and nothing else; texts can never become markup."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src 'self' blob: data:",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _read(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")

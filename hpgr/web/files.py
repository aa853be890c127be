"""The files of the page, read once: served by name, or put together into one document that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

STYLES = ("page.css",)
SCRIPTS = (
    "dom.js",
    "words.js",
    "source.js",
    "picker.js",
    "timeline.js",
    "why.js",
    "user.js",
    "items.js",
    "quality.js",
    "live.js",
    "main.js",
)
"""In the order in which they run; each gives one name to those after it."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Of everything that belongs to the page: it loads its own files, asks its own service, and no other page may frame it."""

_FOLDER = Path(__file__).parent / "static"
_HEAD, _FOOT = "<!-- styles -->", "<!-- scripts -->"
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@cache
def text(name: str) -> str:
    """A file of the page; ``name`` is one of ours."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def served() -> dict[str, tuple[str, str]]:
    """Text and media type by name, of all that the served page loads."""
    return {name: (text(name), _KINDS[Path(name).suffix]) for name in (*STYLES, *SCRIPTS)}


def document() -> str:
    """The page that loads its files from ``page/``."""
    head = "".join(f'<link rel="stylesheet" href="page/{name}">' for name in STYLES)
    foot = "".join(f'<script defer src="page/{name}"></script>' for name in SCRIPTS)
    return text("index.html").replace(_HEAD, head).replace(_FOOT, foot)


def single_file(data: dict[str, Any], title: str) -> str:
    """The page with its files and ``data`` inside. Its policy lets these very scripts run and nothing be loaded."""
    styles, scripts = "\n".join(map(text, STYLES)), "\n".join(map(text, SCRIPTS))
    policy = (
        f"default-src 'none'; script-src {_digest(scripts)}; style-src {_digest(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    # No sign in the data may end the element that it stands in, or begin a comment in it.
    inside = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{styles}</style>'
    foot = f'<script type="application/json" id="embedded">{inside}</script><script>{scripts}</script>'
    page = text("index.html").replace("<title>hpgr</title>", f"<title>{escape(title)}</title>")
    return page.replace(_HEAD, head).replace(_FOOT, foot)


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

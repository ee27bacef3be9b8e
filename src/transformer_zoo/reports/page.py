"""The HTML page that reports share: one file, style and script inside, light and dark, readable on a phone and without a script."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from transformer_zoo.reports.svg import PALETTE, SHAPES

SCRIPTS = ("curves.js", "legend.js", "report.js")
"""What the script of a page consists of, in order."""
LONG = 40
"""A cell with more characters than this is wrapped instead of making its column wide."""
LONG_LABEL = 20
"""The same for the first cell of a line, which stays in sight."""
MOST_TITLE = 160
"""Characters of a title; a longer one is cut."""
_NUMBER = re.compile(r"[-+−±]?\.?\d")
_SECTION = re.compile(r'<section id="([\w-]+)"><h2>(.*?)</h2>')


@cache
def _asset(name: str) -> str:
    return (files("transformer_zoo.reports") / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """What a browser may load for the page: nothing from anywhere, and of scripts only this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def script_data(data: Mapping[str, Any]) -> str:
    """JSON that can stand inside a page: nothing in it can end the element, open a comment or break a line of a script."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign, code in (("<", r"\u003c"), (">", r"\u003e"), ("&", r"\u0026"), ("\u2028", r"\u2028"), ("\u2029", r"\u2029")):
        text = text.replace(sign, code)
    return text


def page(title: str, body: str, data: Mapping[str, Any] | None = None) -> str:
    """A whole HTML document with its style and script inside and nothing outside; `data`: what the script draws curves from. Sections with an id
    are listed at the top."""
    script, style = "".join(_asset(name) for name in SCRIPTS), PALETTE + SHAPES + _asset("report.css")
    title = title if len(title) <= MOST_TITLE else f"{title[: MOST_TITLE - 1]}…"
    listed = "".join(f'<a href="#{name}">{heading}</a>' for name, heading in _SECTION.findall(body))
    contents = f'<nav class="contents" aria-label="contents">{listed}</nav>\n' if listed else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{contents}{body}\n"
        '<footer class="soft">Made by transformer-zoo from the run folders alone.</footer>\n'
        f'<script type="application/json" id="report-data">{script_data(data or {})}</script>\n<script>{script}</script>\n</body></html>\n'
    )


def table(
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    marked: Iterable[tuple[int, int]] = (),
    shades: Mapping[tuple[int, int], float] | None = None,
    names: Mapping[tuple[int, int], str] | None = None,
) -> str:
    """An HTML table that scrolls inside its frame on a narrow screen, and that the script makes sortable; cells are text; `marked`: (line, column)
    in bold; `shades`: (line, column) → how dark its ground is, 0 to 1; `names`: (line, column) → classes."""
    best, depths, classes = set(marked), shades or {}, names or {}
    words = {j for j in range(1, len(header)) if lines and not any(_NUMBER.match(line[j]) for line in lines)}
    head = "".join(f"<th scope='col'{' class=word' if j in words else ''}>{escape(cell)}</th>" for j, cell in enumerate(header))
    body = ""
    for i, line in enumerate(lines):
        body += "<tr>"
        for j, cell in enumerate(line):
            style = f' style="--h:{depths[i, j]:.3f}"' if (i, j) in depths else ""
            holds = (("best", (i, j) in best), ("heat", (i, j) in depths), ("word", j in words), ("long", len(cell) > (LONG if j else LONG_LABEL)))
            told = " ".join([*(name for name, holding in holds if holding), *([classes[i, j]] if (i, j) in classes else [])])
            named = f" class='{escape(told, quote=True)}'" if told else ""
            body += f"<td{named}{style}>{escape(cell)}</td>"
        body += "</tr>"
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

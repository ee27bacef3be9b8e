"""The HTML page that reports share: one file, style inside, light and dark, readable on a phone."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from transformer_zoo.reports.svg import PALETTE, SHAPES

STYLE = (
    PALETTE
    + SHAPES
    + """*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
body>*{max-width:1120px;margin-left:auto;margin-right:auto;padding-left:16px;padding-right:16px}
h1{font-size:1.6rem;line-height:1.25;margin-top:1.6rem;margin-bottom:.3rem}h2{font-size:1.15rem;margin:2rem 0 .6rem}
h3{font-size:.95rem;font-weight:600;margin:0 0 .4rem}p,ul{margin:.4rem 0}ul{padding-left:1.2rem}.soft{color:var(--soft)}
.wide{overflow-x:auto;border:1px solid var(--rule);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.45rem .7rem;text-align:right;white-space:nowrap;border-top:1px solid var(--rule)}
thead th{border-top:0;background:var(--card);font-weight:600}th:first-child,td:first-child{
text-align:left;white-space:normal;min-width:7rem;overflow-wrap:anywhere}
td.best{font-weight:700}
td.heat{background:color-mix(in srgb,var(--s1) calc(var(--h)*55%),transparent)}
.grid-of-charts{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr))}
figure{margin:0;padding:12px;background:var(--card);border-radius:8px;min-width:0}svg{display:block;width:100%;height:auto}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin:.2rem 0 .8rem;padding:0;list-style:none;font-size:.9rem}
.legend i{display:inline-block;width:18px;height:3px;border-radius:2px;background:var(--c);vertical-align:middle;margin-right:.45rem}
input[name=axis]{accent-color:var(--s0)}.choices label{margin:0 .9rem 0 .2rem}
.by-tokens,.by-seconds{display:none}
section:has(#axis-tokens:checked) .by-steps,section:has(#axis-seconds:checked) .by-steps{display:none}
section:has(#axis-tokens:checked) .by-tokens,section:has(#axis-seconds:checked) .by-seconds{display:block}
blockquote{margin:.5rem 0;padding:.5rem .9rem;border-left:3px solid var(--s0);background:var(--card);border-radius:0 6px 6px 0}
code{font:.88em ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}footer{margin-top:2.5rem;margin-bottom:2rem;font-size:.85rem}
"""
)


def page(title: str, body: str) -> str:
    """A whole HTML document with its style inside and nothing outside."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n"
        '<footer class="soft">Made by transformer-zoo from the run folders alone. Hover a point for its value.</footer>\n</body></html>\n'
    )


def table(
    header: Sequence[str],
    lines: Sequence[Sequence[str]],
    marked: Iterable[tuple[int, int]] = (),
    shades: Mapping[tuple[int, int], float] | None = None,
) -> str:
    """An HTML table that scrolls inside its frame on a narrow screen; cells are text; `marked`: (line, column) in bold; `shades`: (line, column) →
    how dark its ground is, 0 to 1."""
    best, depths = set(marked), shades or {}
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = ""
    for i, line in enumerate(lines):
        body += "<tr>"
        for j, cell in enumerate(line):
            style = f' style="--h:{depths[i, j]:.3f}"' if (i, j) in depths else ""
            names = " ".join(name for name, holds in (("best", (i, j) in best), ("heat", (i, j) in depths)) if holds)
            body += f"<td{f' class={names!r}' if names else ''}{style}>{escape(cell)}</td>"
        body += "</tr>"
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

"""What each factor does, as pictures for a paper: one file for the factors alone, and one for every two of them."""

import re
from collections.abc import Sequence
from html import escape

from transformer_zoo.reports.effects import (
    MOST_PAIRS,
    Design,
    alone_chart,
    heat_cells,
    levels_of,
    metrics_of,
    over_and_lines,
    pair_chart,
)
from transformer_zoo.reports.groups import Group
from transformer_zoo.reports.svg import LEFT, TOP, WIDTH, drawing, figure
from transformer_zoo.reports.tables import heading

LETTER = 6.5
"""Width of a letter of a drawing, about."""
ROW = 26
"""Height of a line of a heat map."""
LABEL = 110
"""Width of the first column of a heat map."""


def effect_files(groups: Sequence[Group]) -> dict[str, str]:
    """Name of a file → a picture: `factors-METRIC.svg`, every factor alone, and `factors-METRIC-A-B.svg`, two factors as lines and as a heat map."""
    design = Design(groups=groups, levels=levels_of(groups))
    files = {}
    for metric in metrics_of(groups):
        alone = [(f"{heading(metric)} by {factor}", chart) for factor in design.factors if (chart := alone_chart(design, metric, factor))]
        if alone:
            files[_file("factors", metric)] = figure(alone)
        for first, second in design.pairs[:MOST_PAIRS]:
            over, lines = over_and_lines(design, first, second)
            chart, labels = pair_chart(design, metric, over, lines)
            drawings = [*([chart] if chart else []), heat_chart(design, metric, lines, over)]
            titles = [heading(metric), _cut(f"{lines} × {over}", WIDTH - LEFT)]
            files[_file("factors", metric, first, second)] = figure(list(zip(titles, drawings, strict=False)), labels)
    return files


def _file(*parts: str) -> str:
    return "-".join(re.sub(r"[^A-Za-z0-9=.,_+]+", "-", part).strip("-.") for part in parts) + ".svg"


def heat_chart(design: Design, metric: str, down: str, across: str) -> str:
    """The heat map as a drawing: the darker the better; a cell too narrow for its text has it as a tip alone."""
    texts, shades = heat_cells(design, metric, down, across)
    columns = design.factors[across]
    width = (WIDTH - LABEL - 4) / len(columns)
    head, body = _head(columns, width)
    for i, level in enumerate(design.factors[down]):
        top = head + i * ROW
        body.append(f'<text class="name" x="4" y="{top + 17}">{escape(_cut(level, LABEL))}</text>')
        for j, other in enumerate(columns):
            left, text = LABEL + j * width, texts[i][j]
            tip = escape(f"{down}={level} {across}={other}: {text}")
            fill = f'class="bar c1" opacity="{0.55 * shades[i, j]:.3f}"' if (i, j) in shades else 'fill="none"'
            body.append(f'<rect {fill} x="{left:.1f}" y="{top}" width="{width - 2:.1f}" height="{ROW - 2}"><title>{tip}</title></rect>')
            said = next((words for words in (text, text.split(" ± ")[0]) if len(words) * LETTER <= width), "")
            body.append(f'<text class="name" x="{left + (width - 2) / 2:.1f}" y="{top + 17}" text-anchor="middle">{escape(said)}</text>')
    return drawing(body, f"{metric} by {down} and {across}", head + len(texts) * ROW)


def _head(levels: Sequence[str], width: float) -> tuple[int, list[str]]:
    """How high the names of the columns are, and their drawing: upright where they are wider than the columns."""
    longest = max(len(level) for level in levels) * LETTER
    if longest <= width:
        named = [(f'x="{LABEL + (j + 0.5) * width:.1f}" y="{TOP + 12}" text-anchor="middle"', level) for j, level in enumerate(levels)]
        return TOP + ROW - 6, [f'<text class="tick" {place}>{escape(level)}</text>' for place, level in named]
    head = TOP + round(min(longest, LABEL)) + 6
    turned = [f'transform="translate({LABEL + (j + 0.5) * width + 4:.1f} {head - 6}) rotate(-90)"' for j in range(len(levels))]
    return head, [f'<text class="tick" {place}>{escape(_cut(level, LABEL))}</text>' for place, level in zip(turned, levels, strict=True)]


def _cut(text: str, width: float) -> str:
    """As many letters as fit."""
    most = max(2, int(width / LETTER))
    return text if len(text) <= most else f"{text[: most - 1]}…"

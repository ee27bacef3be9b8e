"""Quality against each cost, with those that nobody beats in both: the Pareto front."""

import math
from collections.abc import Sequence
from html import escape

from transformer_zoo.experiments.results import higher_is_better
from transformer_zoo.reports.groups import Group, mean_and_deviation
from transformer_zoo.reports.rows import scores
from transformer_zoo.reports.scatter import Dot, scatter_chart
from transformer_zoo.reports.svg import figure, short_number
from transformer_zoo.reports.tables import heading, spread_text

COSTS = {
    "parameters": "parameters",
    "flops": "FLOPs of training",
    "tokens": "tokens of training",
    "seconds": "seconds of training",
    "peak_memory_bytes": "bytes of memory at most",
}
"""Key of `summary.json` → what it is called."""
EQUAL = 0.005
"""Costs that differ by less than this share are equal: nothing to draw."""
OPEN = 1
"""How many metrics are shown without being asked for."""


def front(points: Sequence[tuple[float, float]], *, higher: bool) -> list[int]:
    """The points (cost, quality) that no other beats: none is as cheap and better, or cheaper and as good. By ascending cost; of equal points
    all are in."""
    sign = 1.0 if higher else -1.0
    members = []
    for number, (cost, quality) in enumerate(points):
        beaten = any(other_cost <= cost and sign * other >= sign * quality and (other_cost, other) != (cost, quality) for other_cost, other in points)
        if not beaten:
            members.append(number)
    return sorted(members, key=lambda number: points[number])


def dots(groups: Sequence[Group], metric: str, cost: str) -> list[Dot]:
    """A point for every group with both; members of the front are numbered by ascending cost. Empty where fewer than two are known or the costs
    are equal."""
    found = []
    for colour, group in enumerate(groups):
        (mean, spread), (paid, _) = mean_and_deviation(group.values(metric)), mean_and_deviation(group.sizes(cost))
        if math.isfinite(mean) and math.isfinite(paid):
            found.append(Dot(label=group.label, x=paid, y=mean, colour=colour, spread=spread))
    paid_all = [dot.x for dot in found]
    if len(found) < 2 or max(paid_all) - min(paid_all) <= EQUAL * max(paid_all):
        return []
    members = front([(dot.x, dot.y) for dot in found], higher=higher_is_better(metric))
    numbers = {member: number for number, member in enumerate(members, start=1)}
    return [
        Dot(label=dot.label, x=dot.x, y=dot.y, colour=dot.colour, spread=dot.spread, number=numbers.get(place, 0)) for place, dot in enumerate(found)
    ]


def pareto_section(groups: Sequence[Group]) -> str:
    """HTML: a chart for every cost that differs, for the first metric, and the others to be opened; empty where there is nothing to weigh."""
    blocks = []
    for metric in scores(groups):
        figures = "".join(_figure(groups, metric, cost) for cost in COSTS)
        if figures:
            blocks.append((metric, f'<div class="grid-of-charts">{figures}</div>'))
    if not blocks:
        return ""
    shown = "".join(f"<h3>{escape(heading(metric))}</h3>{block}" for metric, block in blocks[:OPEN])
    shown += "".join(f"<details><summary>{escape(heading(metric))}</summary>{block}</details>" for metric, block in blocks[OPEN:])
    told = (
        "Final mean of each group against what it cost, bars: one sample standard deviation. Numbered and joined: the Pareto front, those that no "
        "other group beats in both; by means alone, which chance may have ordered. Costs that are equal are not drawn."
    )
    return f'<section id="pareto"><h2>Quality against cost</h2><p class="soft">{told}</p>{shown}</section>'


def _figure(groups: Sequence[Group], metric: str, cost: str) -> str:
    found = dots(groups, metric, cost)
    if not found:
        return ""
    chart = scatter_chart(found, name=f"{metric} against {COSTS[cost]}", x_label=COSTS[cost])
    named = "".join(
        f"<li>{escape(dot.label)}: {spread_text(dot.y, dot.spread)} at {short_number(dot.x)}</li>"
        for dot in sorted((dot for dot in found if dot.number), key=lambda dot: dot.number)
    )
    return f'<figure><h4>against {escape(COSTS[cost])}</h4>{chart}<ol class="front-members">{named}</ol></figure>'


def pareto_files(groups: Sequence[Group]) -> dict[str, str]:
    """Name of a file → a picture of one metric against every cost that differs."""
    files = {}
    for metric in scores(groups):
        panels = []
        for cost, name in COSTS.items():
            found = dots(groups, metric, cost)
            if found:
                panels.append((f"{heading(metric)} against {name}", scatter_chart(found, name=f"{metric} against {name}", x_label=name)))
        if panels:
            files[f"pareto-{metric.replace('/', '-')}.svg"] = figure(panels, [group.label for group in groups])
    return files

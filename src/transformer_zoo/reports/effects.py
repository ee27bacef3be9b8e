"""What each factor does: one-factor plots, and for pairs of factors interaction plots and heat maps."""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from transformer_zoo.experiments.results import higher_is_better
from transformer_zoo.reports.curves import legend
from transformer_zoo.reports.groups import Group, differing_keys, mean_and_deviation
from transformer_zoo.reports.page import table
from transformer_zoo.reports.rows import scores
from transformer_zoo.reports.svg import Interval, Series, dot_chart, line_chart
from transformer_zoo.reports.tables import heading, spread_text

MOST_METRICS, MOST_PAIRS, MOST_LINES = 3, 6, 12
MOST_FACTORS = 4
"""Runs without a plan that differ in more settings than this are not read as an experiment with factors."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Groups as combinations of levels."""

    groups: Sequence[Group]
    levels: Sequence[dict[str, str]]
    """Factor → level, for every group."""

    @property
    def factors(self) -> dict[str, list[str]]:
        """Factor → its levels (numbers ascending, others in order of appearance), where there are at least two."""
        found: dict[str, dict[str, None]] = {}
        for levels in self.levels:
            for factor, level in levels.items():
                found.setdefault(factor, {})[level] = None
        return {factor: _ordered(list(levels)) for factor, levels in found.items() if len(levels) > 1}

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every two factors."""
        return list(itertools.combinations(self.factors, 2))

    def groups_at(self, wanted: dict[str, str]) -> list[Group]:
        """The groups with these levels."""
        return [
            group
            for group, levels in zip(self.groups, self.levels, strict=True)
            if all(levels.get(factor) == level for factor, level in wanted.items())
        ]

    def values(self, metric: str, wanted: dict[str, str]) -> list[float]:
        """Final values of all finished runs with these levels."""
        return [value for group in self.groups_at(wanted) for value in group.values(metric) if math.isfinite(value)]


def number(level: str) -> float | None:
    """A level as a number; None where it is a word."""
    try:
        value = float(level)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _ordered(levels: list[str]) -> list[str]:
    values = {level: number(level) for level in levels}
    known = [value for value in values.values() if value is not None]
    return sorted(levels, key=lambda level: values[level] or 0.0) if len(known) == len(levels) else levels


def levels_of(groups: Sequence[Group]) -> list[dict[str, str]]:
    """Factor → level for every group: as planned, else the few settings in which the groups differ; empty where there are none or many."""
    planned = [group.runs[0].levels for group in groups]
    if all(planned):
        return planned
    keys = differing_keys([group.runs[0] for group in groups if len(group.runs[0].config) > 1])
    if not keys or len(keys) > MOST_FACTORS:
        return [{} for _ in groups]
    return [{key: str(group.runs[0].config[key]) for key in keys if key in group.runs[0].config} for group in groups]


def metrics_of(groups: Sequence[Group]) -> list[str]:
    """The first few metrics that several groups measured."""
    return [metric for metric in scores(groups) if len([group for group in groups if group.values(metric)]) > 1][:MOST_METRICS]


def effects_section(groups: Sequence[Group]) -> str:
    """HTML; empty where the runs are not combinations of levels."""
    design, metrics = Design(groups=groups, levels=levels_of(groups)), metrics_of(groups)
    if not design.factors or not metrics:
        return ""
    blocks = [_block(design, metric) for metric in metrics]
    shown = f"<h3>{escape(heading(metrics[0]))}</h3>{blocks[0]}"
    shown += "".join(
        f"<details><summary>{escape(heading(metric))}</summary>{block}</details>" for metric, block in zip(metrics[1:], blocks[1:], strict=True)
    )
    several = " A factor alone: over all runs with that level, whatever the other factors are." if len(design.factors) > 1 else ""
    return (
        f'<section id="factors"><h2>Factors</h2><p class="soft">Means and sample standard deviations of final values.{several}</p>{shown}</section>'
    )


def _block(design: Design, metric: str) -> str:
    alone = "".join(
        f"<figure><h4>{escape(factor)}</h4>{chart}</figure>" for factor in design.factors if (chart := alone_chart(design, metric, factor))
    )
    shown = f'<div class="grid-of-charts">{alone}</div>' if alone else ""
    for first, second in design.pairs[:MOST_PAIRS]:
        shown += _pair(design, metric, first, second)
    if len(design.pairs) > MOST_PAIRS:
        shown += f'<p class="soft">{len(design.pairs) - MOST_PAIRS} more pairs of factors are not drawn.</p>'
    return shown


def alone_chart(design: Design, metric: str, factor: str) -> str:
    """A line over the levels of one factor where they are numbers, a dot for each otherwise; empty where nothing was measured."""
    levels = design.factors[factor]
    told = [(level, design.values(metric, {factor: level})) for level in levels]
    numbers = [number(level) for level in levels]
    if all(value is not None for value in numbers) and len(levels) > 2:
        series = _line(factor, [(value, values) for value, (_, values) in zip(numbers, told, strict=True) if value is not None], 0)
        return line_chart([series], name=f"{metric} over {factor}", x_label=factor) if series.points else ""
    rows = [Interval(label=level, values=values, mean=m, deviation=d, colour=0) for level, values in told for m, d in [mean_and_deviation(values)]]
    return dot_chart(rows, name=f"{metric} by {factor}", x_label=metric)


def _line(label: str, told: Sequence[tuple[float, list[float]]], colour: int) -> Series:
    """Means over numeric levels; the band is there only where every level has one."""
    known = [(x, *mean_and_deviation(values)) for x, values in told if values]
    spread = [deviation for _, _, deviation in known if deviation is not None]
    points = [(x, mean) for x, mean, _ in known]
    return Series(label=label, points=points, colour=colour, spread=spread if len(spread) == len(points) else None)


def over_and_lines(design: Design, first: str, second: str) -> tuple[str, str]:
    """Of two factors the one that the axis shows, and the one that has a line for each level: the one with fewer."""
    return (first, second) if len(design.factors[first]) >= len(design.factors[second]) else (second, first)


def pair_chart(design: Design, metric: str, over: str, lines: str) -> tuple[str, list[str]]:
    """A line for each level of one factor over the other, and the labels of the lines; empty where there would be none, or too many."""
    x_levels, line_levels = design.factors[over], design.factors[lines]
    numbers = [number(level) for level in x_levels]
    places = [float(place) if value is None or None in numbers else value for place, value in enumerate(numbers)]
    series = [
        _line(level, [(x, design.values(metric, {over: at, lines: level})) for x, at in zip(places, x_levels, strict=True)], colour)
        for colour, level in enumerate(line_levels)
    ]
    series = [one for one in series if one.points]
    if not series or len(line_levels) > MOST_LINES:
        return "", []
    names = None if None not in numbers else x_levels
    chart = line_chart(series, name=f"{metric} over {over} for each {lines}", x_label=over, x_names=names)
    return chart, [f"{lines}={level}" for level in line_levels]


def _pair(design: Design, metric: str, first: str, second: str) -> str:
    """A line for each level of one factor over the other, and the heat map of both."""
    over, lines = over_and_lines(design, first, second)
    chart, labels = pair_chart(design, metric, over, lines)
    shown = f"<figure><h4>{escape(over)} for each {escape(lines)}</h4>{chart}{legend(labels)}</figure>" if chart else ""
    shaded = f'<figure class="broad"><h4>{escape(first)} × {escape(second)}</h4>{heat_map(design, metric, lines, over)}</figure>'
    return f'<div class="grid-of-charts">{shown}{shaded}</div>'


def heat_map(design: Design, metric: str, down: str, across: str) -> str:
    """A table of means, the darker the better; a cell without a finished run says why."""
    texts, shades = heat_cells(design, metric, down, across)
    lines = [[level, *line] for level, line in zip(design.factors[down], texts, strict=True)]
    return table([f"{down} ↓ {across} →", *design.factors[across]], lines, shades={(i, j + 1): depth for (i, j), depth in shades.items()})


def heat_cells(design: Design, metric: str, down: str, across: str) -> tuple[list[list[str]], dict[tuple[int, int], float]]:
    """What the cells of a heat map say, line by line, and (line, column) → how good the mean there is, from 0, the worst, to 1."""
    means: dict[tuple[int, int], float] = {}
    texts: list[list[str]] = []
    for i, level in enumerate(design.factors[down]):
        texts.append([])
        for j, other in enumerate(design.factors[across]):
            wanted = {down: level, across: other}
            values = design.values(metric, wanted)
            if values:
                means[i, j] = statistics.fmean(values)
            texts[i].append(spread_text(*mean_and_deviation(values)) if values else _why(design.groups_at(wanted)))
    low, high = (min(means.values()), max(means.values())) if means else (0.0, 0.0)
    better = higher_is_better(metric)
    return texts, {at: ((value - low) if better else (high - value)) / (high - low) if high > low else 0.0 for at, value in means.items()}


def _why(groups: Sequence[Group]) -> str:
    statuses = dict.fromkeys(run.status for group in groups for run in group.runs if run.status != "done")
    return ", ".join(statuses) or ("not measured" if groups else "not planned")

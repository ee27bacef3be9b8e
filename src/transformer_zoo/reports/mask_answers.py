"""What the mask grid answers: losses and scores over the ratio that was trained at, and in one paragraph what may be concluded.

It stands in any report with a grid of several groups; nothing else about the runs is asked.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from transformer_zoo.experiments.results import higher_is_better
from transformer_zoo.reports.grids import Grid, grids
from transformer_zoo.reports.groups import Group, differing_keys, mean_and_deviation
from transformer_zoo.reports.statistics import LEVEL, T, paired
from transformer_zoo.reports.svg import Series, line_chart

BASELINE = 0.15
"""What everybody compares with."""


def grid_to_compare(groups: Sequence[Group]) -> Grid | None:
    """The first grid on which at least two groups were asked for the same tokens."""
    return next((grid for grid in grids(groups) if len(grid.groups) > 1 and grid.same_masks), None)


def answers_section(groups: Sequence[Group]) -> str:
    """HTML; empty where there is nothing to compare."""
    grid = grid_to_compare(groups)
    if grid is None:
        return ""
    parts = [f"<blockquote>{escape(conclusion(grid))}</blockquote>", _charts(grid)]
    return f"<section><h2>What the grid says</h2>{''.join(parts)}</section>"


def answers_md(groups: Sequence[Group]) -> str:
    """The conclusion as Markdown; empty where there is nothing to compare."""
    grid = grid_to_compare(groups)
    return "" if grid is None else f"\n{conclusion(grid)}\n"


# --- over the ratio that was trained at ---------------------------------------------------------------------------------------------------


def trained_at(grid: Grid) -> tuple[str, list[tuple[str, list[tuple[float, Group]]]]] | None:
    """The one setting with numbers by which groups differ, and for every combination of whatever else differs (its name) the groups in the
    order of that number; None where there is no such setting."""
    firsts = [group.finished[0] for group in grid.groups]
    keys = differing_keys(firsts)
    numeric = [
        key for key in keys if all(isinstance(run.config.get(key), int | float) and not isinstance(run.config.get(key), bool) for run in firsts)
    ]
    axis = next((key for key in numeric if "ratio" in key or "rate" in key), None)
    if axis is None:
        return None
    lines: dict[str, list[tuple[float, Group]]] = {}
    for group, run in zip(grid.groups, firsts, strict=True):
        others = " ".join(word for word in group.label.split(" ") if not word.lstrip("+").startswith(f"{axis}="))
        lines.setdefault(others, []).append((float(run.config[axis]), group))
    ordered = [(name, sorted(points, key=lambda point: point[0])) for name, points in lines.items()]
    return (axis, ordered) if all(len(points) > 1 for _, points in ordered) else None


def _charts(grid: Grid) -> str:
    """Loss at each ratio, and every score measured after the end, over the ratio of training."""
    found = trained_at(grid)
    if found is None:
        return ""
    axis, lines = found
    scores = dict.fromkeys(name for group in grid.groups for run in group.finished for name in run.measured_scores())
    charts = [(f"loss at {_percent(ratio)}", grid.metric(ratio, "loss")) for ratio in grid.ratios] + [(name, name) for name in scores]
    figures = ""
    for title, metric in charts:
        series = [_over_ratio(name or axis, points, metric, colour) for colour, (name, points) in enumerate(lines)]
        series = [one for one in series if one.points]
        if series:
            figures += f"<figure><h3>{escape(title)}</h3>{line_chart(series, name=f'{title} over {axis}', x_label=axis)}</figure>"
    legend = "".join(f'<li><i class="c{colour % 8}"></i>{escape(name)}</li>' for colour, (name, _) in enumerate(lines) if name)
    listed = f'<ul class="legend">{legend}</ul>' if legend else ""
    return f'<p class="soft">Bands: one sample standard deviation.</p>{listed}<div class="grid-of-charts">{figures}</div>'


def _over_ratio(label: str, points: Sequence[tuple[float, Group]], metric: str, colour: int) -> Series:
    told = [(ratio, *mean_and_deviation(group.values(metric))) for ratio, group in points]
    told = [one for one in told if math.isfinite(one[1])]
    spread = [deviation for _, _, deviation in told]
    known = [deviation for deviation in spread if deviation is not None]
    return Series(
        label=label, points=[(ratio, mean) for ratio, mean, _ in told], colour=colour, spread=known if len(known) == len(spread) and known else None
    )


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


# --- in words -----------------------------------------------------------------------------------------------------------------------------


CHANCE = "Intervals are 95% for all comparisons with the baseline together (Bonferroni)."
REACH = "This holds for this model, this text and this budget; losses at a ratio are not scores of a task, and longer training may change the order."


@dataclass(frozen=True, kw_only=True)
class Family:
    """Groups that are compared with one of them."""

    groups: Sequence[Group]
    baseline: Group
    n_comparisons: int
    """By which the level of intervals is corrected."""


def conclusion(grid: Grid) -> str:
    """What the grid and the scores allow to say, in one paragraph: where groups differ in the ratio of training alone, the best of each column,
    and whether it beats the baseline beyond chance."""
    found = trained_at(grid)
    families = [(name, [group for _, group in points]) for name, points in found[1]] if found else [("", list(grid.groups))]
    scores = list(dict.fromkeys(name for group in grid.groups for run in group.finished for name in run.measured_scores()))
    metrics = {f"Evaluated at {_percent(ratio)}": grid.metric(ratio, "loss") for ratio in grid.ratios} | {f"In {name}": name for name in scores}
    sentences = []
    for name, groups in families:
        family = Family(groups=groups, baseline=_baseline(found, groups), n_comparisons=(len(groups) - 1) * len(metrics))
        sentences += [f"{f'With {name}, ' if name else ''}{_told(family, where, metric)}" for where, metric in metrics.items()]
    sentences.append(CHANCE)
    if min(len(group.finished) for group in grid.groups) == 1:
        sentences.append("With one run in a group nothing is known of chance: no difference here is more than an observation.")
    if any(len({id(_best(groups, grid.metric(ratio, "loss"))) for ratio in grid.ratios}) > 1 for _, groups in families):
        sentences.append("Which group is best depends on the ratio it is evaluated at, so a loss at one ratio alone answers nothing.")
    return " ".join([*sentences, REACH])


def _told(family: Family, where: str, metric: str) -> str:
    """One sentence: the best group in a metric, and its difference to the baseline."""
    winner, base = _best(family.groups, metric), family.baseline
    value = _mean(winner.values(metric))
    if not math.isfinite(value):
        return f"{where}, nothing was measured."
    head = f"{where}, {winner.label} {'is best' if higher_is_better(metric) else 'has the lowest mean'} ({value:.4g})"
    if winner is base:
        return f"{head}."
    difference = paired(base.by_seed(metric), winner.by_seed(metric), 1 - (1 - LEVEL) / max(1, family.n_comparisons))
    if difference is None:
        return f"{head}; no seed was trained both so and with {base.label}."
    amount = f"{difference.mean:+.3g} against {base.label}"
    if difference.low is None or difference.high is None:
        pairs = "one pair of runs" if difference.n == 1 else f"{difference.n} pairs without spread"
        return f"{head}, {amount} ({pairs}: no interval)."
    verdict = "beyond chance" if difference.beyond_chance else "within chance"
    interval = f"± {(difference.high - difference.low) / 2:.2g}" if difference.method == T else f"{difference.low:+.3g} to {difference.high:+.3g}"
    return f"{head}, {amount} ({interval} over {difference.n} pairs: {verdict})."


def _best(groups: Sequence[Group], metric: str) -> Group:
    """The group with the best mean; groups that were not measured come last."""
    sign = -1 if higher_is_better(metric) else 1
    means = {id(group): _mean(group.values(metric)) for group in groups}
    return min(groups, key=lambda group: sign * means[id(group)] if math.isfinite(means[id(group)]) else math.inf)


def _baseline(found: Any, groups: Sequence[Group]) -> Group:
    """The group trained at 15% where there is one, else the first."""
    points = [point for _, line in found[1] for point in line] if found else []
    return next((group for ratio, group in points if group in groups and math.isclose(ratio, BASELINE)), groups[0])


def _percent(ratio: str) -> str:
    return f"{100 * float(ratio):.4g}%"

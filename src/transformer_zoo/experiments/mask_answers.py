"""What the mask grid answers: losses and scores over the ratio that was trained at, and in one paragraph what may be concluded.

It stands in any report with a grid of several groups; nothing else about the runs is asked.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from transformer_zoo.experiments.grids import Grid, grids
from transformer_zoo.experiments.results import Group, differing_keys, higher_is_better, mean_and_deviation
from transformer_zoo.experiments.statistics import paired
from transformer_zoo.experiments.svg import Series, line_chart

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


def _by_seed(group: Group, metric: str) -> dict[Any, float]:
    """Seed → value of the finished runs."""
    return {run.seed: run.final()[metric] for run in group.finished if metric in run.final()}


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


def conclusion(grid: Grid) -> str:
    """What the grid and the scores allow to say, in one paragraph: the best of each column, and whether it beats the baseline beyond chance."""
    base = _baseline(grid)
    sentences = []
    for ratio in grid.ratios:
        winner, metric = _best(grid, ratio), grid.metric(ratio, "loss")
        sentence = f"Evaluated at {_percent(ratio)}, {winner.label} has the lowest mean loss ({_mean(winner.values(metric)):.4g})"
        sentences.append(sentence + _against(_by_seed(base, metric), _by_seed(winner, metric), base.label, winner is base, "nats") + ".")
    for name in dict.fromkeys(name for group in grid.groups for run in group.finished for name in run.measured_scores()):
        sign = -1 if higher_is_better(name) else 1
        told = {id(group): _mean(group.values(name)) for group in grid.groups}
        winner = min(grid.groups, key=lambda group: sign * told[id(group)] if math.isfinite(told[id(group)]) else math.inf)
        against = _against(_by_seed(base, name), _by_seed(winner, name), base.label, winner is base, "")
        sentences.append(f"In {name}, {winner.label} is best ({told[id(winner)]:.4g}){against}.")
    fewest = min(len(group.finished) for group in grid.groups)
    if fewest == 1:
        sentences.append("With one run in a group nothing is known of chance: no difference here is more than an observation.")
    if len({_best(grid, ratio).label for ratio in grid.ratios}) > 1:
        sentences.append("Which group is best depends on the ratio it is evaluated at, so a loss at one ratio alone answers nothing.")
    sentences.append(
        "This holds for this model, this text and this budget; losses at a ratio are not scores of a task, and longer training may change the order."
    )
    return " ".join(sentences)


def _best(grid: Grid, ratio: str) -> Group:
    """The group with the lowest mean loss at a ratio."""
    return min(grid.groups, key=lambda group: _mean(group.values(grid.metric(ratio, "loss"))))


def _baseline(grid: Grid) -> Group:
    """The group trained at 15% where there is one, else the first."""
    found = trained_at(grid)
    points = found[1][0][1] if found else []
    return next((group for ratio, group in points if math.isclose(ratio, BASELINE)), grid.groups[0])


def _against(base: Mapping[Any, float], winner: Mapping[Any, float], label: str, same: bool, unit: str) -> str:
    if same:
        return ""
    difference = paired(base, winner)
    if difference is None:
        return f"; no seed was trained both so and with {label}"
    amount = f"{difference.mean:+.3g}{' ' + unit if unit else ''} against {label}"
    if difference.half is None:
        return f", {amount} (one pair of runs: no interval)"
    verdict = "beyond chance" if difference.beyond_chance else "within chance"
    return f", {amount} (95% interval ± {difference.half:.2g} over {difference.n} pairs: {verdict})"


def _percent(ratio: str) -> str:
    return f"{100 * float(ratio):.4g}%"

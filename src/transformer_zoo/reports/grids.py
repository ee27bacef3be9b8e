"""The mask grid of runs in a report: a line per group, a column per ratio, and how far each loss is above the best possible one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from transformer_zoo.reports.groups import Group, mean_and_deviation
from transformer_zoo.reports.page import table
from transformer_zoo.reports.rows import judged
from transformer_zoo.reports.svg import Series, line_chart
from transformer_zoo.reports.tables import spread_text

NAME = "mask_grid"
MEASURES = {"loss": "Loss (nats per hidden token)", "accuracy": "Accuracy", "bits_per_byte": "Bits per byte"}
"""Measure → its heading."""
BEST_POSSIBLE = "best possible"
ROUNDING = 1e-9
"""By which sums over the same samples may differ."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What the groups' runs hold of the mask grid on one split."""

    split: str
    ratios: list[str]
    """As they stand in the metrics' names, ascending."""
    groups: list[Group]
    """Those that were measured."""

    def metric(self, ratio: str, measure: str) -> str:
        return f"{self.split}/{NAME}/{ratio}/{measure}"

    def mean(self, group: Group, ratio: str, measure: str) -> tuple[float, float | None]:
        """Over the group's finished runs: mean and sample deviation."""
        return mean_and_deviation(group.values(self.metric(ratio, measure)))

    def floor(self, ratio: str) -> float:
        """The best possible loss, NaN where it is not known or not the same for all."""
        found = [value for group in self.groups for value in group.values(self.metric(ratio, "floor")) or [math.nan]]
        return found[0] if all(abs(value - found[0]) < ROUNDING for value in found) else math.nan

    @property
    def same_masks(self) -> bool:
        """Whether all runs were asked for the same tokens, by the hashes that they kept; what cannot be known counts as no."""
        runs = [run for group in self.groups for run in group.finished if _ratios(run.final(), self.split)]
        notes = [noted if isinstance(noted := run.summary.get("notes"), Mapping) else {} for run in runs]
        told = [tuple(str(one.get(self.metric(ratio, "positions_sha256"), "")) for ratio in self.ratios) for one in notes]
        return len(set(told)) == 1 and all(told[0])


def grids(groups: Sequence[Group]) -> list[Grid]:
    """The grids that finished runs were measured on, one for each split."""
    found = []
    for split in ("validation", "test", "train"):
        measured = [group for group in groups if any(_ratios(run.final(), split) for run in group.finished)]
        ratios = {ratio for group in measured for run in group.finished for ratio in _ratios(run.final(), split)}
        if ratios:
            found.append(Grid(split=split, ratios=sorted(ratios, key=float), groups=measured))
    return found


def _ratios(metrics: dict[str, float], split: str) -> list[str]:
    return [parts[2] for name in metrics if (parts := name.split("/"))[:2] == [split, NAME] and parts[3:] == ["loss"]]


def lines(grid: Grid, measure: str) -> tuple[list[list[str]], set[tuple[int, int]]]:
    """A line per group, the best possible losses last; and which cells (line, column) are better than all others
    of their column beyond chance."""
    best: set[tuple[int, int]] = set()
    means = {(row, column): grid.mean(group, ratio, measure) for row, group in enumerate(grid.groups) for column, ratio in enumerate(grid.ratios)}
    texts = [[group.label] for group in grid.groups]
    for (row, column), (mean, deviation) in means.items():
        gap = mean - grid.floor(grid.ratios[column]) if measure == "loss" else math.nan
        texts[row].append(spread_text(mean, deviation) + (f" ({gap:+.3f})" if math.isfinite(gap) else ""))
    if grid.same_masks:
        names = {grid.metric(ratio, measure): column for column, ratio in enumerate(grid.ratios, 1)}
        found = judged({name: {row: group.by_seed(name) for row, group in enumerate(grid.groups)} for name in names})
        best = {(verdict.best, names[name]) for name, verdict in found.items() if not verdict.open}
    if measure == "loss" and any(math.isfinite(grid.floor(ratio)) for ratio in grid.ratios):
        texts.append([BEST_POSSIBLE, *(spread_text(grid.floor(ratio), None) for ratio in grid.ratios)])
    return texts, best


def shades(grid: Grid) -> dict[tuple[int, int], float]:
    """(line, column) → how far the loss is above the lowest of its column, as a share of the largest such distance; none where the masks differ."""
    if not grid.same_masks:
        return {}
    means = {(row, column): grid.mean(group, ratio, "loss")[0] for row, group in enumerate(grid.groups) for column, ratio in enumerate(grid.ratios)}
    lowest = [min(mean for (_, place), mean in means.items() if place == column) for column in range(len(grid.ratios))]
    above = {(row, column): mean - lowest[column] for (row, column), mean in means.items()}
    largest = max(above.values(), default=0.0) or 1.0
    return {(row, column + 1): value / largest for (row, column), value in above.items()}


def notes(grid: Grid) -> list[str]:
    """What must be known to read the tables, one sentence each."""
    found = []
    if any(math.isfinite(grid.floor(ratio)) for ratio in grid.ratios):
        found.append("In brackets: how far the loss is above the best possible one on the same masks.")
    if sum(len(group.finished) for group in grid.groups) > 1:
        same = "All runs were asked for the same tokens: the hashes of the positions are equal."
        other = "Not all runs were asked for the same tokens (the hashes differ): of the same text, compare bits per byte alone."
        found.append(same if grid.same_masks else other)
    return found


def grid_section(groups: Sequence[Group]) -> str:
    """The tables and a chart of loss over ratio as HTML; empty where no run was measured on the grid."""
    parts = ""
    for grid in grids(groups):
        shown = ""
        for measure, heading in MEASURES.items():
            cells, best = lines(grid, measure)
            shown += f"<h3>{escape(heading)}</h3>{table(['', *grid.ratios], cells, best, shades(grid) if measure == 'loss' else None)}"
        listed = "".join(f"<li>{escape(note)}</li>" for note in notes(grid))
        explained = (
            f"{grid.split}: the share of tokens that is hidden, all shown as [MASK]; bold: better than all others beyond chance; "
            "the darker a loss, the further above the best mean."
        )
        parts += f'<section><h2>Mask grid</h2><p class="soft">{escape(explained)}</p>{shown}<ul>{listed}</ul>{_chart(grid)}</section>'
    return parts


def grid_md(groups: Sequence[Group]) -> str:
    """The tables as Markdown, headings included; empty where no run was measured on the grid."""
    text = ""
    for grid in grids(groups):
        text += f"\n## Mask grid ({grid.split})\n"
        for measure, heading in MEASURES.items():
            cells, best = lines(grid, measure)
            text += f"\n| {heading} | " + " | ".join(grid.ratios) + " |\n|---|" + "---:|" * len(grid.ratios) + "\n"
            for row, line in enumerate(cells):
                bold = [f"**{cell}**" if (row, column) in best else cell.replace("|", "\\|") for column, cell in enumerate(line)]
                text += f"| {' | '.join(bold)} |\n"
        text += "\n" + "".join(f"- {note}\n" for note in notes(grid))
    return text


def _chart(grid: Grid) -> str:
    if len(grid.ratios) < 2:
        return ""
    series = []
    for colour, group in enumerate(grid.groups):
        means = [grid.mean(group, ratio, "loss") for ratio in grid.ratios]
        points = [(float(ratio), mean) for ratio, (mean, _) in zip(grid.ratios, means, strict=True)]
        spread = [deviation or 0.0 for _, deviation in means] if any(deviation is not None for _, deviation in means) else None
        series.append(Series(label=group.label, points=points, colour=colour, spread=spread))
    floors = [(float(ratio), grid.floor(ratio)) for ratio in grid.ratios]
    if any(math.isfinite(value) for _, value in floors):
        series.append(Series(label=BEST_POSSIBLE, points=floors, colour=len(series), dashed=True))
    legend = "".join(f'<li><i class="c{one.colour % 8}"></i>{escape(one.label)}</li>' for one in series)
    chart = line_chart(series, name=f"{grid.split} loss over hidden share", x_label="hidden share")
    return f'<ul class="legend">{legend}</ul><div class="grid-of-charts"><figure><h3>loss ↓</h3>{chart}</figure></div>'

"""Metrics over steps, tokens, FLOPs and seconds: the mean over seeds and its band, drawn."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from transformer_zoo.experiments.results import AXES as MEASURED_AXES
from transformer_zoo.experiments.results import RunRecord, is_number
from transformer_zoo.reports.groups import Group, deviation
from transformer_zoo.reports.rows import scores
from transformer_zoo.reports.svg import N_COLOURS, Series, dash, figure, line_chart
from transformer_zoo.reports.tables import heading

FLOPS = "flops"
AXES = ("steps", "tokens", FLOPS, "seconds")
"""What curves are drawn over, by name."""
MOST_POINTS = 240
"""A longer curve is averaged down to about this many points."""
DRAWN_POINTS_OF_A_PAGE = 5_000
"""Points of all curves together in the drawings over one axis: many groups have fewer points each, and pages stay small."""
FEWEST_POINTS = 16

Reference = tuple[str, float]
"""Name and value of a horizontal line, such as the best possible loss."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The mean of a metric over runs, at the steps that all of them measured."""

    places: dict[str, list[float]]
    """Axis → where each point stands on it; only axes that every run tells."""
    values: list[float]
    spread: list[float] | None
    """Sample standard deviations; None for a single run."""

    def points(self, axis: str) -> list[tuple[float, float]]:
        return list(zip(self.places.get(axis, ()), self.values, strict=False))

    def thinned(self, most: int) -> "Curve":
        """Averaged in chunks, so that at most about `most` points are left."""
        size = math.ceil(len(self.values) / most)
        if size <= 1:
            return self
        places = {axis: _chunked(values, size) for axis, values in self.places.items()}
        return Curve(places=places, values=_chunked(self.values, size), spread=None if self.spread is None else _chunked(self.spread, size))


def _chunked(values: Sequence[float], size: int) -> list[float]:
    return [statistics.fmean(values[start : start + size]) for start in range(0, len(values), size)]


def place(run: RunRecord, line: Mapping[str, Any], axis: str) -> float | None:
    """Where a line of a run's history stands; FLOPs are those of the whole run spread over its tokens. None where the run does not tell."""
    if axis != FLOPS:
        seen: Any = line.get(MEASURED_AXES[axis])
        return float(seen) if is_number(seen) else None
    flops, tokens = (run.summary[name] if is_number(run.summary.get(name)) else None for name in ("flops", "tokens"))
    at = place(run, line, "tokens")
    return flops * at / tokens if flops and tokens and at is not None else None


def curve(runs: Sequence[RunRecord], metric: str) -> Curve | None:
    """The mean curve of the runs that measured the metric, behind what their earlier phases cost; None where none did."""
    measured = [(run, {line["step"]: line for line in run.history if is_number(line.get(metric)) and is_number(line.get("step"))}) for run in runs]
    measured = [(run, lines) for run, lines in measured if lines]
    if not measured:
        return None
    steps = sorted(set.intersection(*(set(lines) for _, lines in measured)))
    places = {}
    for axis in AXES:
        before = [run.before.get(axis) for run, _ in measured]
        at = [[place(run, lines[step], axis) for run, lines in measured] for step in steps]
        if None not in before and all(value is not None for values in at for value in values):
            begin = statistics.fmean(value or 0.0 for value in before)
            places[axis] = [begin + math.fsum(value or 0.0 for value in values) / len(measured) for values in at]
    values = [[float(lines[step][metric]) for _, lines in measured] for step in steps]
    spread = [deviation(one) for one in values] if len(measured) > 1 else None
    return Curve(places=places, values=[statistics.fmean(one) for one in values], spread=spread)


def mean_curve(runs: Sequence[RunRecord], metric: str, axis: str) -> tuple[list[tuple[float, float]], list[float] | None]:
    """Points and spread of the mean curve over one axis; the spread is None for a single run."""
    found = curve(runs, metric)
    if found is None or axis not in found.places:
        return [], None
    found = found.thinned(MOST_POINTS)
    return found.points(axis), found.spread


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A metric of all groups; `lines`: number of the group → its curve."""

    metric: str
    lines: dict[int, Curve]
    reference: Reference | None = None


def charts(groups: Sequence[Group], references: Mapping[str, Reference] | None = None) -> list[Chart]:
    """One for every metric that has a course: the loss of training first, then what was held out."""
    measured = dict.fromkeys(name for group in groups for run in group.runs for line in run.history for name in line)
    names = [name for name in scores(groups) if name in measured]
    names = [name for name in ("train/loss",) if name in measured and name not in names] + names
    found = []
    for name in names:
        lines = {number: one for number, group in enumerate(groups) if (one := curve(group.finished or group.runs, name)) is not None and one.values}
        if any(len(one.values) > 1 for one in lines.values()):
            found.append(Chart(metric=name, lines=lines, reference=(references or {}).get(name)))
    return found


def share(n_curves: int, budget: int) -> int:
    """How many points each curve may have, so that all together keep to the budget."""
    return max(FEWEST_POINTS, min(MOST_POINTS, budget // max(1, n_curves)))


def number_of_curves(found: Sequence[Chart]) -> int:
    """Of all charts together."""
    return sum(len(chart.lines) for chart in found)


def drawn(chart: Chart, groups: Sequence[Group], axis: str, most: int) -> str:
    """The chart over one axis as SVG; a dashed line belongs to a group of which no run finished."""
    series = []
    for number, whole in chart.lines.items():
        one, group = whole.thinned(most), groups[number]
        if axis in one.places:
            dashed = not group.finished
            series.append(Series(label=group.label, points=one.points(axis), colour=number, spread=one.spread, dashed=dashed))
    return line_chart(series, name=f"{chart.metric} over {axis}", x_label=axis, reference=chart.reference)


def axes_of(found: Sequence[Chart]) -> list[str]:
    """The axes that some curve can be drawn over."""
    return [axis for axis in AXES if any(axis in one.places for chart in found for one in chart.lines.values())]


def curves(groups: Sequence[Group], found: Sequence[Chart]) -> str:
    """The section of a page: every metric over every axis; the reader chooses the axis."""
    if not found:
        return ""
    axes, most = axes_of(found), share(number_of_curves(found), DRAWN_POINTS_OF_A_PAGE)
    figures = ""
    for number, chart in enumerate(found):
        pictures = "".join(f'<div class="by-{axis}">{drawn(chart, groups, axis, most)}</div>' for axis in axes)
        figures += f'<figure class="chart" data-chart="{number}"><h3>{escape(heading(chart.metric))}</h3>{pictures}</figure>'
    told = "Mean over seeds; bands: one sample standard deviation."
    if FLOPS in axes:
        told += " FLOPs: those of the whole run, spread over its tokens."
    return (
        f'<section id="curves"><h2>Curves</h2><p class="soft">{told}</p>{axis_choice(axes)}{legend([group.label for group in groups])}'
        f'<div class="grid-of-charts">{figures}</div></section>'
    )


def axis_choice(axes: Sequence[str] = tuple(MEASURED_AXES)) -> str:
    """Buttons that choose what the charts of their section are drawn over; no script is needed."""
    choices = "".join(
        f'<span><input type="radio" name="axis" id="axis-{axis}" value="{axis}"{" checked" if number == 0 else ""}>'
        f'<label for="axis-{axis}">{"FLOPs" if axis == FLOPS else axis}</label></span>'
        for number, axis in enumerate(axes)
    )
    return f'<div class="choices" role="group" aria-label="over">over {choices}</div>'


def by_axis(draw: Callable[[str], str]) -> str:
    """A chart over each measured axis, of which the page shows the chosen one."""
    return "".join(f'<div class="by-{axis}">{draw(axis)}</div>' for axis in MEASURED_AXES)


def legend(labels: Sequence[str]) -> str:
    """Colour and dashes of every group, in a frame that scrolls where there are many; the script makes buttons of them."""
    items = ""
    for number, label in enumerate(labels):
        look = f"line{dash(Series(label=label, points=(), colour=number))} c{number % N_COLOURS}"
        sample = f'<svg viewBox="0 0 24 8" aria-hidden="true"><path class="{look}" d="M0 4H24"/></svg>'
        items += f'<li data-group="{number}">{sample}<span>{escape(label)}</span></li>'
    return f'<ul class="legend">{items}</ul>'


def curve_files(groups: Sequence[Group], found: Sequence[Chart]) -> dict[str, str]:
    """Name of a file → a picture of one metric over every axis."""
    labels = [group.label for group in groups]
    most = share(number_of_curves(found), DRAWN_POINTS_OF_A_PAGE)
    files = {}
    for chart in found:
        panels = [(f"{heading(chart.metric)} over {axis}", drawn(chart, groups, axis, most)) for axis in axes_of([chart])]
        files[f"curves-{chart.metric.replace('/', '-')}.svg"] = figure(panels, labels)
    return files

"""What the page's script draws curves from: the mean of every group, and its single runs."""

import math
from collections.abc import Sequence
from typing import Any

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.curves import AXES, Chart, Curve, curve, number_of_curves, share
from transformer_zoo.reports.groups import Group

POINTS_OF_A_PAGE = 14_000
"""Points of the means of all groups together, and as many of all single runs: many runs have fewer points each, and pages stay small."""

Numbers = list[float | int | None]


def data(groups: Sequence[Group], found: Sequence[Chart]) -> dict[str, Any]:
    """The groups with their runs, and the curves in the order of the section's charts; numbers have five digits, what is not finite is null."""
    most = share(number_of_curves(found), POINTS_OF_A_PAGE)
    members = [_members(group) for group in groups]
    courses = [{number: _courses(members[number], chart.metric) for number in chart.lines} for chart in found]
    most_single = share(sum(len(runs) for chart in courses for runs in chart.values()), POINTS_OF_A_PAGE)
    pages = []
    for chart, singles in zip(found, courses, strict=True):
        lines = []
        for number, whole in chart.lines.items():
            one = whole.thinned(most)
            spread = None if one.spread is None else _short(one.spread)
            runs = _single({run: course.thinned(most_single) for run, course in singles[number].items()})
            lines.append({"group": number, "x": _places(one), "y": _short(one.values), "sd": spread, "runs": runs})
        pages.append({"metric": chart.metric, "reference": chart.reference, "lines": lines})
    told = [{"label": group.label, "finished": bool(group.finished), "runs": _names(runs)} for group, runs in zip(groups, members, strict=True)]
    return {"groups": told, "charts": pages}


def _members(group: Group) -> list[RunRecord]:
    """The runs of a group that have a course, also those that did not finish; none where its curve is that of a single run already."""
    runs = [run for run in group.runs if run.history]
    return runs if len(runs) > 1 else []


def _names(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """What tells the runs of a group apart: the seed, with the folder where several have the same, and how those ended that did not finish."""
    seeds = [run.seed for run in runs]
    told = []
    for run in runs:
        name = run.path.name if run.seed is None else f"seed {run.seed}"
        name = name if run.seed is None or seeds.count(run.seed) == 1 else f"{name} ({run.path.name})"
        finished = run.status == "done"
        told.append({"label": name if finished else f"{name}, {run.status}", "finished": finished})
    return told


def _courses(runs: Sequence[RunRecord], metric: str) -> dict[int, Curve]:
    """Number of a run in its group → its own curve, for those that measured the metric."""
    return {number: one for number, run in enumerate(runs) if (one := curve([run], metric)) is not None and one.values}


def _single(courses: dict[int, Curve]) -> list[dict[str, Any]]:
    """The runs of one group. Places that are those of the first run are left out, and null stands for an axis that a run does not tell."""
    told: list[dict[str, Any]] = []
    first: dict[str, Numbers] = {}
    for run, one in courses.items():
        places = _places(one)
        first = first or places
        own = {axis: places.get(axis) for axis in AXES if not told or places.get(axis) != first.get(axis)}
        told.append({"run": run, "x": own, "y": _short(one.values)})
    return told


def _places(one: Curve) -> dict[str, Numbers]:
    return {axis: _short(values) for axis, values in one.places.items()}


def _short(values: Sequence[float]) -> Numbers:
    rounded = [float(f"{value:.5g}") if math.isfinite(value) else None for value in values]
    return [int(value) if value is not None and value == int(value) and abs(value) < 1e6 else value for value in rounded]

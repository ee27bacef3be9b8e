"""Groups of runs that differ in nothing but the seed, and what sets the groups apart."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformer_zoo.experiments.results import RunRecord, is_identity


@dataclass(kw_only=True)
class Group:
    """Runs that share everything but the seed."""

    label: str
    runs: list[RunRecord]

    @property
    def finished(self) -> list[RunRecord]:
        return [run for run in self.runs if run.status == "done"]

    def by_seed(self, metric: str) -> dict[Any, float]:
        """Seed → final value of the finished runs. Runs that repeat a seed are one observation, their mean: a repetition tells nothing of chance."""
        found: dict[Any, list[float]] = {}
        for run in self.finished:
            if metric in (final := run.final()):
                found.setdefault(str(run.path) if run.seed is None else run.seed, []).append(final[metric])
        return {seed: values[0] if len(values) == 1 else statistics.fmean(values) for seed, values in found.items()}

    def values(self, metric: str) -> list[float]:
        """The final values of the finished runs, one for each seed."""
        return list(self.by_seed(metric).values())

    def sizes(self, key: str) -> list[float]:
        """A size or cost (see `RunRecord.size`) of the finished runs, where it is known."""
        return [size for run in self.finished if (size := run.size(key)) is not None]


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation, None for a single value; NaN mean for none."""
    if not values:
        return math.nan, None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def group_runs(runs: Sequence[RunRecord], *, labelled: bool = False) -> list[Group]:
    """Runs with equal settings up to the seed form a group, named by what differs. `labelled`: the runs' own labels decide."""
    keys = [(run.label,) if labelled else _identity(run) for run in runs]
    members: dict[tuple[Any, ...], list[RunRecord]] = {}
    for key, run in zip(keys, runs, strict=True):
        members.setdefault(key, []).append(run)
    groups = [Group(label=group[0].label, runs=group) for group in members.values()]
    if not labelled:
        for group, label in zip(groups, labels_of([group.runs[0] for group in groups]), strict=True):
            group.label = label
            for run in group.runs:
                run.label = label
    return groups


def _identity(run: RunRecord) -> tuple[Any, ...]:
    if run.status in {"missing", "unreadable"} and not run.config:
        return (str(run.path),)
    return tuple(sorted((key, json.dumps(value, default=str)) for key, value in run.config.items() if is_identity(key)))


def labels_of(runs: Sequence[RunRecord]) -> list[str]:
    """A name for each run by what differs: the overrides where they tell the runs apart, settings otherwise, folder names at last."""
    overrides = [{text for text in run.overrides if is_identity(text.lstrip("+~").split("=")[0])} for run in runs]
    common = set.intersection(*overrides) if overrides else set()
    by_override = [" ".join(text for text in run.overrides if text in own - common) for run, own in zip(runs, overrides, strict=True)]
    if len(runs) == 1:
        return [by_override[0] or str(runs[0].config.get("recipe.name") or runs[0].path.name)]
    if len(set(by_override)) == len(runs):
        return [label or "as given" for label in by_override]
    differing = differing_keys(runs)
    by_setting = [", ".join(f"{key}={run.config.get(key, '–')}" for key in differing) for run in runs]
    if len(set(by_setting)) == len(runs) and len(differing) <= 4:
        return by_setting
    return [run.path.name for run in runs]


def differing_keys(runs: Sequence[RunRecord]) -> list[str]:
    """The settings that are not the same in all runs (the seed and places apart)."""
    keys = dict.fromkeys(key for run in runs for key in run.config if is_identity(key))
    return [key for key in keys if len({json.dumps(run.config.get(key), default=str) for run in runs}) > 1]

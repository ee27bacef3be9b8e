"""Groups of runs that differ in nothing but the seed, and what sets the groups apart."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformer_zoo.experiments.results import RunRecord, is_identity

DATA = "data_fingerprint"
"""Key of `environment.json`: what a run read."""


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
    """The mean and the sample standard deviation, None for a single value and NaN where a value is not finite; NaN mean for none."""
    if not values:
        return math.nan, None
    return statistics.fmean(values), deviation(values) if len(values) > 1 else None


def deviation(values: Sequence[float]) -> float:
    """The sample standard deviation of at least two values; NaN where one is not finite."""
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def group_runs(runs: Sequence[RunRecord], *, labelled: bool = False) -> list[Group]:
    """Runs with equal settings up to the seed, and the same data, form a group, named by what differs. `labelled`: the runs' own labels decide."""
    members: dict[tuple[Any, ...], list[RunRecord]] = {}
    for run in runs:
        members.setdefault((run.label,) if labelled else _identity(run), []).append(run)
    if labelled:
        return [Group(label=group[0].label, runs=group) for group in members.values()]
    labels = labels_of([group[0] for group in members.values()])
    groups = [part for label, group in zip(labels, members.values(), strict=True) for part in _by_data(label, group)]
    for group in groups:
        for run in group.runs:
            run.label = group.label
    return groups


def _by_data(label: str, runs: Sequence[RunRecord]) -> list[Group]:
    """Runs that read different text under the same settings are no repetitions; those that do not tell are taken to have read the first one."""
    texts = list(dict.fromkeys(str(text) for run in runs if (text := run.environment.get(DATA))))
    if len(texts) < 2:
        return [Group(label=label, runs=list(runs))]
    parts: dict[str, list[RunRecord]] = {text: [] for text in texts}
    for run in runs:
        parts[str(run.environment.get(DATA) or texts[0])].append(run)
    return [Group(label=f"{label} (data {text[:8]})", runs=members) for text, members in parts.items()]


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

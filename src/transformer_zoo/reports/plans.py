"""What the plans of studies tell a report: how each run was set apart, what each contestant costs, and the command that repeats it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from transformer_zoo.experiments.results import STUDY_FILE, Group, RunRecord, differing_keys

MOST_FACTORS = 4
"""Runs without a plan that differ in more settings than this are not read as an experiment with factors."""


@dataclass(kw_only=True)
class Plans:
    """The studies that the runs of a report belong to."""

    levels: dict[Path, dict[str, str]] = field(default_factory=dict)
    """Folder of a run → factor → level."""
    contestants: list[Mapping[str, Any]] = field(default_factory=list)
    """As they stand in the plans."""
    commands: list[list[str]] = field(default_factory=list)
    """The words that repeat each study, where its plan tells."""
    declared: list[str] = field(default_factory=list)
    """Settings that may differ."""
    matched: list[str] = field(default_factory=list)
    """What was made equal."""
    baseline: str | None = None
    """The group that others are compared with; None where studies do not agree on one."""


def read_plans(runs: Iterable[RunRecord]) -> Plans:
    """Reads the plan of every study that one of the runs lies in, once."""
    plans, baselines = Plans(), []
    for folder in dict.fromkeys(parent for run in runs for parent in list(run.path.parents)[:2] if (parent / STUDY_FILE).is_file()):
        plan = yaml.safe_load((folder / STUDY_FILE).read_text(encoding="utf-8")) or {}
        for cell in plan.get("cells") or []:
            plans.levels[folder / cell["run"]] = {str(factor): str(level) for factor, level in (cell.get("levels") or {}).items()}
        plans.contestants += plan.get("contestants") or []
        plans.commands += [[str(word) for word in plan["command"]]] if plan.get("command") else []
        plans.declared += [str(key) for key in plan.get("declared") or []]
        plans.matched += [str(measure) for measure in plan.get("matched") or []]
        baselines.append(plan.get("baseline"))
    plans.baseline = baselines[0] if len(set(baselines)) == 1 else None
    return plans


def levels_of(groups: Sequence[Group], plans: Plans) -> list[dict[str, str]]:
    """Factor → level for every group: as planned, else the few settings in which the groups differ; empty where there are none or many."""
    planned = [plans.levels.get(group.runs[0].path, {}) for group in groups]
    if all(planned):
        return planned
    keys = differing_keys([group.runs[0] for group in groups if len(group.runs[0].config) > 1])
    if not keys or len(keys) > MOST_FACTORS:
        return [{} for _ in groups]
    return [{key: str(group.runs[0].config[key]) for key in keys if key in group.runs[0].config} for group in groups]

"""Finds the runs that somebody names, and the studies that they belong to."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from transformer_zoo.errors import RunNotFoundError
from transformer_zoo.experiments.results import RUN_FILES, STUDY_FILE, RunRecord, is_run, read_run

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study as its `study.yaml` tells it; what an older one does not say is None or empty."""

    path: Path
    kind: str = ""
    declared: tuple[str, ...] | None = None
    """Settings (or sections) that its runs may differ in; None: it does not say."""
    matched: tuple[str, ...] = ()
    """What the contestants were made equal in."""
    tolerance: float = 0.02
    baseline: str | None = None
    """Label of the group that the others are compared with."""
    command: tuple[str, ...] = ()
    """The words that repeat it."""
    contestants: tuple[dict[str, Any], ...] = ()
    cells: tuple[dict[str, Any], ...] = ()
    tuned: tuple[dict[str, Any], ...] = ()
    """How the settings of each contestant were looked for, once that was done."""
    problem: str = ""
    """Why the file could not be read."""


def find_runs(paths: Iterable[Path]) -> list[RunRecord]:
    """The runs that `paths` name: run folders, studies (with the runs they planned), or folders that hold some.

    Raises RunNotFoundError for a path that is not there or holds none.
    """
    found: dict[Path, RunRecord] = {}
    for path in paths:
        if not path.is_dir():
            raise RunNotFoundError(f"report: there is no run, study or folder {str(path)!r}; give the folder that `train` or `compare` named")
        here = [_one(path)] if is_run(path) else _planned(path) or _below(path)
        if not here:
            raise RunNotFoundError(f"report: {str(path)!r} holds no runs (a run has {' or '.join(RUN_FILES)})")
        for record in here:
            found.setdefault(record.path.resolve(), record)
    return list(found.values())


def _one(folder: Path) -> RunRecord:
    """A run that was named itself; one of a study is read as its plan knows it."""
    record = read_run(folder)
    study = study_of([record])
    planned = [] if study is None or study.problem else _planned(study.path)
    return next((run for run in planned if run.path.resolve() == folder.resolve()), record)


def read_study(study: Path) -> StudyRecord | None:
    """What a study's `study.yaml` says; None where there is none. Damage makes a record with a `problem`, never an exception."""
    file = study / STUDY_FILE
    if not file.is_file():
        return None
    try:
        plan = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(plan, dict):
            raise ValueError("it does not hold settings")
        cells = plan.get("cells") or []
        if not isinstance(cells, list) or not all(isinstance(cell, dict) and cell.keys() >= {"label", "seed", "run"} for cell in cells):
            raise ValueError("its cells are not a list of runs, each with label, seed and run")
        return StudyRecord(
            path=study,
            kind=str(plan.get("kind") or ""),
            declared=None if plan.get("declared") is None else _words(plan["declared"]),
            matched=_words(plan.get("matched")),
            tolerance=float(plan.get("tolerance") or StudyRecord.tolerance),
            baseline=str(plan["baseline"]) if plan.get("baseline") else None,
            command=_words(plan.get("command")),
            contestants=tuple(one for one in plan.get("contestants") or [] if isinstance(one, dict)),
            cells=tuple(cells),
            tuned=tuple(one for one in plan.get("tuned") or [] if isinstance(one, dict) and isinstance(one.get("trials"), list)),
        )
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        return StudyRecord(path=study, problem=f"{STUDY_FILE} is damaged: {' '.join(str(error).split())}")


def _words(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list")
    return tuple(str(one) for one in value)


def study_of(runs: Sequence[RunRecord]) -> StudyRecord | None:
    """The study that all of the runs belong to; None for runs of several studies or of none."""
    folders = set(map(study_folder, runs))
    only = folders.pop() if len(folders) == 1 else None
    return None if only is None else read_study(only)


def study_folder(run: RunRecord) -> Path | None:
    """The folder of the study that a run lies in; None where it lies in none."""
    return next((folder for folder in list(run.path.resolve().parents)[:2] if (folder / STUDY_FILE).is_file()), None)


def _planned(folder: Path) -> list[RunRecord]:
    """The runs of a study's plan, also those that are not there; none where there is no plan that can be read."""
    study = read_study(folder)
    if study is None:
        return []
    if study.problem:
        logger.warning("%s: %s; its runs are read without it, and those that are not there cannot be named", folder, study.problem)
        return []
    records = []
    for cell in study.cells:
        record = read_run(folder / str(cell["run"]))
        record.label = str(cell["label"])
        levels = cell.get("levels")
        record.levels = {str(key): str(value) for key, value in levels.items()} if isinstance(levels, Mapping) else {}
        if not record.config:
            record.config = {"seed": cell["seed"]}
        if record.status == "missing":
            record.reason = "not started"
        record.failure = str(cell.get("failure") or "")
        if record.failure and record.status != "done":
            record.status, record.reason = "failed", record.failure
        records.append(record)
    return records


def _below(folder: Path) -> list[RunRecord]:
    records = []
    try:
        children = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise RunNotFoundError(f"report: {str(folder)!r} cannot be read ({error.strerror})") from error
    for child in children:
        records += [read_run(child)] if is_run(child) else _planned(child) or _below(child)
    return records

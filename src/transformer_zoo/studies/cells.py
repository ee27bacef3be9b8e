"""The cells of a study: which runs it consists of, and the file that says so."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.results import STUDY_FILE, flatten, is_identity

Compose = Callable[[Sequence[str]], ExperimentConfig]
"""Overrides → checked settings; `experiments.compose.experiment` is one."""


@dataclass(kw_only=True)
class Cell:
    """One planned run."""

    label: str
    """What sets it apart, without the seed; runs with the same label form a group."""
    overrides: list[str]
    seed: int
    config: ExperimentConfig
    run: str
    """Its folder inside the study; ends in the hash of its settings."""
    failure: str = ""
    exit_code: int = 0


@dataclass(kw_only=True)
class Contestant:
    """One model of a comparison: what to type for it and how large it is."""

    name: str
    parameters: int
    overrides: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Study:
    """A study that was run (or, with `plan`, would be)."""

    folder: Path
    kind: str
    cells: list[Cell]
    contestants: list[Contestant] = field(default_factory=list)

    @property
    def failed(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.failure]

    @property
    def exit_code(self) -> int:
        """0, or what the first failed run would have given on its own."""
        return next((cell.exit_code for cell in self.failed), 0)

    def plan(self) -> dict[str, Any]:
        """The plan as plain data, for `--json`."""
        contestants = [{"name": one.name, "parameters": one.parameters, "overrides": one.overrides} for one in self.contestants]
        runs = [{"label": cell.label, "seed": cell.seed, "overrides": cell.overrides, "run": cell.run} for cell in self.cells]
        return {"kind": self.kind, "folder": str(self.folder), "contestants": contestants, "runs": runs}


def config_hash(config: ExperimentConfig) -> str:
    """Eight hexadecimal digits that stand for everything that makes a run the run it is: all settings and the seed, no places."""
    settings = {key: value for key, value in flatten(to_dict(config)).items() if is_identity(key) or key == "seed"}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:8]


def write_plan(study: Study) -> None:
    """Write `study.yaml`, whole or not at all."""
    plan = {
        "kind": study.kind,
        "contestants": study.plan()["contestants"],
        "cells": [
            {"label": cell.label, "seed": cell.seed, "overrides": cell.overrides, "run": cell.run, "failure": cell.failure} for cell in study.cells
        ],
    }
    study.folder.mkdir(parents=True, exist_ok=True)
    temporary = study.folder / f"{STUDY_FILE}.tmp"
    temporary.write_text(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True), encoding="utf-8")
    temporary.replace(study.folder / STUDY_FILE)

"""The cells of a study: which runs it consists of, and the file that says so."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.costs import Costs
from transformer_zoo.experiments.results import STUDY_FILE, flatten, is_identity
from transformer_zoo.training import io

Compose = Callable[[Sequence[str]], ExperimentConfig]
"""Overrides → checked settings; `experiments.compose.experiment` is one."""
Train = Callable[[ExperimentConfig, Sequence[str]], Any]
"""Trains one run into `config.run_dir`; `experiments.run.train` is one."""


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
    levels: dict[str, str] = field(default_factory=dict)
    """Factor → name of its level in this run."""
    phases: list[list[str]] = field(default_factory=list)
    """The overrides of each phase before the last, complete but for places; every phase goes on from the weights of the one before."""
    failure: str = ""
    exit_code: int = 0


@dataclass(kw_only=True)
class Contestant:
    """One side of a comparison: what to type for it, and what it costs."""

    name: str
    parameters: int | None = None
    """None where nobody asked."""
    overrides: list[str] = field(default_factory=list)
    levels: dict[str, str] = field(default_factory=dict)
    costs: Costs | None = None

    def document(self) -> dict[str, Any]:
        """Plain data."""
        costs = None if self.costs is None else self.costs.document()
        return {"name": self.name, "parameters": self.parameters, "overrides": self.overrides, "levels": self.levels, "costs": costs}


@dataclass(kw_only=True)
class Study:
    """A study that was run (or, with `plan`, would be)."""

    folder: Path
    kind: str
    cells: list[Cell]
    contestants: list[Contestant] = field(default_factory=list)
    declared: list[str] = field(default_factory=list)
    """Settings, or sections of them, in which runs may differ; they differ in no others."""
    matched: list[str] = field(default_factory=list)
    """What was made equal between contestants."""
    tolerance: float = 0.02
    """The largest share by which contestants differ in what was made equal."""
    count_embeddings: bool = True
    """Whether embeddings are in the account of parameters that were made equal."""
    baseline: str = ""
    """Label of what everything is compared to."""
    command: list[str] = field(default_factory=list)
    """The words that repeat the study, behind `transformer-zoo`."""
    tuned: list[dict[str, Any]] = field(default_factory=list)
    """How each contestant's settings were looked for: the trials with their outcomes, and what was chosen."""

    @property
    def failed(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.failure]

    @property
    def exit_code(self) -> int:
        """0, or what the first failed run would have given on its own."""
        return next((cell.exit_code for cell in self.failed), 0)

    def plan(self) -> dict[str, Any]:
        """The plan as plain data, for `--json`."""
        runs = [
            {"label": cell.label, "seed": cell.seed, "levels": cell.levels, "overrides": cell.overrides, "run": cell.run}
            | ({"phases": cell.phases} if cell.phases else {})
            for cell in self.cells
        ]
        return {"kind": self.kind, "folder": str(self.folder), **self._terms(), "runs": runs}

    def document(self) -> dict[str, Any]:
        """What `study.yaml` holds."""
        cells = [run | {"failure": cell.failure} for run, cell in zip(self.plan()["runs"], self.cells, strict=True)]
        return {"kind": self.kind, "command": self.command, **self._terms(), "tuned": self.tuned, "cells": cells}

    def _terms(self) -> dict[str, Any]:
        return {
            "baseline": self.baseline,
            "declared": self.declared,
            "matched": self.matched,
            "tolerance": self.tolerance,
            "count_embeddings": self.count_embeddings,
            "contestants": [one.document() for one in self.contestants],
        }


def config_hash(config: ExperimentConfig, phases: Sequence[ExperimentConfig] = ()) -> str:
    """Eight hexadecimal digits that stand for everything that makes a run the run it is: all settings and the seed, those of earlier phases too, no
    places."""
    told = [{key: value for key, value in flatten(to_dict(one)).items() if is_identity(key) or key == "seed"} for one in (config, *phases)]
    return hashlib.sha256(json.dumps(told if phases else told[0], sort_keys=True, default=str).encode()).hexdigest()[:8]


def slug(label: str) -> str:
    """A label as the beginning of a folder's name."""
    return re.sub(r"[^A-Za-z0-9=.,_+-]+", "-", label.replace("model/", "")).strip("-.")[:60].strip("-.") or "run"


def quoted(text: str) -> str:
    """A value in the quotes of the override grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def write_plan(study: Study) -> None:
    """Write `study.yaml`, whole or not at all."""
    study.folder.mkdir(parents=True, exist_ok=True)
    io.replace_text(study.folder / STUDY_FILE, yaml.safe_dump(study.document(), sort_keys=False, allow_unicode=True, width=150))

"""Studies: a grid of choices × seeds, each cell one run, all in one folder with tables and a report.

A cell is known by the hash of its whole resolved configuration, so the same command continues a study that was stopped: finished
runs are never repeated, stopped ones go on from their checkpoints, failed ones are tried again and named if they fail again.
"""

import hashlib
import itertools
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from transformer_zoo.data.module import DataModule
from transformer_zoo.errors import ConfigError, StoppedError, ZooError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.measuring import Measure, Measurement, Measuring
from transformer_zoo.experiments.report import study_files
from transformer_zoo.experiments.results import FINAL_EVALUATION, STUDY_FILE, flatten, is_identity, read_run

logger = logging.getLogger(__name__)

Train = Callable[[ExperimentConfig, Sequence[str]], Any]
"""Trains one run into `config.run_dir`; `experiments.run.train` is one."""
Compose = Callable[[Sequence[str]], ExperimentConfig]
"""Overrides → checked settings; `experiments.compose.experiment` is one."""
Count = Callable[[ExperimentConfig], int]
"""Trainable parameters of what the settings describe."""

MATCHES = ("none", "parameters")
UNEXPECTED = 1
"""Exit code of a study in which a run failed for a reason that is not the user's."""


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


def compare(
    models: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    seeds: int = 1,
    match: str = "none",
    folder: Path | None = None,
    plan: bool = False,
    train: Train | None = None,
    compose: Compose | None = None,
    count: Count | None = None,
) -> Study:
    """Train several models under the same settings and tabulate them.

    `match=parameters` sets every model's width so that its size comes closest to the first one's. All contestants use the first one's
    tokenizer unless `overrides` choose one. With `plan` nothing is trained. Raises ConfigError before anything is trained.
    """
    compose, count = compose or _compose, count or counter()
    if match not in MATCHES:
        raise ConfigError(f"match={match}: expected one of {', '.join(MATCHES)}")
    if len(set(models)) < len(models) or not models:
        raise ConfigError(f"model={','.join(models)}: name every model once, at least one")
    common = list(overrides)
    if not _chosen(common, "tokenizer") and len(models) > 1:
        common += _first_tokenizer(models, common, compose)
    contestants: list[Contestant] = []
    for name in models:
        own = [f"model={name}"]
        parameters = count(compose([*own, *common]))
        if match == "parameters" and contestants and parameters != contestants[0].parameters:
            own += matching_width([*own, *common], contestants[0].parameters, compose, count)
            parameters = count(compose([*own, *common]))
        contestants.append(Contestant(name=name, parameters=parameters, overrides=own))
    groups = [(one.name, [*one.overrides, *common]) for one in contestants]
    return _study("compare", groups, seeds, folder, plan, train, compose, contestants, Measuring({}))


def ablate(
    factors: Mapping[str, Sequence[str]],
    overrides: Sequence[str] = (),
    *,
    variants: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    measurements: Mapping[str, Measurement] | None = None,
    seeds: int = 1,
    folder: Path | None = None,
    plan: bool = False,
    train: Train | None = None,
    compose: Compose | None = None,
    measure: Measure | None = None,
) -> Study:
    """Train every combination of the settings in `factors` (key → values as typed) and of the `variants` (name → variant → overrides), measure
    every finished run as `measurements` say, and tabulate; see `compare`."""
    varied = [{f"{key}={value}": [f"{key}={value}"] for value in values} for key, values in factors.items()]
    varied += [{f"{name}={variant}": list(words) for variant, words in choices.items()} for name, choices in (variants or {}).items()]
    if not varied:
        raise ConfigError(
            "ablate: name a setting and its values, for example objective.mask_ratio=0.15,0.3,0.4, or a study, for example study=mask_ratio"
        )
    groups = []
    for chosen in itertools.product(*(factor.items() for factor in varied)):
        own = [word for _, words in chosen for word in words]
        groups.append((" ".join(label for label, _ in chosen), [*own, *overrides]))
    return _study("ablate", groups, seeds, folder, plan, train, compose or _compose, [], Measuring(measurements or {}, measure))


def matching_width(overrides: Sequence[str], parameters: int, compose: Compose, count: Count) -> list[str]:
    """Overrides of `d_model` and `d_ff` that bring a model closest to a number of parameters; layers, heads and d_ff : d_model stay."""
    model: Any = compose(overrides).model
    if not all(hasattr(model, name) for name in ("d_model", "d_ff", "n_heads")):
        raise ConfigError(f"match=parameters: {overrides[0]} has no d_model, d_ff and n_heads to fit; leave match out or set its size yourself")
    unit, ratio = 2 * model.n_heads, model.d_ff / model.d_model  # whole, even head widths, as rotary positions need

    def at(units: int) -> list[str]:
        return [f"model.d_model={units * unit}", f"model.d_ff={max(1, round(units * unit * ratio))}"]

    def size(units: int) -> int:
        return count(compose([*overrides, *at(units)]))

    low, high = 1, 2
    while size(high) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < parameters else (low, middle)
    return at(min((low, high), key=lambda units: abs(size(units) - parameters)))


def config_hash(config: ExperimentConfig) -> str:
    """Eight hexadecimal digits that stand for everything that makes a run the run it is: all settings and the seed, no places."""
    settings = {key: value for key, value in flatten(to_dict(config)).items() if is_identity(key) or key == "seed"}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _compose(overrides: Sequence[str]) -> ExperimentConfig:
    from transformer_zoo.experiments.compose import experiment

    return experiment(overrides)


def counter() -> Count:
    """Counts parameters, opening the data for its vocabulary once for all models that share data and tokenizer."""
    from transformer_zoo.experiments import assemble

    opened: dict[str, DataModule] = {}

    def count(config: ExperimentConfig) -> int:
        key = json.dumps([to_dict(config.data), to_dict(config.tokenizer), str(config.objective.needs())], default=str)
        if key not in opened:
            opened[key] = assemble.open_data(config)
        data = opened[key]
        objective = assemble.build_objective(config.objective, data, data.vocabulary)
        model = assemble.build_on_meta(config.model, data.vocabulary.size, objective.needs().heads)
        return sum(parameter.numel() for parameter in model.parameters())

    return count


def _train(config: ExperimentConfig, overrides: Sequence[str]) -> None:
    from transformer_zoo.experiments.run import train

    train(config, overrides)


def _chosen(overrides: Sequence[str], group: str) -> bool:
    return any(text.lstrip("+~").split("=")[0].split("@")[0] == group for text in overrides)


def _first_tokenizer(models: Sequence[str], overrides: Sequence[str], compose: Compose) -> list[str]:
    """The first contestant's own tokenizer as an override, where the contestants' differ."""
    own = [compose([f"model={name}", *overrides]).recipe.tokenizer for name in models]
    if len(set(own)) == 1 or own[0] is None:
        return []
    logger.info("every model uses the tokenizer of %s: tokenizer=%s", models[0], own[0])
    return [f"tokenizer={own[0]}"]


def _study(
    kind: str,
    groups: Sequence[tuple[str, list[str]]],
    seeds: int,
    folder: Path | None,
    plan: bool,
    train: Train | None,
    compose: Compose,
    contestants: list[Contestant],
    measuring: Measuring,
) -> Study:
    if seeds < 1:
        raise ConfigError(f"seeds={seeds}: expected at least 1")
    cells, problems = [], []
    for label, overrides in groups:
        try:
            first = compose(overrides).seed
            cells += [_cell(label, [*overrides, f"seed={seed}"], compose) for seed in range(first, first + seeds)]
        except ConfigError as error:
            problems += [f"{label}: {problem}" for problem in error.problems]
    problems += measuring.problems()
    if problems:
        raise ConfigError(*problems)
    study = Study(folder=folder or _default_folder(kind, groups), kind=kind, cells=cells, contestants=contestants)
    if not plan:
        _run(study, train or _train, compose, measuring)
    return study


def _cell(label: str, overrides: list[str], compose: Compose) -> Cell:
    config = compose(overrides)
    slug = re.sub(r"[^A-Za-z0-9=.,_+-]+", "-", label.replace("model/", "")).strip("-.")[:60].strip("-.") or "run"
    return Cell(label=label, overrides=overrides, seed=config.seed, config=config, run=f"runs/{slug}-seed{config.seed}-{config_hash(config)}")


def _default_folder(kind: str, groups: Sequence[tuple[str, list[str]]]) -> Path:
    """The same command gives the same folder; more seeds extend it."""
    digest = hashlib.sha256(json.dumps(list(groups)).encode()).hexdigest()[:8]
    return Path("studies") / f"{kind}-{digest}"


def _run(study: Study, train: Train, compose: Compose, measuring: Measuring) -> None:
    _write_plan(study)
    try:
        for number, cell in enumerate(study.cells, start=1):
            title = f"{number}/{len(study.cells)} {cell.label} seed {cell.seed}"
            _guarded(cell, title, partial(_train_cell, study.folder / cell.run, cell, title, train, compose))
            if not cell.failure:
                _guarded(cell, title, partial(measuring.measure, study.folder / cell.run))
    finally:
        _write_plan(study)
        study_files(study.folder, f"{study.kind}: {', '.join(dict.fromkeys(cell.label for cell in study.cells))}")
    for cell in study.failed:
        logger.error("%s seed %d failed: %s (%s)", cell.label, cell.seed, cell.failure, study.folder / cell.run)


def _train_cell(path: Path, cell: Cell, title: str, train: Train, compose: Compose) -> None:
    """Trains one cell unless it is finished."""
    run = read_run(path)
    status = run.status
    if status == "done" and (cell.config.final_evaluation is None or FINAL_EVALUATION in run.summary):
        logger.info("%s: finished before", title)
        return
    if status in {"failed", "unreadable"}:
        _set_aside(path)
    logger.info("%s: %s", title, "training" if status in {"missing", "failed", "unreadable"} else "going on")
    overrides = [*cell.overrides, f"run_dir={_quoted(str(path))}"]
    train(compose(overrides), overrides)


def _guarded(cell: Cell, title: str, work: Callable[[], None]) -> None:
    """A failure is noted in the cell and costs no other; a signal goes on to the caller."""
    try:
        work()
    except StoppedError:
        raise
    except ZooError as error:
        cell.failure, cell.exit_code = " ".join(str(error).split()), error.exit_code
    except Exception as error:  # one broken cell must not cost the others; it is named in the report
        logger.debug("%s failed", title, exc_info=True)
        cell.failure, cell.exit_code = f"{type(error).__name__}: {' '.join(str(error).split())}", UNEXPECTED
    if cell.failure:
        logger.error("%s: %s", title, cell.failure)


def _quoted(text: str) -> str:
    """A value in the quotes of the override grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _set_aside(path: Path) -> None:
    """Makes room for another try; what the failed run left stays beside it."""
    number = next(n for n in itertools.count(1) if not path.with_name(f"{path.name}.failed-{n}").exists())
    path.rename(path.with_name(f"{path.name}.failed-{number}"))


def _write_plan(study: Study) -> None:
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

"""Studies: a grid of choices × seeds, each cell one run, all in one folder with tables and a report.

A cell is known by the hash of its whole resolved configuration, so the same command continues a study that was stopped: finished
runs are never repeated, stopped ones go on from their checkpoints, failed ones are tried again and named if they fail again.
"""

import hashlib
import itertools
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.studies.cells import Cell, Compose, Contestant, Study, config_hash
from transformer_zoo.studies.costs import Price
from transformer_zoo.studies.matching import match as matched
from transformer_zoo.studies.recipe import without
from transformer_zoo.studies.measuring import Measure, Measurement, Measuring
from transformer_zoo.studies.running import Train, run

logger = logging.getLogger(__name__)


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
    price: Price | None = None,
) -> Study:
    """Train several models under the same settings and tabulate them.

    `match=parameters` sets every model's width so that its size comes closest to the first one's. All contestants use the first one's
    tokenizer unless `overrides` choose one. With `plan` nothing is trained. Raises ConfigError before anything is trained.
    """
    compose = compose or _compose
    if len(set(models)) < len(models) or not models:
        raise ConfigError(f"model={','.join(models)}: name every model once, at least one")
    common = list(overrides)
    if not _chosen(common, "tokenizer") and len(models) > 1:
        common += _first_tokenizer(models, common, compose)
    measures = [] if match == "none" else match.split(",")
    contestants = matched([Contestant(name=name, overrides=[f"model={name}"]) for name in models], common, measures, compose=compose, price=price)
    groups = [(one.name, [*one.overrides, *without(common, one.overrides)]) for one in contestants]
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








def _compose(overrides: Sequence[str]) -> ExperimentConfig:
    from transformer_zoo.experiments.compose import experiment

    return experiment(overrides)





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
        run(study, train or _train, compose, measuring)
    return study


def _cell(label: str, overrides: list[str], compose: Compose) -> Cell:
    config = compose(overrides)
    slug = re.sub(r"[^A-Za-z0-9=.,_+-]+", "-", label.replace("model/", "")).strip("-.")[:60].strip("-.") or "run"
    return Cell(label=label, overrides=overrides, seed=config.seed, config=config, run=f"runs/{slug}-seed{config.seed}-{config_hash(config)}")


def _default_folder(kind: str, groups: Sequence[tuple[str, list[str]]]) -> Path:
    """The same command gives the same folder; more seeds extend it."""
    digest = hashlib.sha256(json.dumps(list(groups)).encode()).hexdigest()[:8]
    return Path("studies") / f"{kind}-{digest}"







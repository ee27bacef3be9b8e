"""Studies: contestants or settings × seeds, each cell one run, all in one folder with tables and a report.

A cell is known by the hash of its whole resolved configuration, so the same command continues a study that was stopped: finished
runs are never repeated, stopped ones go on from their checkpoints, failed ones are named, and made again where that is asked.

All runs have the same seeds, and with them the same order of data and the same evaluation positions; runs are refused that differ in
settings which nobody declared.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.hints import did_you_mean
from transformer_zoo.studies import matching
from transformer_zoo.studies.cells import Compose, Contestant, Study, Train, slug
from transformer_zoo.studies.costs import Price
from transformer_zoo.studies.declaring import declared_sections
from transformer_zoo.studies.factors import Combination, Design, Level, combinations
from transformer_zoo.studies.groups import Group, declared_keys, refuse, together
from transformer_zoo.studies.measuring import Measure, Measurement, Measuring
from transformer_zoo.studies.phased import make_equal
from transformer_zoo.studies.recipe import Variant, key_of
from transformer_zoo.studies.running import check as check_running
from transformer_zoo.studies.running import run
from transformer_zoo.studies.trials import WHERE, tune
from transformer_zoo.studies.tuning import Search, TrainTrial, Tuning

logger = logging.getLogger(__name__)

FOLDER = Path("studies")
"""Where studies lie that nobody placed."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """The study of `configs/study/` that is asked for."""

    name: str
    changed: bool
    """Whether anything was typed beside it that makes other runs than its own."""


@dataclass(kw_only=True)
class Terms:
    """What is held equal, what may differ, and what everything is compared to."""

    match: Sequence[str] = ()
    """What is made equal between contestants, of `matching.MEASURES`."""
    count_embeddings: bool = True
    """Whether embeddings are in the account of parameters."""
    tolerance: float = 0.02
    """The largest share by which contestants may differ in what is made equal."""
    baseline: str | None = None
    """A label; None: the first."""
    declare: Sequence[str] = ()
    """Settings, or sections of them, in which runs may differ beside what is varied."""


def _compose(overrides: Sequence[str]) -> ExperimentConfig:
    from transformer_zoo.experiments.compose import experiment

    return experiment(overrides)


def _train(config: ExperimentConfig, overrides: Sequence[str]) -> None:
    from transformer_zoo.experiments.run import train

    train(config, overrides)


def _train_trial(config: ExperimentConfig, overrides: Sequence[str], verdict: Any) -> None:
    from transformer_zoo.experiments.run import train

    train(config, overrides, verdict=verdict)


@dataclass(kw_only=True)
class Doors:
    """What a study does its work by, so that it can be replaced."""

    compose: Compose = _compose
    train: Train = _train
    train_trial: TrainTrial = _train_trial
    price: Price | None = None
    measure: Measure | None = None
    config_dirs: Sequence[Path] = ()
    """Folders with options of the user's own, in which `compose` looks too."""
    running: Mapping[str, Any] = field(default_factory=dict)
    """How the runs are made, as `running.run` takes it."""


def compare(
    models: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    factors: Mapping[str, Sequence[str]] | None = None,
    variants: Mapping[str, Mapping[str, Variant]] | None = None,
    design: Design | None = None,
    terms: Terms | None = None,
    tuning: Tuning | None = None,
    measurements: Mapping[str, Measurement] | None = None,
    seeds: int = 1,
    folder: Path | None = None,
    named: Named | None = None,
    command: Sequence[str] = (),
    plan: bool = False,
    doors: Doors | None = None,
) -> Study:
    """Train several contestants under the same settings and tabulate them: models, or where `models` is empty what `factors` and `variants` make.

    The contestants are made equal in what `terms.match` says. All use the first one's tokenizer unless `overrides` choose one. With `plan` nothing
    is trained. Where no `folder` is given, what is asked for says where the study lies; `named` is the recipe that it comes from. Raises ConfigError
    before anything is trained.
    """
    if len(set(models)) < len(models) or not (models or factors or variants):
        raise ConfigError(f"model={','.join(models)}: name every model once, at least one")
    design = design or Design()
    chosen = combinations(factors or {}, variants or {}, design) if factors or variants or design.varies else [Combination(chosen=())]
    first = [Level(label=name, levels={"model": name}, words=(f"model={name}",)) for name in models]
    crossed = [Combination(chosen=(level, *one.chosen)) for level in first for one in chosen] if first else chosen
    terms = terms or Terms()
    place = folder or _default_folder("compare", named, crossed, overrides, terms, tuning)
    return _study("compare", crossed, overrides, terms, tuning, measurements or {}, seeds, place, command, plan, doors or Doors())


def ablate(
    factors: Mapping[str, Sequence[str]],
    overrides: Sequence[str] = (),
    *,
    variants: Mapping[str, Mapping[str, Variant]] | None = None,
    design: Design | None = None,
    terms: Terms | None = None,
    tuning: Tuning | None = None,
    measurements: Mapping[str, Measurement] | None = None,
    seeds: int = 1,
    folder: Path | None = None,
    named: Named | None = None,
    command: Sequence[str] = (),
    plan: bool = False,
    doors: Doors | None = None,
) -> Study:
    """Train every combination of the settings in `factors` (key → values as typed) and of the `variants` (name → variant → overrides), or those that
    `design` picks, measure every finished run as `measurements` say, and tabulate; see `compare`."""
    design = design or Design()
    tuned_alone = tuning is not None and not (factors or variants or design.varies)
    found = [Combination(chosen=())] if tuned_alone else combinations(factors, variants or {}, design)
    terms = terms or Terms()
    place = folder or _default_folder("ablate", named, found, overrides, terms, tuning)
    return _study("ablate", found, overrides, terms, tuning, measurements or {}, seeds, place, command, plan, doors or Doors())


def _study(
    kind: str,
    found: Sequence[Combination],
    overrides: Sequence[str],
    terms: Terms,
    tuning: Tuning | None,
    measurements: Mapping[str, Measurement],
    seeds: int,
    folder: Path,
    command: Sequence[str],
    plan: bool,
    doors: Doors,
) -> Study:
    compose, measuring = _once(doors.compose), Measuring(measurements, doors.measure)
    _check(found, terms, tuning, seeds)
    check_running(doors.running)
    configs = _composed(found, overrides, compose, measuring)
    first = configs[0].seed  # of all groups: runs are paired by seed
    common = [*overrides, *_one_tokenizer(found, overrides, configs)]
    contestants = _contestants(kind, found, common, terms, compose, doors)
    groups = [Group(one=one, contestant=contestant, common=common) for one, contestant in zip(found, contestants, strict=True)]
    budgets = [measure for measure in terms.match if measure != "parameters"]
    if budgets and any(one.phases for one in found):
        make_equal(groups, terms.baseline or found[0].label, budgets, compose, doors.price, terms.tolerance)
    cells = [group.cell(first + number, compose) for group in groups for number in range(seeds)]
    meant = declared_sections(terms.declare, [cell.config for cell in cells])
    study = Study(
        folder=folder,
        kind=kind,
        cells=cells,
        contestants=[group.contestant for group in groups],
        declared=declared_keys(groups, cells, common, [*meant, *(tuning.keys if tuning else ())], doors.config_dirs),
        matched=list(terms.match),
        tolerance=terms.tolerance,
        count_embeddings=terms.count_embeddings,
        baseline=terms.baseline or found[0].label,
        command=list(command),
        tuned=[] if tuning is None else [tuning.document()],
    )
    refuse(study, compose)
    if plan:
        return study
    if tuning is not None:
        searches = [Search(tuning, folder, doors.compose, first, group.label, group.words) for group in groups]
        where = {key: doors.running[key] for key in WHERE if key in doors.running}
        outcomes = tune(study, searches, doors.train_trial, doors.compose, **where)
        for group, outcome in zip(groups, outcomes, strict=True):
            group.tuned = outcome.words
        study.tuned = [outcome.document(group.label) for group, outcome in zip(groups, outcomes, strict=True)]
        study.cells = [group.cell(first + number, compose) for group in groups for number in range(seeds)]
    run(study, doors.train, doors.compose, measuring, **doors.running)
    return study


def _once(compose: Compose) -> Compose:
    """Composes the same words once; planning asks for them several times."""
    known: dict[tuple[str, ...], ExperimentConfig] = {}

    def composed(words: Sequence[str]) -> ExperimentConfig:
        key = tuple(words)
        if key not in known:
            known[key] = compose(words)
        return known[key]

    return composed


def _check(found: Sequence[Combination], terms: Terms, tuning: Tuning | None, seeds: int) -> None:
    """What is wrong with the design itself."""
    if seeds < 1:
        raise ConfigError(f"seeds={seeds}: expected at least 1")
    if any(key_of(word) == "seed" for one in found for word in one.words):
        raise ConfigError("seed: the seed is no factor; seeds=3 repeats every run with three seeds, the same ones for all")
    labels = [one.label for one in found]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"{label}: is named twice; every combination runs once for each seed")
    if terms.baseline is not None and terms.baseline not in labels:
        raise ConfigError(f"baseline={terms.baseline}: there is no such label{did_you_mean(terms.baseline, labels)} (there are {', '.join(labels)})")
    matching.check(terms.match)
    if not 0 < terms.tolerance < 1:
        raise ConfigError(f"tolerance={terms.tolerance:g}: expected a share between 0 and 1, such as 0.02")
    if tuning is not None:
        tuning.check()
        varied = {key_of(word) for one in found for word in one.words}
        for key in tuning.keys:
            if key in varied:
                raise ConfigError(f"tune={key}: is varied as well; a setting is either a factor or tuned")
        for one in found:
            if one.phases:
                raise ConfigError(f"{one.label}: a run with phases cannot be tuned; leave tune out, and set the value of each phase")


def _composed(found: Sequence[Combination], overrides: Sequence[str], compose: Compose, measuring: Measuring) -> list[ExperimentConfig]:
    """The settings of every group. Every problem of all groups and measurements is told at once."""
    problems, configs = [], []
    for one in found:
        try:
            configs.append(compose(together(one.words, overrides)))
            for phase in one.phases:
                compose(together(phase, overrides))
        except ConfigError as error:
            problems += [f"{one.label}: {problem}" for problem in error.problems]
    problems += measuring.problems()
    if problems:
        raise ConfigError(*problems)
    return configs


def _one_tokenizer(found: Sequence[Combination], overrides: Sequence[str], configs: Sequence[ExperimentConfig]) -> list[str]:
    """The first contestant's own tokenizer as an override, where the contestants' differ and nobody chose."""
    words = [*overrides, *(word for one in found for word in one.words)]
    if any(key_of(word).split("@")[0] == "tokenizer" for word in words):
        return []
    own = [config.recipe.tokenizer for config in configs]
    if len(set(own)) == 1 or own[0] is None:
        return []
    logger.info("every contestant uses the tokenizer of %s: tokenizer=%s", found[0].label, own[0])
    return [f"tokenizer={own[0]}"]


def _contestants(kind: str, found: Sequence[Combination], common: Sequence[str], terms: Terms, compose: Compose, doors: Doors) -> list[Contestant]:
    """One for every group; the baseline is what the others are made equal to."""
    plain = [Contestant(name=one.label, overrides=one.words, levels=one.levels) for one in found]
    if kind != "compare" and not terms.match:
        return plain
    measures = [measure for measure in terms.match if measure == "parameters" or not any(one.phases for one in found)]  # see `studies.phased`
    baseline = next(number for number, one in enumerate(found) if terms.baseline in (None, one.label))
    order = [baseline, *(number for number in range(len(found)) if number != baseline)]
    made = matching.match(
        [plain[number] for number in order],
        common,
        measures,
        compose=compose,
        price=doors.price,
        count_embeddings=terms.count_embeddings,
        tolerance=terms.tolerance,
    )
    return [one for _, one in sorted(zip(order, made, strict=True), key=lambda pair: pair[0])]


def _default_folder(
    kind: str, named: Named | None, found: Sequence[Combination], overrides: Sequence[str], terms: Terms, tuning: Tuning | None
) -> Path:
    """The same command gives the same folder; more seeds extend it. A named study as it is lies under its name alone."""
    if named is not None and not named.changed:
        return FOLDER / slug(named.name)
    told: list[Any] = [(one.label, [*one.words, *overrides]) for one in found]
    told += [phase for one in found for phase in one.phases]
    if terms.match:
        told.append([*terms.match, terms.count_embeddings, terms.tolerance])
    if tuning is not None:
        told.append(tuning.document())
    readable = kind if named is None else slug(named.name)
    return FOLDER / f"{readable}-{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]}"

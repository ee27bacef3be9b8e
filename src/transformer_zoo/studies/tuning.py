"""Tuning: every contestant gets the same number of trials to find its best value of some settings, before its real runs.

Trials have a seed of their own and see validation data only. Lists are tried value by value; ranges are searched by Optuna's TPE
(Bergstra et al. 2011, https://papers.nips.cc/paper/4443), which continues from the kept trials. A trial that is worse than the median
of the earlier ones at the same evaluation is stopped (Golovin et al. 2017, https://doi.org/10.1145/3097983.3098043).
"""

import hashlib
import importlib.util
import itertools
import json
import logging
import math
import random
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformer_zoo.errors import ConfigError, MissingExtraError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.results import read_run
from transformer_zoo.experiments.spans import EDGE, Span
from transformer_zoo.reports.trials import SCORE
from transformer_zoo.studies.cells import Compose, config_hash, slug
from transformer_zoo.training import io

logger = logging.getLogger(__name__)

FOLDER = "tuning"
"""Folder of a study with the trials."""
METRIC = SCORE
"""What is made small; of the last evaluation, as in the real runs."""
SEED_OFFSET = 10_000
"""Added to a study's first seed for the trials, so that no real run has a seed of theirs."""
TRIALS = 10
"""In a range, where `trials` does not say otherwise."""
JUDGED_FROM_TRIAL = 3
"""Trials that must have been made before another is stopped early."""
JUDGED_FROM_EVALUATION = 3
"""Evaluations of a trial before it is stopped early; the first ones tell of the warm-up."""
HOPELESS = "hopeless: "

TrainTrial = Callable[[ExperimentConfig, Sequence[str], Callable[[], str]], Any]
"""Trains one trial into `config.run_dir`; asks after every evaluation whether it shall end, and why."""


@dataclass(kw_only=True)
class Tuning:
    """What is looked for, and how long."""

    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Setting → the values to try."""
    spans: Mapping[str, Span] = field(default_factory=dict)
    """Setting → the range to search."""
    trials: int | None = None
    """Of each contestant; None: every combination of the values once, or ten in a range."""

    @property
    def keys(self) -> list[str]:
        return [*self.values, *self.spans]

    @property
    def n_trials(self) -> int:
        """Trials of each contestant: never more than there are combinations."""
        size = math.prod(len(values) for values in self.values.values())
        if self.spans:
            return self.trials or TRIALS
        return min(self.trials or size, size)

    def check(self) -> None:
        """Raises ConfigError or MissingExtraError before anything is trained."""
        if self.trials is not None and self.trials < 1:
            raise ConfigError(f"trials={self.trials}: expected at least 1, the number of trials of each contestant")
        for key, values in self.values.items():
            if len(values) < 2:
                raise ConfigError(f"tune={key}: one value ({', '.join(values)}) leaves nothing to tune; give several or a range")
        if self.spans and importlib.util.find_spec("optuna") is None:
            raise MissingExtraError("optuna", "tune", f"tuning {next(iter(self.spans))} over a range")

    def document(self) -> dict[str, Any]:
        """Plain data."""
        values: dict[str, Any] = {key: list(found) for key, found in self.values.items()}
        return {"keys": values | {key: str(span) for key, span in self.spans.items()}, "trials": self.n_trials}


@dataclass(kw_only=True)
class Trial:
    """One try of one contestant."""

    values: dict[str, str]
    """Setting → value as typed."""
    status: str = "running"
    """`running`, `done`, `hopeless` (stopped early) or `failed`."""
    score: float | None = None
    """The last validation loss."""
    curve: list[float] = field(default_factory=list)
    """All of them, in order."""
    reason: str = ""
    run: str = ""
    """Its folder inside the study."""


@dataclass(kw_only=True)
class Tuned:
    """What tuning a contestant came to."""

    chosen: dict[str, str]
    trials: list[Trial]
    warnings: list[str]

    @property
    def words(self) -> list[str]:
        return [f"{key}={value}" for key, value in self.chosen.items()]

    def document(self, label: str) -> dict[str, Any]:
        """Plain data for `study.yaml`."""
        return {
            "contestant": label,
            "chosen": dict(self.chosen),
            "warnings": self.warnings,
            "trials": [
                {"values": dict(one.values), "status": one.status, METRIC: one.score, "run": one.run} | ({"reason": one.reason} if one.reason else {})
                for one in self.trials
            ],
        }


class Search:
    """Looks for the best values of one contestant inside a study's folder: trial after trial, each a function of those before. Trials that were made
    before are kept, one that was stopped goes on."""

    def __init__(self, tuning: Tuning, folder: Path, compose: Compose, seed: int, label: str, overrides: Sequence[str]) -> None:
        self.label = label
        self.seed = seed + SEED_OFFSET
        self.words = [*overrides, f"seed={self.seed}", "final_evaluation=null"]
        """Of every trial, beside the values that it tries."""
        config = compose(self.words)
        self.budget = config.training.budget
        self._tuning, self._folder = tuning, folder
        identity = json.dumps([tuning.document()["keys"], config_hash(config)])  # trials of other settings or another search are others
        self._place = f"{FOLDER}/{slug(label)}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
        self.file = folder / self._place / "trials.json"
        """Where the trials are kept."""
        self.trials = kept_trials(self.file)

    @property
    def runs(self) -> list[str]:
        """The folders of all its trials inside the study, made or not."""
        return [self._run(number) for number in range(1, max(self._tuning.n_trials, len(self.trials)) + 1)]

    def following(self) -> Trial | None:
        """The trial to be made next, or to go on with; written down. None: all have been made."""
        n = self._tuning.n_trials
        trial = next((one for one in self.trials[:n] if one.status == "running"), None)
        if trial is None and len(self.trials) < n:
            trial = Trial(values=self._proposed(), run=self._run(len(self.trials) + 1))
            self.trials.append(trial)
            self._keep()
        return trial

    def words_of(self, trial: Trial) -> list[str]:
        return [*self.words, *(f"{key}={value}" for key, value in trial.values.items())]

    def title(self, trial: Trial) -> str:
        return f"{self.label}: trial {self._number(trial)} of {self._tuning.n_trials}, {_said(trial.values)}"

    def failed(self, trial: Trial, reason: str) -> None:
        """These values make a loss that is not finite."""
        trial.status, trial.reason = "failed", reason
        logger.warning("%s: %s", self.title(trial), reason)
        self._keep()

    def judge(self, trial: Trial) -> None:
        """Take in what a trial that ended left in its folder.

        Raises:
            ConfigError: it tells of no losses to go by.
        """
        path = self._folder / trial.run
        trial.curve, told = losses_of(path), read_run(path).reason
        if not trial.curve:
            raise ConfigError(f"tune: {path} tells of no {METRIC}; tuning needs evaluation=loss on the validation split during training")
        shutil.rmtree(path / "checkpoints", ignore_errors=True)  # of a trial that ended, only the losses are used
        hopeless = told.startswith(HOPELESS)
        trial.status, trial.score, trial.reason = "hopeless" if hopeless else "done", trial.curve[-1], told if hopeless else ""
        if not math.isfinite(trial.score):
            trial.status, trial.reason, trial.score = "failed", f"{METRIC} is {trial.score}", None
        self._keep()

    def outcome(self) -> Tuned:
        """The best values, once all trials have been made.

        Raises:
            ConfigError: no trial came to its end.
        """
        finished = [one for one in self.trials if one.status == "done" and one.score is not None]
        if not finished:
            reason = next((one.reason for one in self.trials if one.reason), "none was trained")
            raise ConfigError(f"{self.label}: none of the {len(self.trials)} trials of {', '.join(self._tuning.keys)} came to its end ({reason})")
        best = min(finished, key=lambda one: one.score if one.score is not None else math.inf)
        warnings = [warning for key, value in best.values.items() if (warning := self._edge(key, value))]
        for warning in warnings:
            logger.warning("%s", warning)
        logger.info("%s: %s is best, %s %.4g", self.label, _said(best.values), METRIC, best.score)
        return Tuned(chosen=best.values, trials=self.trials, warnings=warnings)

    def _run(self, number: int) -> str:
        return f"{self._place}/trial-{number}"

    def _number(self, trial: Trial) -> int:
        return next(number for number, one in enumerate(self.trials, start=1) if one is trial)

    def _keep(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        io.replace_text(self.file, json.dumps([asdict(one) for one in self.trials], indent=1) + "\n")

    def _proposed(self) -> dict[str, str]:
        """The values of the next trial; a function of those before, so that a search that was stopped goes on as if it had not been."""
        tuning = self._tuning
        if not tuning.spans:
            grid = [dict(zip(tuning.values, values, strict=True)) for values in itertools.product(*tuning.values.values())]
            if tuning.n_trials < len(grid):
                random.Random(self.seed).shuffle(grid)
            return grid[len(self.trials)]
        return _by_tpe(tuning, self.trials, self.seed + len(self.trials))

    def _edge(self, key: str, value: str) -> str:
        """A warning where the best value lies at an end of what was tried."""
        if key in self._tuning.spans:
            share = self._tuning.spans[key].share(float(value))
            end = "lowest" if share <= EDGE else "highest" if share >= 1 - EDGE else ""
            where = f"at the {end} end of the range {self._tuning.spans[key]}"
        else:
            numbers = [number for one in self._tuning.values[key] if (number := _number(one)) is not None]
            tried = sorted(numbers) if len(numbers) == len(self._tuning.values[key]) else []
            number = _number(value)
            end = "lowest" if tried and number == tried[0] else "highest" if tried and number == tried[-1] else ""
            where = f"the {end} value tried"
        return f"{self.label}: {key}={value} is {where}; a better one may lie beyond: widen the range" if end else ""


def verdict(curve: Sequence[float], before: Sequence[Trial]) -> str:
    """Why a trial with these validation losses so far is stopped, in the light of the trials before; empty: it goes on."""
    n = len(curve)
    others = [one.curve[n - 1] for one in before if len(one.curve) >= n]
    if n < JUDGED_FROM_EVALUATION or len(others) < JUDGED_FROM_TRIAL:
        return ""
    median = statistics.median(others)
    if curve[-1] <= median:
        return ""
    return f"{HOPELESS}{METRIC} {curve[-1]:.4g} at evaluation {n} is worse than {median:.4g}, the median of {len(others)} earlier trials there"


def _by_tpe(tuning: Tuning, trials: Sequence[Trial], seed: int) -> dict[str, str]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {key: optuna.distributions.CategoricalDistribution(list(found)) for key, found in tuning.values.items()}
    for key, span in tuning.spans.items():
        if span.whole:
            distributions[key] = optuna.distributions.IntDistribution(int(span.low), int(span.high), log=span.logarithmic)
        else:
            distributions[key] = optuna.distributions.FloatDistribution(span.low, span.high, log=span.logarithmic)
    search = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(5, max(1, tuning.n_trials // 2))))
    for one in trials:
        params = {key: _as_number(tuning.spans[key], value) if key in tuning.spans else value for key, value in one.values.items()}
        known = one.score is not None
        search.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions=distributions,
                value=one.score if one.status == "done" else None,
                intermediate_values=dict(enumerate(one.curve)) if known else {},
                state=optuna.trial.TrialState.COMPLETE
                if one.status == "done"
                else optuna.trial.TrialState.PRUNED
                if known
                else optuna.trial.TrialState.FAIL,
            )
        )
    found = search.ask(distributions).params
    return {key: tuning.spans[key].text(value) if key in tuning.spans else str(value) for key, value in found.items()}


def _as_number(span: Span, value: str) -> float | int:
    return int(value) if span.whole else float(value)


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def losses_of(path: Path) -> list[float]:
    """Of a trial so far, in order."""
    return [value for _, value in read_run(path).curve(METRIC, "steps")]


def _said(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def kept_trials(file: Path) -> list[Trial]:
    """The trials made before; none where the file is missing."""
    if not file.is_file():
        return []
    try:
        return [Trial(**one) for one in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{file}: not a list of trials ({' '.join(str(error).split())}); take the folder away to make them again") from error

"""One cell, or one trial where a study is tuned, as an independent job: made here, in a process of its own, or on another machine.

`python -m transformer_zoo.studies.jobs FILE` makes the job that a file describes and writes beside it what came of it.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from transformer_zoo.errors import StoppedError, ZooError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.results import FINAL_EVALUATION, RunRecord, read_run
from transformer_zoo.studies.cells import Cell, Compose, Train, quoted
from transformer_zoo.studies.measuring import Measurement, Measuring
from transformer_zoo.studies.phases import train_phases
from transformer_zoo.studies.tuning import TrainTrial, kept_trials, losses_of, verdict
from transformer_zoo.training import io
from transformer_zoo.training.rundir import holder
from transformer_zoo.training.signals import StopNow, StopRequested

logger = logging.getLogger(__name__)


UNEXPECTED = 1
"""Exit code of a run that failed for a reason that is not the user's."""
PARENT = "TRANSFORMER_ZOO_ENDS_WITH_PARENT"
"""Set in the environment of a job whose standard input is a pipe from the study: where that ends, the job saves and ends too."""
_LOOK_AGAIN = 0.5
"""Seconds between two looks at a folder that somebody else holds."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a job."""

    failure: str = ""
    """Why it failed, in one line; empty: it did not."""
    exit_code: int = 0
    stopped_by: int = 0
    """The signal that stopped it, after it saved."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell, or a trial, as plain data."""

    title: str
    label: str
    seed: int
    run: str
    """Where its run folder lies."""
    overrides: list[str]
    phases: list[list[str]] = field(default_factory=list)
    trials: str = ""
    """Of a trial: the file with those before it; empty: it is a cell."""
    measurements: dict[str, dict[str, Any]] = field(default_factory=dict)
    config_dirs: list[str] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)
    result: str
    """The file for its outcome."""

    def outcome(self) -> Outcome | None:
        """What the job wrote; None before its end."""
        try:
            return Outcome(**json.loads(Path(self.result).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def is_finished(run: RunRecord, config: ExperimentConfig) -> bool:
    """Whether nothing is left to train or to evaluate at the end."""
    return run.status == "done" and (config.final_evaluation is None or FINAL_EVALUATION in run.summary)


def make(cell: Cell, path: Path, title: str, train: Train, compose: Compose, measuring: Measuring) -> None:
    """Train and measure what is missing of one cell."""
    with StopNow():
        _wait_for(path, title)
    run = read_run(path)
    if is_finished(run, cell.config):
        logger.info("%s: finished before", title)
    else:
        logger.info("%s: %s", title, "training" if run.status == "missing" else "going on")
        overrides = [*cell.overrides, f"run_dir={quoted(str(path))}"]
        if cell.phases:
            overrides += train_phases(cell.phases, path, train, compose)
        train(compose(overrides), overrides)
    with StopNow():
        measuring.measure(path)


def make_trial(path: Path, title: str, words: Sequence[str], trials: Path, train: TrainTrial, compose: Compose) -> None:
    """Train a trial into a folder, or go on with it, until its budget is spent or those before it, in the file `trials`, show that it is hopeless."""
    with StopNow():
        _wait_for(path, title)
    logger.info("%s", title)
    before = [one for one in kept_trials(trials) if one.status != "running"]
    own = [*words, f"run_dir={quoted(str(path))}"]
    train(compose(own), own, lambda: verdict(losses_of(path), before))


def guarded(title: str, work: Callable[[], None]) -> Outcome:
    """Does the work; a failure becomes an outcome, since it must cost no other run. A signal goes on to the caller as StoppedError."""
    try:
        work()
    except StoppedError:
        raise
    except StopRequested as request:
        raise StoppedError(f"stopped by {request}; nothing was lost", request.signal_number) from None
    except ZooError as error:
        return Outcome(failure=one_line(error), exit_code=error.exit_code)
    except Exception as error:  # one broken cell must not cost the others; it is named in the report
        logger.debug("%s failed", title, exc_info=True)
        return Outcome(failure=f"{type(error).__name__}: {one_line(error)}", exit_code=UNEXPECTED)
    return Outcome()


def one_line(error: BaseException) -> str:
    """What an error says, whatever lines it has."""
    return " ".join(str(error).split())


def _wait_for(path: Path, title: str) -> None:
    """Until nobody else works in the folder: a job of a study that was killed may still be saving."""
    said = False
    while read_run_status(path) == "running" and (who := holder(path)) is not None:
        if not said:
            logger.info("%s: waiting for %s, which works on it", title, who)
        said = True
        time.sleep(_LOOK_AGAIN)


def read_run_status(path: Path) -> str | None:
    """The status of a run, without reading the rest of it."""
    try:
        return str(json.loads((path / "status.json").read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


# --- in a process of its own ----------------------------------------------------------------------------------------------------------


def perform(document: dict[str, Any]) -> dict[str, Any]:
    """Make the job that `document` describes with everything read anew; writes its outcome and returns it, too."""
    job = Job(**document)
    try:
        outcome = guarded(job.title, partial(_perform, job))
    except StoppedError as error:
        outcome = Outcome(failure="", exit_code=error.stopped_exit_code, stopped_by=error.signal_number)
    except KeyboardInterrupt:
        outcome = Outcome(exit_code=128 + signal.SIGINT, stopped_by=signal.SIGINT)
    io.replace_text(Path(job.result), json.dumps(asdict(outcome)) + "\n")
    return asdict(outcome)


def _perform(job: Job) -> None:
    from transformer_zoo.experiments import plugins
    from transformer_zoo.experiments.compose import experiment
    from transformer_zoo.experiments.run import train

    plugins.load(job.plugins)
    compose = partial(experiment, config_dirs=[Path(folder) for folder in job.config_dirs])
    if job.trials:
        make_trial(Path(job.run), job.title, job.overrides, Path(job.trials), lambda config, words, ask: train(config, words, verdict=ask), compose)
        return
    cell = Cell(label=job.label, overrides=job.overrides, seed=job.seed, config=compose(job.overrides), run=Path(job.run).name, phases=job.phases)
    measuring = Measuring({name: Measurement(**settings) for name, settings in job.measurements.items()})
    make(cell, Path(job.run), job.title, train, compose, measuring)


def end_with_parent() -> None:
    """Ask this process to save and end once the study that started it is gone, however it went."""

    def watch() -> None:
        while os.read(pipe, 1):  # not through Python's reader, whose lock would be held when the process ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    if os.environ.get(PARENT):
        pipe = sys.stdin.fileno()
        threading.Thread(target=watch, daemon=True).start()


def main(words: Sequence[str]) -> int:
    """`python -m transformer_zoo.studies.jobs FILE`; messages go to standard error."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logging.getLogger("transformer_zoo").setLevel(logging.INFO)
    end_with_parent()
    document = json.loads(Path(words[0]).read_text(encoding="utf-8"))
    return int(perform(document)["exit_code"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

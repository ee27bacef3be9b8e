"""Runs the cells of a study, one after another: finished ones are never repeated, stopped ones go on, failed ones are tried again and named."""

import itertools
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformer_zoo.errors import StoppedError, ZooError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.results import FINAL_EVALUATION, read_run
from transformer_zoo.reports.report import study_files
from transformer_zoo.studies.cells import Cell, Compose, Study, write_plan
from transformer_zoo.studies.measuring import Measuring

logger = logging.getLogger(__name__)

Train = Callable[[ExperimentConfig, Sequence[str]], Any]
"""Trains one run into `config.run_dir`; `experiments.run.train` is one."""

UNEXPECTED = 1
"""Exit code of a study in which a run failed for a reason that is not the user's."""


def run(study: Study, train: Train, compose: Compose, measuring: Measuring) -> None:
    """Train and measure what is missing, then write tables and report; a failed cell costs no other."""
    write_plan(study)
    try:
        for number, cell in enumerate(study.cells, start=1):
            title = f"{number}/{len(study.cells)} {cell.label} seed {cell.seed}"
            _guarded(cell, title, partial(_train_cell, study.folder / cell.run, cell, title, train, compose))
            if not cell.failure:
                _guarded(cell, title, partial(measuring.measure, study.folder / cell.run))
    finally:
        write_plan(study)
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

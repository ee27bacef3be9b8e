"""Runs the cells of a study as independent jobs: finished ones are never repeated, stopped ones go on, failed ones are named.

One process runs a study at a time and holds its folder. Cells are made one after another in this process, or by a launcher in others.
"""

import itertools
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import plugins
from transformer_zoo.experiments.results import read_run
from transformer_zoo.reports.report import study_files
from transformer_zoo.studies.cells import Cell, Compose, Study, Train, write_plan
from transformer_zoo.studies.changes import ANSWERS, Fingerprint, changed, refusal
from transformer_zoo.studies.jobs import UNEXPECTED, Job, Outcome, guarded, is_finished, make
from transformer_zoo.studies.launching import JOBS, Launcher, launcher_of
from transformer_zoo.studies.launching import check as check_launcher
from transformer_zoo.studies.live import kept_fresh
from transformer_zoo.studies.measuring import Measuring
from transformer_zoo.studies.pool import Pool, Work, stoppable
from transformer_zoo.studies.status import DONE, FAILED, WAITING, Board, CellStatus, counted, duration, share_of
from transformer_zoo.training.rundir import hold, let_go
from transformer_zoo.training.signals import StopFlag

logger = logging.getLogger(__name__)


def run(
    study: Study,
    train: Train,
    compose: Compose,
    measuring: Measuring,
    *,
    jobs: int | None = None,
    launcher: str | Launcher | None = None,
    settings: Mapping[str, str] | None = None,
    retry: bool = False,
    on_change: str = "refuse",
    config_dirs: Sequence[Path] = (),
    fingerprint: Fingerprint | None = None,
) -> None:
    """Train and measure what is missing, then write tables and report; a failed cell costs no other.

    `jobs` runs at once, in processes or by a `launcher` with `settings`; they compose with `config_dirs`, and `train` and `compose` are used where
    all happens in this process. With `retry` cells that failed before are made again. `on_change` says what happens to runs of other code or data.

    Raises:
        ConfigError: another process works on the study, or runs there were made by other code or data and nobody has decided what to do.
        StoppedError: a signal came; all jobs have saved.
    """
    check_change(on_change)
    if isinstance(launcher, str) or launcher is None:
        launcher = launcher_of(launcher, jobs, len(study.cells), study.folder, settings or {})
    lock = hold(study.folder, "study_dir")
    try:
        _Running(study, train, compose, measuring, launcher, config_dirs).run(retry, on_change, fingerprint)
    finally:
        let_go(lock)


def check(options: Mapping[str, Any]) -> None:
    """What is wrong with the options of `run` wherever the study would run. Raises ConfigError or MissingExtraError."""
    check_change(options.get("on_change", "refuse"))
    launcher = options.get("launcher")
    if isinstance(launcher, str) or launcher is None:
        check_launcher(launcher, options.get("jobs"), options.get("settings") or {})


def check_change(on_change: str) -> None:
    """Raises ConfigError for a word that is no answer."""
    if on_change not in ANSWERS:
        raise ConfigError(f"on_change={on_change}: expected one of {', '.join(ANSWERS)}")


class _Running:
    """One process's work on a study."""

    def __init__(
        self, study: Study, train: Train, compose: Compose, measuring: Measuring, launcher: Launcher | None, config_dirs: Sequence[Path]
    ) -> None:
        self.study, self.train, self.compose, self.measuring = study, train, compose, measuring
        self.launcher, self.config_dirs = launcher, config_dirs
        self.board = Board.of(study)
        self.board.parallel = 1 if launcher is None else launcher.parallel
        self.cells = list(zip(study.cells, self.board.cells, strict=True))

    def run(self, retry: bool, on_change: str, fingerprint: Fingerprint | None) -> None:
        study, board = self.study, self.board
        again = self._look_around(retry, on_change, fingerprint)
        for path, why in again:
            _set_aside(path, why)
        write_plan(study)
        board.write()
        open_cells = [(number, cell, state) for number, (cell, state) in enumerate(self.cells, start=1) if state.status == WAITING]
        before = counted(board.cells)[DONE]
        if before:
            logger.info("%d of %d runs finished before", before, len(board.cells))
        try:
            with stoppable(board) as stop:
                (self._one_by_one if self.launcher is None else partial(self._at_once, self.launcher))(open_cells, stop)
            board.state = FAILED if study.failed else DONE
        finally:
            board.leave()
            write_plan(study)
            study_files(study.folder, f"{study.kind}: {', '.join(dict.fromkeys(cell.label for cell in study.cells))}")
        for cell in study.failed:
            logger.error("%s seed %d failed: %s (%s)", cell.label, cell.seed, cell.failure, study.folder / cell.run)

    # --- what is there already ----------------------------------------------------------------------------------------------------------

    def _look_around(self, retry: bool, on_change: str, fingerprint: Fingerprint | None) -> list[tuple[Path, str]]:
        """Notes what earlier starts left; gives the folders to be set aside, with the reason. Changes nothing on the disk."""
        kept = Board.read(self.study.folder) or Board.of(self.study)
        before = {state.run: state for state in kept.cells}
        self.board.trials = kept.trials if self.study.tuned else []
        again: list[tuple[Path, str]] = []
        made = []
        for cell, state in self.cells:
            path, earlier = self.study.folder / cell.run, before.get(cell.run)
            record = read_run(path)
            failed = record.status in {"failed", "unreadable"}
            if failed or (earlier is not None and earlier.status == FAILED):
                if not retry:
                    told = earlier.reason if earlier is not None and earlier.status == FAILED else record.reason or record.status
                    _fail(cell, state, told, (earlier.exit_code if earlier is not None else 0) or UNEXPECTED)
                    logger.error("%s failed before: %s (it is left as it is; --retry tries it again)", state.title, told)
                    continue
                if failed:
                    again.append((path, FAILED))
                    continue
            if record.status == "missing":
                continue
            made.append((cell, record))
            state.share = share_of(path, state.budget)
            if is_finished(record, cell.config):
                known = earlier.seconds if earlier is not None else None
                state.seconds = known or record.summary.get("seconds")
                if not self.measuring.missing(path):
                    state.status, state.share = DONE, 1.0
        if on_change == "keep":
            return again
        found = changed(self.study.folder, made, fingerprint)
        if found and on_change == "refuse":
            raise refusal(self.study.folder, found)
        for run, told in found.items():
            logger.warning("%s was made by %s; it is made again", run, told)
            again.append((self.study.folder / run, "before"))
        for _, state in self.cells:
            if state.run in found:
                state.status, state.share, state.seconds = WAITING, None, None
        return again

    # --- the two ways to run ------------------------------------------------------------------------------------------------------------

    def _one_by_one(self, cells: Sequence[tuple[int, Cell, CellStatus]], stop: StopFlag) -> None:
        for number, cell, state in cells:
            stop.check()
            title = self._title(number, cell)
            state.begin()
            self.board.write()
            work = partial(make, cell, self.study.folder / cell.run, title, self.train, self.compose, self.measuring)
            with kept_fresh(self.board):
                outcome = guarded(title, work)
            self._end(title, cell, state, outcome)
            if len(cells) > 1:
                logger.info("study: %s", self.board.line())
        stop.check()

    def _at_once(self, launcher: Launcher, cells: Sequence[tuple[int, Cell, CellStatus]], stop: StopFlag) -> None:
        waiting = deque(Work(job=self._job(number, cell), state=state) for number, cell, state in cells)
        known = {state.run: cell for _, cell, state in cells}

        def end(work: Work, outcome: Outcome) -> None:
            self._end(work.job.title, known[work.state.run], work.state, outcome)

        Pool(launcher, self.board, end).run(lambda: waiting.popleft() if waiting else None, stop)

    # --- small things -------------------------------------------------------------------------------------------------------------------

    def _title(self, number: int, cell: Cell) -> str:
        return f"{number}/{len(self.study.cells)} {cell.label} seed {cell.seed}"

    def _job(self, number: int, cell: Cell) -> Job:
        folder = self.study.folder.resolve()
        return Job(
            title=self._title(number, cell),
            label=cell.label,
            seed=cell.seed,
            run=str(folder / cell.run),
            overrides=cell.overrides,
            phases=cell.phases,
            measurements={name: asdict(one) for name, one in self.measuring.measurements.items()},
            config_dirs=[str(Path(one).resolve()) for one in self.config_dirs],
            plugins=plugins.loaded(),
            result=str(folder / JOBS / f"{Path(cell.run).name}.json"),
        )

    def _end(self, title: str, cell: Cell, state: CellStatus, outcome: Outcome) -> None:
        if outcome.failure:
            _fail(cell, state, outcome.failure, outcome.exit_code or UNEXPECTED)
            logger.error("%s: %s", title, outcome.failure)
        else:
            taken = time.time() - (state.started or time.time())
            state.status, state.reason, state.share = DONE, "", 1.0
            state.seconds = state.seconds or read_run(self.study.folder / cell.run).summary.get("seconds") or taken
            logger.info("%s: done in %s", title, duration(taken))
        self.board.write()


def commands(study: Study, program: Sequence[str] = ("transformer-zoo", "train")) -> list[str]:
    """One command line for every cell, for schedulers that are nobody's business here; the same study collects what they made."""
    import shlex

    from transformer_zoo.studies.cells import quoted

    phased = [cell.label for cell in study.cells if cell.phases]
    if phased:
        raise ConfigError(f"--commands: {phased[0]} has several phases, which one command cannot make; use jobs=… or launcher=…")
    return [shlex.join([*program, *cell.overrides, f"run_dir={quoted(str(study.folder / cell.run))}"]) for cell in study.cells]


def _fail(cell: Cell, state: CellStatus, reason: str, exit_code: int) -> None:
    cell.failure, cell.exit_code = reason, exit_code
    state.status, state.reason, state.exit_code = FAILED, reason, exit_code


def _set_aside(path: Path, why: str) -> None:
    """Makes room for another try; what the earlier run left stays beside it."""
    number = next(n for n in itertools.count(1) if not path.with_name(f"{path.name}.{why}-{n}").exists())
    path.rename(path.with_name(f"{path.name}.{why}-{number}"))

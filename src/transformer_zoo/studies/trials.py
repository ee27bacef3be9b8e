"""Makes the trials of a study that is tuned: one after another in this process, or by a launcher in others. There contestants are tuned at the same
time, but the trials of each follow one another, so that the same is found however many jobs there are."""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from transformer_zoo.errors import ConfigError, NumericError
from transformer_zoo.experiments import plugins
from transformer_zoo.studies.cells import Compose, Study
from transformer_zoo.studies.jobs import Job, Outcome, make_trial, one_line
from transformer_zoo.studies.launching import JOBS, Launcher, launcher_of
from transformer_zoo.studies.live import kept_fresh
from transformer_zoo.studies.pool import Pool, Work, stoppable
from transformer_zoo.studies.status import DONE, FAILED, WAITING, Board, CellStatus, share_of
from transformer_zoo.studies.tuning import Search, TrainTrial, Trial, Tuned
from transformer_zoo.training.rundir import hold, let_go
from transformer_zoo.training.signals import StopFlag

logger = logging.getLogger(__name__)

WHERE = ("jobs", "launcher", "settings", "config_dirs")
"""The options of `running.run` that trials share with the runs."""
_STATUSES = {"done": DONE, "hopeless": DONE, "failed": FAILED, "running": WAITING}
"""Status of a trial → what the board says."""


def tune(
    study: Study,
    searches: Sequence[Search],
    train: TrainTrial,
    compose: Compose,
    *,
    jobs: int | None = None,
    launcher: str | Launcher | None = None,
    settings: Mapping[str, str] | None = None,
    config_dirs: Sequence[Path] = (),
) -> list[Tuned]:
    """Make what is missing of the trials; what every search found, in their order. Options as in `running.run`.

    Raises:
        ConfigError: another process works on the study, no trial of a contestant came to its end, or one failed for a reason that is no fault of
            its values.
        StoppedError: a signal came; all have saved, and the trials so far are kept.
    """
    if isinstance(launcher, str) or launcher is None:
        launcher = launcher_of(launcher, jobs, len(searches), study.folder, settings or {})
    lock = hold(study.folder, "study_dir")
    try:
        return _Tuning(study, searches, train, compose, launcher, config_dirs).run()
    finally:
        let_go(lock)


class _Tuning:
    """One process's work on the trials of a study."""

    def __init__(
        self,
        study: Study,
        searches: Sequence[Search],
        train: TrainTrial,
        compose: Compose,
        launcher: Launcher | None,
        config_dirs: Sequence[Path],
    ) -> None:
        self.study, self.searches, self.train, self.compose = study, searches, train, compose
        self.launcher, self.config_dirs = launcher, config_dirs
        self.found: dict[str, Tuned] = {}
        """What searches that are over came to, by label."""
        self.problem: ConfigError | None = None
        """Why no more trials are begun."""
        self.board = Board.resumed(study)
        self.board.parallel = 1 if launcher is None else launcher.parallel
        self.states = {run: self._state(search, number, run) for search in searches for number, run in enumerate(search.runs, start=1)}
        self.board.trials = list(self.states.values())

    def run(self) -> list[Tuned]:
        self.board.write()
        try:
            with stoppable(self.board) as stop:
                (self._one_by_one if self.launcher is None else partial(self._at_once, self.launcher))(stop)
        finally:
            self.board.leave()
        if self.problem is not None:
            raise self.problem
        return [self.found[search.label] for search in self.searches]

    def _one_by_one(self, stop: StopFlag) -> None:
        for search in self.searches:
            while (trial := search.following()) is not None:
                stop.check()
                state = self.states[trial.run]
                state.begin()
                self.board.write()
                with kept_fresh(self.board):
                    self._try(search, trial)
                self._tell(state, trial)
                logger.info("study: %s", self.board.line())
            self.found[search.label] = search.outcome()

    def _try(self, search: Search, trial: Trial) -> None:
        path = self.study.folder / trial.run
        try:
            make_trial(path, search.title(trial), search.words_of(trial), search.file, self.train, self.compose)
        except NumericError as error:
            search.failed(trial, one_line(error))
        else:
            search.judge(trial)

    def _at_once(self, launcher: Launcher, stop: StopFlag) -> None:
        busy: dict[str, tuple[Search, Trial]] = {}
        """Folder of a trial that was begun → whose it is."""

        def following() -> Work | None:
            taken = [search for search, _ in busy.values()]
            for search in self.searches:
                if self.problem is not None or search in taken or search.label in self.found:
                    continue
                trial = search.following()
                if trial is not None:
                    busy[trial.run] = search, trial
                    return Work(job=self._job(search, trial), state=self.states[trial.run])
                self._close(search)
            return None

        def end(work: Work, outcome: Outcome) -> None:
            search, trial = busy.pop(work.state.run)
            self._take_in(search, trial, outcome)
            self._tell(work.state, trial)

        Pool(launcher, self.board, end).run(following, stop)
        if busy and self.problem is None:
            self.problem = ConfigError(f"{self.study.folder}: {len(busy)} trials were stopped from outside; the same command goes on with them")

    def _close(self, search: Search) -> None:
        try:
            self.found[search.label] = search.outcome()
        except ConfigError as error:
            self.problem = error

    def _take_in(self, search: Search, trial: Trial, outcome: Outcome) -> None:
        """What came of a job."""
        if outcome.exit_code == NumericError.exit_code:
            search.failed(trial, outcome.failure)
        elif outcome.failure:
            self.problem = ConfigError(f"{search.title(trial)}: {outcome.failure}; the trials so far are kept, and the same command goes on")
        else:
            try:
                search.judge(trial)
            except ConfigError as error:
                self.problem = error

    # --- small things -------------------------------------------------------------------------------------------------------------------

    def _job(self, search: Search, trial: Trial) -> Job:
        folder = self.study.folder.resolve()
        return Job(
            title=search.title(trial),
            label=search.label,
            seed=search.seed,
            run=str(folder / trial.run),
            overrides=search.words_of(trial),
            trials=str(search.file.resolve()),
            config_dirs=[str(Path(one).resolve()) for one in self.config_dirs],
            plugins=plugins.loaded(),
            result=str(folder / JOBS / f"{trial.run.replace('/', '-')}.json"),
        )

    def _state(self, search: Search, number: int, run: str) -> CellStatus:
        made = search.trials[number - 1] if number <= len(search.trials) else None
        state = CellStatus(label=search.label, seed=search.seed, run=run, budget=search.budget, trial=number)
        state.share = share_of(self.study.folder / run, search.budget)
        if made is not None:
            self._tell(state, made)
        return state

    @staticmethod
    def _tell(state: CellStatus, trial: Trial) -> None:
        """On the board."""
        state.status, state.reason = _STATUSES[trial.status], trial.reason
        if state.status == DONE and state.started is not None:
            state.seconds = time.time() - state.started

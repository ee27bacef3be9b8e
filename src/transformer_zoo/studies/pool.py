"""Several jobs at once: begun as soon as there is room, collected when they end, and asked to save when a signal comes."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from transformer_zoo.errors import StoppedError
from transformer_zoo.studies.jobs import Job, Outcome
from transformer_zoo.studies.launching import Launcher, Task
from transformer_zoo.studies.live import Live
from transformer_zoo.studies.status import WAITING, Board, CellStatus, share_of
from transformer_zoo.training.signals import StopFlag, StopRequested

logger = logging.getLogger(__name__)

_POLL = 0.1
"""Seconds between two looks at the jobs."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job, and what is told of it."""

    job: Job
    state: CellStatus


Following = Callable[[], Work | None]
"""What may begin now; None: nothing, at least until something that runs has ended."""
End = Callable[[Work, Outcome], None]
"""Takes in what came of a job that nobody stopped. Raises nothing."""


class Pool:
    """Runs jobs by a launcher, as many at once as it takes, and shows the board meanwhile."""

    def __init__(self, launcher: Launcher, board: Board, end: End) -> None:
        self._launcher, self._board, self._end = launcher, board, end
        self._running: list[tuple[Task, Work]] = []

    def run(self, following: Following, stop: StopFlag) -> None:
        """Until nothing runs and nothing follows."""
        try:
            with Live(self._board) as live:
                while self._fill(following, stop):
                    self._collect()
                    live.show()
                    time.sleep(_POLL)
        except BaseException as error:
            self._stop_all(error.signal_number if isinstance(error, StopRequested) else None)
            raise

    def _fill(self, following: Following, stop: StopFlag) -> bool:
        """Begin what there is room for; whether anything runs."""
        stop.check()
        while len(self._running) < self._launcher.parallel and (work := following()) is not None:
            work.state.begin()
            self._running.append((self._launcher.start(work.job), work))
            logger.info("%s: started", work.job.title)
        return bool(self._running)

    def _collect(self) -> None:
        """Note what has ended."""
        for work, outcome in self._ended():
            if outcome.stopped_by:  # by somebody else: it is no failure, and the next start goes on with it
                work.state.status, work.state.reason = WAITING, f"stopped by signal {outcome.stopped_by}"
                logger.warning("%s: stopped from outside; the same command goes on with it", work.job.title)
                continue
            self._end(work, outcome)
            logger.info("study: %s", self._board.line())

    def _ended(self) -> Iterator[tuple[Work, Outcome]]:
        for one in list(self._running):
            task, work = one
            outcome = task.ended()
            if outcome is not None:
                self._running.remove(one)
                yield work, outcome

    def _stop_all(self, number: int | None) -> None:
        """Hand a signal on and wait until all have saved; whatever else ended us ends them, too."""
        if number is not None:
            logger.info("stopping: %d jobs save", len(self._running))
        try:
            for task, _ in self._running:
                task.stop(number) if number is not None else task.kill()
            while self._running:
                for work, outcome in self._ended():
                    if outcome.stopped_by or number is None:
                        work.state.status, work.state.share = WAITING, share_of(self._board.folder / work.state.run, work.state.budget)
                    else:
                        self._end(work, outcome)
                time.sleep(_POLL)
        except KeyboardInterrupt:
            for task, _ in self._running:
                task.kill()
            raise


@contextmanager
def stoppable(board: Board) -> Iterator[StopFlag]:
    """Within this signals set a flag; where one ended the work, the error says how far everything is."""
    try:
        with StopFlag() as stop:
            yield stop
    except StopRequested as request:
        raise StoppedError(f"stopped by {request}: {board.line()}; the same command goes on", request.signal_number) from None
    except StoppedError as error:
        raise StoppedError(f"{error} ({board.line()}; the same command goes on)", error.signal_number) from None

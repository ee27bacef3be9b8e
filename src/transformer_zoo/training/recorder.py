"""Everything a run tells the outside, in the one process that may write: metrics file, tracker, progress, status."""

import logging
from collections.abc import Mapping
from typing import Any

from transformer_zoo.errors import CheckpointError
from transformer_zoo.training.metrics import MetricsFile
from transformer_zoo.training.progress import Progress
from transformer_zoo.training.rundir import RunFolder
from transformer_zoo.training.state import TrainState
from transformer_zoo.training.trackers import Tracker

logger = logging.getLogger(__name__)


class Recorder:
    """Only the first process's recorder is `active`; the others do nothing."""

    def __init__(self, run: RunFolder, *, tracker: Tracker, progress: Progress, config: Mapping[str, Any] | None = None, active: bool = True) -> None:
        self.run = run
        self.active = active
        self.tracker = tracker if active else Tracker()
        self.progress = progress if active else Progress(bar=False)
        self.config = config or {}
        self.metrics = MetricsFile(run.path / "metrics.jsonl")

    def start(self, state: TrainState, share: float, note: str = "") -> None:
        """Begin, or go on from `state`."""
        if self.active:
            self.metrics.drop_after(state.step)
            self.run.set_status("running", note, step=state.step)
            self.tracker.start(self.run.path, self.config)
            self.progress.start(share)

    def log(self, state: TrainState, share: float, values: Mapping[str, float]) -> None:
        """One line of metrics.

        Raises:
            CheckpointError: it cannot be written, because the disk is full or the folder is gone.
        """
        if self.active and values:
            try:
                self.metrics.append(step=state.step, tokens=state.tokens, seconds=state.seconds, values=values)
            except OSError as error:
                raise CheckpointError(
                    f"{self.metrics.path}: nothing can be written there ({error.strerror}); the last checkpoint, if the folder is there, is intact"
                ) from error
            self.tracker.log(state.step, values)
            self.progress.show(state.step, share, values)

    def still_done(self, state: TrainState) -> None:
        """A run that was complete is so again, whatever a new start has written meanwhile."""
        if self.active and self.run.status() != "done":
            self.run.set_status("done", state.finished, step=state.step)

    def finish(self, status: str, reason: str, state: TrainState, summary: Mapping[str, Any]) -> None:
        """The last word."""
        self.progress.stop()
        if self.active:
            self.tracker.finish(status)
            try:
                self.run.write_json("summary.json", dict(summary))
                self.run.set_status(status, reason, step=state.step)
            except OSError as error:
                logger.warning("%s: the end of the run (%s) could not be noted (%s)", self.run.path, status, error.strerror)

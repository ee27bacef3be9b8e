"""What a person sees of a run: a live bar on a terminal, one plain log line per log step everywhere (a terminal shows the bar instead)."""

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

SHOWN = ("train/", "validation/", "test/")
"""Sections of metrics that a line has room for."""
IN_BAR = {"in_bar": True}
"""Set on log records that a terminal with a bar shows already; a console handler may leave them out there."""


class Progress:
    """`start`, then `advance` after every step and `show` with every log line, then `stop`."""

    def __init__(self, *, bar: bool | None = None, title: str = "training") -> None:
        self.bar = sys.stderr.isatty() if bar is None else bar
        self.title = title
        self._live: Any = None
        self._task: Any = None
        self._last = 0.0

    def start(self, share: float) -> None:
        """Show the bar (on a terminal) at a share of the budget."""
        if not self.bar:
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[line]}"),
            console=Console(stderr=True),
        )
        self._task = self._live.add_task(self.title, total=1.0, completed=share, line="")
        self._live.start()

    def advance(self, share: float) -> None:
        """Move the bar; at most ten times a second."""
        now = time.monotonic()
        if self._live is not None and now - self._last > 0.1:
            self._last = now
            self._live.update(self._task, completed=share)

    def show(self, step: int, share: float, values: Mapping[str, float]) -> None:
        """Metrics of a step; sections of a ledger stay in the files."""
        line = "  ".join(f"{short(name)} {value:.4g}" for name, value in values.items() if "/" not in name or name.startswith(SHOWN))
        logger.info("step %d (%.0f%%)  %s", step, 100 * share, line, extra=IN_BAR)
        if self._live is not None:
            self._live.update(self._task, completed=share, line=f"step {step}  {line}")

    def say(self, activity: str) -> None:
        """Name what is going on besides steps, such as an evaluation."""
        if self._live is not None:
            self._live.update(self._task, description=activity or self.title)

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def short(name: str) -> str:
    """A metric's name as a narrow line shows it."""
    return name.removeprefix("train/").replace("validation/", "val ").replace("tokens_per_second", "tokens/s")

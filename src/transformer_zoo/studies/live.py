"""What a person sees of a study whose runs go on at once: a live table on a terminal, plain lines elsewhere."""

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from transformer_zoo.studies.status import DONE, FAILED, RUNNING, Board

logger = logging.getLogger(__name__)

TABLE, PLAIN = 0.5, 60.0
"""Seconds between two drawings of the table, and between two plain lines."""
_COLOURS = {DONE: "green", RUNNING: "cyan", FAILED: "red"}
_FRESH = 5.0
"""Seconds between two writings of the status while nothing begins or ends."""
_ROOM = 12
"""Rows of runs; a longer study shows those that run, and the failed ones."""


class Live:
    """A context manager; `show` may be called often. Keeps `study_status.json` fresh as well."""

    def __init__(self, board: Board, terminal: bool | None = None) -> None:
        self._board = board
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._live: Any = None
        self._shown = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self._terminal:
            from rich.console import Console
            from rich.live import Live as RichLive

            self._live = RichLive(self._table(), console=Console(stderr=True), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self) -> None:
        """Read how far the runs are and show it, where it was not done just now."""
        now = time.monotonic()
        if now - self._shown < TABLE:
            return
        self._shown = now
        self._board.refresh()
        self._board.write()
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        elif now - self._told >= PLAIN:
            self._told = now
            logger.info("study: %s", self._board.line())

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(title=f"{self._board.kind}: {self._board.line()}", title_justify="left", box=None, pad_edge=False)
        for name in ("run", "seed", "status", "done", ""):
            table.add_column(name, overflow="fold")
        cells = [*self._board.trials, *self._board.cells] if self._board.tuning else self._board.cells
        if len(cells) > _ROOM:
            cells = [cell for cell in cells if cell.status in (RUNNING, FAILED)][:_ROOM]
        for cell in cells:
            share = "" if cell.share is None else f"{cell.share:.0%}"
            which = f"trial {cell.trial}" if cell.trial else str(cell.seed)
            table.add_row(cell.label, which, cell.status, share, cell.reason, style=_COLOURS.get(cell.status))
        return table


@contextmanager
def kept_fresh(board: Board) -> Iterator[None]:
    """Writes the status now and then while this process is busy with a run."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_FRESH):
            board.refresh()
            board.write()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()

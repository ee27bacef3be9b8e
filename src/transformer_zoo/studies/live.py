"""What a person sees of a study whose runs go on at once: a live table on a terminal, plain lines elsewhere."""

import logging
import sys
import time
from types import TracebackType
from typing import Any, Self

from transformer_zoo.studies.status import DONE, FAILED, RUNNING, Board

logger = logging.getLogger(__name__)

TABLE, PLAIN = 0.5, 60.0
"""Seconds between two drawings of the table, and between two plain lines."""
_COLOURS = {DONE: "green", RUNNING: "cyan", FAILED: "red"}
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
        cells = self._board.cells
        if len(cells) > _ROOM:
            cells = [cell for cell in cells if cell.status in (RUNNING, FAILED)][:_ROOM]
        for cell in cells:
            share = "" if cell.share is None else f"{cell.share:.0%}"
            table.add_row(cell.label, str(cell.seed), cell.status, share, cell.reason, style=_COLOURS.get(cell.status))
        return table

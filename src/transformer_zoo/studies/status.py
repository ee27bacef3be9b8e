"""How far a study is: `study_status.json`, lines for people, and an estimate of the time that is left."""

import datetime
import json
import os
import socket
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformer_zoo.errors import RunNotFoundError
from transformer_zoo.experiments.results import AXES
from transformer_zoo.studies.cells import Study
from transformer_zoo.training import io

STATUS_FILE = "study_status.json"
DONE, RUNNING, FAILED, WAITING = "done", "running", "failed", "waiting"
STATUSES = (DONE, RUNNING, FAILED, WAITING)
_TAIL = 16384
"""Bytes at the end of metrics.jsonl in which its last whole line is looked for."""
_SILENT = 120.0
"""Seconds without news after which a study on another machine is said to be silent."""


@dataclass(kw_only=True)
class CellStatus:
    """One run of a study, or one trial where it is tuned, and how far it is."""

    label: str
    seed: int
    run: str
    budget: tuple[str, float]
    status: str = WAITING
    reason: str = ""
    exit_code: int = 0
    seconds: float | None = None
    """What it took; None until it is done."""
    started: float | None = None
    """When its present start began, in seconds since 1970."""
    begun_at: float = 0.0
    """Share of the budget that was spent before its present start."""
    share: float | None = None
    """Share of the budget that is spent; None where nothing is known."""
    trial: int = 0
    """The number of the trial; 0: it is none."""

    @property
    def title(self) -> str:
        return f"{self.label} trial {self.trial}" if self.trial else f"{self.label} seed {self.seed}"

    def begin(self) -> None:
        """It runs from now on."""
        self.status, self.reason, self.started = RUNNING, "", time.time()
        self.begun_at = self.share or 0.0


@dataclass(kw_only=True)
class Board:
    """The state of a whole study, kept by the process that runs it."""

    folder: Path
    kind: str
    cells: list[CellStatus]
    trials: list[CellStatus] = field(default_factory=list)
    """Of all contestants, where the study is tuned."""
    parallel: int = 1
    """Runs at once."""
    state: str = RUNNING
    """Of the study: `running`, `done`, `failed` (all is done that can be) or `stopped`."""
    process: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    updated: str = ""

    @classmethod
    def of(cls, study: Study) -> "Board":
        """The board of a study of which nothing is known yet."""
        cells = [CellStatus(label=cell.label, seed=cell.seed, run=cell.run, budget=cell.config.training.budget) for cell in study.cells]
        return cls(folder=study.folder, kind=study.kind, cells=cells)

    @classmethod
    def read(cls, folder: Path) -> "Board | None":
        """What `study_status.json` says; None where it is not there or damaged."""
        try:
            told: dict[str, Any] = json.loads((folder / STATUS_FILE).read_text(encoding="utf-8"))
            cells, trials = ([CellStatus(**one | {"budget": tuple(one["budget"])}) for one in told.get(name, [])] for name in ("cells", "trials"))
            facts = {key: told[key] for key in ("kind", "parallel", "state", "process", "host", "updated")}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cls(folder=folder, cells=cells, trials=trials, **facts)

    @classmethod
    def resumed(cls, study: Study) -> "Board":
        """What an earlier start left, in the hands of this process; as `of` where there is nothing."""
        board = cls.read(study.folder) or cls.of(study)
        board.state, board.process, board.host = RUNNING, os.getpid(), socket.gethostname()
        for cell in board.cells:
            cell.status = WAITING if cell.status == RUNNING else cell.status
        return board

    def refresh(self) -> None:
        """Read from the folders of what runs how far it is."""
        for cell in (*self.trials, *self.cells):
            if cell.status == RUNNING:
                cell.share = share_of(self.folder / cell.run, cell.budget)

    def write(self) -> None:
        """Write the file, whole or not at all."""
        self.updated = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        document = {
            "state": self.state,
            "kind": self.kind,
            "counts": counted(self.cells),
            "trial_counts": counted(self.trials),
            "total": len(self.cells),
            "seconds_left": self.seconds_left(),
            "parallel": self.parallel,
            "process": self.process,
            "host": self.host,
            "updated": self.updated,
            "cells": [asdict(cell) for cell in self.cells],
            "trials": [asdict(trial) for trial in self.trials],
        }
        io.replace_text(self.folder / STATUS_FILE, json.dumps(document, indent=1, ensure_ascii=False) + "\n")

    @property
    def tuning(self) -> bool:
        """Whether trials are left to be made."""
        return any(trial.status in (RUNNING, WAITING) for trial in self.trials)

    def interrupt(self) -> None:
        """What is not brought to its end waits."""
        self.state = "stopped" if self.state == RUNNING else self.state
        for one in (*self.trials, *self.cells):
            one.status = WAITING if one.status == RUNNING else one.status

    def leave(self) -> None:
        """The last word of this process."""
        self.interrupt()
        self.write()

    def seconds_left(self) -> float | None:
        """None where nothing is there to judge by."""
        return seconds_left([*self.trials, *self.cells], time.time(), self.parallel)

    def line(self) -> str:
        """All of it in one line."""
        told = _counted_in_words(self.cells, "")
        if self.tuning:
            told = f"tuning: {_counted_in_words(self.trials, ' trials')}; runs: {told}"
        left = self.seconds_left()
        return told + (f"; about {duration(left)} left" if left else "")

    def lines(self) -> list[str]:
        """One line for the whole and one for every run; while it is tuned, one for every trial, too."""
        return [f"{self.kind} in {self.folder}: {self.line()}", *map(_line, self.trials if self.tuning else []), *map(_line, self.cells)]


def counted(cells: Sequence[CellStatus]) -> dict[str, int]:
    """How many there are of each status."""
    found = Counter(cell.status for cell in cells)
    return {status: found[status] for status in STATUSES}


def _counted_in_words(cells: Sequence[CellStatus], what: str) -> str:
    counts = counted(cells)
    told = [f"{counts[DONE]} of {len(cells)}{what} done", *(f"{counts[status]} {status}" for status in STATUSES[1:] if counts[status])]
    return ", ".join(told)


def status_lines(folder: Path) -> list[str]:
    """How far the study in a folder is, in lines for a terminal, whoever runs it.

    Raises:
        RunNotFoundError: there is no study that was begun.
    """
    board = Board.read(folder)
    if board is None:
        raise RunNotFoundError(
            f"{folder}: no study was begun there ({STATUS_FILE} is missing or damaged); give the folder that `ablate` or `compare` named"
        )
    board.refresh()
    if board.state != RUNNING:
        return [*board.lines(), f"not running now ({board.state})"]
    gone = _gone(board)
    if gone and board.host == socket.gethostname():
        board.interrupt()
    return [*board.lines(), *([gone] if gone else [])]


def share_of(run: Path, budget: tuple[str, float]) -> float | None:
    """How much of its budget a run has spent, by the last line of its metrics; None where that does not tell."""
    unit, amount = budget
    key = AXES.get(unit)
    try:
        with (run / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().split(b"\n")[:-1]  # what stands behind the last line's end is not whole
        return min(1.0, json.loads(lines[-1])[key] / amount) if key else None
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return None


def seconds_left(cells: Sequence[CellStatus], now: float, parallel: int) -> float | None:
    """Estimated from what finished runs took, those of the same label first, and from the speed of the running ones; None without either."""
    running = [(cell, _left(cell, now)) for cell in cells if cell.status == RUNNING]
    taken = [(cell.label, cell.seconds) for cell in cells if cell.status == DONE and cell.seconds is not None]
    projected = [(cell.label, now - cell.started + left) for cell, left in running if left is not None and cell.started is not None]

    def usual(cell: CellStatus) -> float | None:
        known = [*taken, *projected]
        same = [seconds for label, seconds in taken if label == cell.label] or [seconds for _, seconds in taken]
        same = same or [seconds for label, seconds in known if label == cell.label] or [seconds for _, seconds in known]
        return statistics.fmean(same) if same else cell.budget[1] if cell.budget[0] == "seconds" else None

    single: list[float] = []
    for cell in cells:
        if cell.status not in (RUNNING, WAITING):
            continue
        left = next((left for one, left in running if one is cell), None)
        if left is None:
            whole = usual(cell)
            if whole is None:
                return None
            spent = max(now - cell.started, 0.0) if cell.status == RUNNING and cell.started is not None else whole * (cell.share or 0.0)
            left = max(whole - spent, 0.0)
        single.append(left)
    return max(max(single), sum(single) / max(parallel, 1)) if single else 0.0


def _left(cell: CellStatus, now: float) -> float | None:
    """Of a running cell by its own speed since it was started."""
    if cell.share is None or cell.started is None or cell.share - cell.begun_at < 0.01:
        return None
    return (now - cell.started) * (1 - cell.share) / (cell.share - cell.begun_at)


def duration(seconds: float) -> str:
    """Words for a time."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _line(cell: CellStatus) -> str:
    facts = []
    if cell.share is not None and cell.status in (RUNNING, WAITING):
        facts.append(f"{cell.share:.0%}")
    if cell.status == DONE and cell.seconds is not None:
        facts.append(duration(cell.seconds))
    told = f"  {cell.status:<8} {cell.title}" + (f" ({', '.join(facts)})" if facts else "")
    return told + (f": {cell.reason}" if cell.reason else "")


def _gone(board: Board) -> str:
    """A word on a study whose process ended without one."""
    again = "the same command goes on where it was"
    if board.host == socket.gethostname():
        try:
            os.kill(board.process, 0)
        except ProcessLookupError:
            return f"not running now: process {board.process} has ended without a word; {again}"
        except OSError:
            pass
        return ""
    silent = time.time() - datetime.datetime.fromisoformat(board.updated).timestamp()
    return f"no news from {board.host} for {duration(silent)}; if it has ended, {again}" if silent > _SILENT else ""

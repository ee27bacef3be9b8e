"""What is shown while runs go on at once."""

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from transformer_zoo.studies import live
from transformer_zoo.studies.live import Live
from transformer_zoo.studies.status import Board, CellStatus


def board(folder: Path, n: int) -> Board:
    cells = [CellStatus(label=f"model-{i}", seed=0, run="r", budget=("steps", 10.0), status="running" if i == n - 1 else "waiting") for i in range(n)]
    return Board(folder=folder, kind="compare", cells=cells)


def shown(one: Live) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(one._table())
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_a_table_has_every_run_of_a_short_study_and_those_that_run_of_a_long_one(tmp_path: Path) -> None:
    short = shown(Live(board(tmp_path, 3), terminal=False))
    assert "compare: 0 of 3 done, 1 running, 2 waiting" in " ".join(short.split())  # the title is as wide as the table
    assert all(f"model-{i}" in short for i in range(3))
    long = shown(Live(board(tmp_path, 30), terminal=False))
    assert "model-29" in long
    assert "model-3 " not in long


def test_without_a_terminal_plain_lines_come_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(live, "TABLE", -1.0)
    monkeypatch.setattr(live, "PLAIN", -1.0)
    with caplog.at_level(logging.INFO, "transformer_zoo"), Live(board(tmp_path, 2), terminal=False) as one:
        one.show()
    assert caplog.messages == ["study: 0 of 2 done, 1 running, 1 waiting"]
    assert (tmp_path / "study_status.json").is_file()

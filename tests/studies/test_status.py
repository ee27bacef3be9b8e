"""How far a study is, and how long it will take."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from transformer_zoo.errors import RunNotFoundError
from transformer_zoo.studies.status import Board, CellStatus, duration, seconds_left, share_of, status_lines

STEPS = ("steps", 1000.0)


def cell(label: str, status: str, budget: tuple[str, float] = STEPS, **facts: float | None) -> CellStatus:
    return CellStatus(label=label, seed=0, run=f"runs/{label}", budget=budget, status=status, **facts)  # type: ignore[arg-type]


def test_time_left_is_what_finished_runs_took_those_of_the_same_label_first() -> None:
    done = [cell("a", "done", seconds=10.0), cell("b", "done", seconds=100.0)]
    assert seconds_left([*done, cell("a", "waiting"), cell("b", "waiting")], 0.0, 1) == 110.0
    assert seconds_left([*done, cell("c", "waiting")], 0.0, 1) == 55.0
    assert seconds_left([*done, cell("a", "waiting"), cell("b", "waiting")], 0.0, 2) == 100.0, "the longest one bounds it"
    assert seconds_left(done, 0.0, 1) == 0.0


def test_time_left_of_a_running_one_is_by_its_own_speed_since_it_was_started() -> None:
    running = cell("a", "running", started=100.0, begun_at=0.5, share=0.75)
    assert seconds_left([running], 110.0, 1) == 10.0
    assert seconds_left([running, cell("a", "waiting")], 110.0, 1) == 30.0, "a whole one takes what this one will have taken"


def test_nothing_is_told_where_nothing_is_known_but_a_budget_in_seconds_is() -> None:
    assert seconds_left([cell("a", "waiting")], 0.0, 1) is None
    assert seconds_left([cell("a", "waiting", ("seconds", 60.0)), cell("b", "waiting", ("seconds", 60.0))], 0.0, 1) == 120.0


def test_a_stopped_run_has_only_its_rest_before_it() -> None:
    assert seconds_left([cell("a", "done", seconds=10.0), cell("a", "waiting", share=0.75)], 0.0, 1) == 2.5


def test_how_far_a_run_is_stands_in_its_last_whole_line(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "tokens": 10 * step, "loss": 1.0}) for step in (100, 250)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 90')
    assert share_of(tmp_path, STEPS) == 0.25
    assert share_of(tmp_path, ("tokens", 5000.0)) == 0.5
    assert share_of(tmp_path, ("epochs", 2.0)) is None
    assert share_of(tmp_path / "nowhere", STEPS) is None


def test_a_study_on_another_machine_that_is_silent_is_told_of(tmp_path: Path) -> None:
    board = Board(folder=tmp_path, kind="ablate", cells=[cell("a", "running", started=0.0)], host="another-machine")
    board.write()
    assert status_lines(tmp_path) == [f"ablate in {tmp_path}: 0 of 1 done, 1 running", "  running  a seed 0"]
    text = (tmp_path / "study_status.json").read_text()
    (tmp_path / "study_status.json").write_text(text.replace(board.updated, "2020-01-01T00:00:00+00:00"))
    assert "no news from another-machine for " in status_lines(tmp_path)[-1]
    (tmp_path / "study_status.json").write_text(text[:-20])
    with pytest.raises(RunNotFoundError, match="no study was begun there"):
        status_lines(tmp_path)


def test_of_a_study_whose_process_is_gone_nothing_runs(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    Board(folder=tmp_path, kind="ablate", cells=[cell("a", "running", started=0.0)], process=ended.pid).write()
    first, run, last = status_lines(tmp_path)
    assert first == f"ablate in {tmp_path}: 0 of 1 done, 1 waiting"
    assert run == "  waiting  a seed 0"
    assert f"process {ended.pid} has ended without a word" in last


@pytest.mark.parametrize(("seconds", "words"), [(3.2, "3 s"), (59.6, "1 min 0 s"), (3700.0, "1 h 1 min")])
def test_words_for_times(seconds: float, words: str) -> None:
    assert duration(seconds) == words

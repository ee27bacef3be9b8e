"""Runs as a data frame."""

from pathlib import Path

import pytest
from fabricated import fabricated_study, three
from folders import write_run

import transformer_zoo
from transformer_zoo.errors import RunNotFoundError


def test_one_row_for_every_run_with_what_differs(tmp_path: Path) -> None:
    frame = transformer_zoo.load_runs(fabricated_study(tmp_path, three(), seeds=2, points=3, failed=2))
    assert list(frame["group"]) == [label for label in three() for _ in range(2)]
    assert list(frame["seed"].dropna().astype(int)) == [0, 1, 0, 1, 0, 1]
    assert list(frame["status"]) == ["done"] * 4 + ["failed", "missing"]
    assert frame["reason"][4] == "loss is nan at step 1000; lower optimizer.lr"
    assert list(frame["model.d_model"][:4]) == [64, 64, 72, 72]
    assert frame["validation/loss"].dtype == float
    assert frame["flops"].notna().sum() == 4
    assert Path(frame["path"][0]) == tmp_path / "runs" / "run00-seed0"
    assert list(frame.groupby("group")["validation/loss"].count()[["model=bert", "model=gpt2"]]) == [2, 1]


def test_several_paths_and_single_runs(tmp_path: Path) -> None:
    study = fabricated_study(tmp_path, three(), points=3)
    frame = transformer_zoo.load_runs([str(study / "runs" / "run00-seed0"), study / "runs" / "run01-seed0"])
    assert list(frame["run"]) == ["run00-seed0", "run01-seed0"]


def test_many_columns_are_read_without_a_warning(tmp_path: Path) -> None:
    for name in "ab":
        write_run(tmp_path / name, config={"model": {f"setting_{number}": number + (name == "b") for number in range(150)}})
    frame = transformer_zoo.load_runs(tmp_path)
    assert frame.shape[1] > 150
    assert list(frame.columns[:4]) == ["path", "run", "group", "seed"]


def test_nothing_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"there is no run, study or folder '.*nowhere'"):
        transformer_zoo.load_runs(tmp_path / "nowhere")

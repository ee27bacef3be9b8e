"""The ledger of a run: shares of an interval, totals so far, the same after resume and for any micro-batches."""

import json
from pathlib import Path

import pytest

from training.test_resume import stop_after
from training.tiny import TinyStream, fit, make_trainer, rows, train
from transformer_zoo.errors import StoppedError
from transformer_zoo.training.ledger import Ledger
from transformer_zoo.training.metrics import read_metrics
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.state import TrainState

TRAINING = TrainingConfig(steps=20, log_every=5, evaluate_every=100)


def told(folder: Path) -> list[tuple[int, float, float]]:
    return [(line["step"], line["rows"], line["tokens_per_row"]) for line in read_metrics(folder / "metrics.jsonl") if "rows" in line]


def test_every_log_line_tells_shares_of_its_interval_and_totals(tmp_path: Path) -> None:
    _, summary = train(tmp_path, training=TRAINING)
    lines = told(tmp_path)
    assert [(step, total) for step, total, _ in lines] == [(1, 8), (5, 40), (10, 80), (15, 120), (20, 160)]
    lengths = rows()[1]
    assert lengths.min() < lines[1][2] < lengths.max()
    n_rows = [8, 32, 40, 40, 40]
    mean = sum(n * line[2] for n, line in zip(n_rows, lines, strict=True)) / 160
    assert summary["ledger"] == {"rows": 160, "tokens_per_row": pytest.approx(mean)}
    assert summary["ledger"]["tokens_per_row"] == pytest.approx(summary["tokens"] / 160)
    assert json.loads((tmp_path / "summary.json").read_text())["ledger"] == summary["ledger"]


@pytest.mark.parametrize("micro", [None, 3])
def test_it_goes_on_after_a_stop(tmp_path: Path, micro: int | None) -> None:
    _, whole = train(tmp_path / "whole", training=TRAINING)
    with pytest.raises(StoppedError):
        fit(stop_after(make_trainer(tmp_path / "parts", training=TRAINING, stream=TinyStream(micro=micro)), 8))
    _, parts = train(tmp_path / "parts", training=TRAINING, stream=TinyStream(micro=micro))
    assert told(tmp_path / "parts") == told(tmp_path / "whole")
    assert parts["ledger"] == whole["ledger"]


@pytest.mark.parametrize("micro", [None, 3])
def test_predicted_tokens_are_counted_from_the_first_step_to_the_last(tmp_path: Path, micro: int | None) -> None:
    with pytest.raises(StoppedError):
        fit(stop_after(make_trainer(tmp_path, training=TRAINING, stream=TinyStream(micro=micro)), 8))
    assert json.loads((tmp_path / "summary.json").read_text())["predicted_tokens"] == 8 * 8
    _, summary = train(tmp_path, training=TRAINING, stream=TinyStream(micro=micro))
    assert summary["predicted_tokens"] == 20 * 8, "of every row the objective predicts one thing"


def test_a_run_that_was_begun_without_counting_them_tells_none() -> None:
    begun = TrainState(step=3, predicted_tokens=5).to_dict()
    assert TrainState.from_dict(begun).predicted_tokens == 5
    del begun["predicted_tokens"]
    assert TrainState.from_dict(begun).predicted_tokens is None


def test_a_share_of_nothing_is_left_out() -> None:
    ledger = Ledger({"share": ("a", "b"), "total": ("a", None)})
    assert ledger.names == ["a", "b"]
    assert ledger.values({}, {}) == {"total": 0.0}
    assert ledger.values({"a": 1, "b": 4}, {"a": 7, "b": 9}) == {"share": 0.25, "total": 7}

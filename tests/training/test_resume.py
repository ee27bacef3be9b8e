"""A run that was stopped and goes on is the run that was not, to the bit."""

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from training.tiny import N_ROWS, TinyModel, TinyStream, fit, make_trainer, train
from transformer_zoo.data.stream import StepExamples, StreamState
from transformer_zoo.errors import CheckpointError, ConfigError, StoppedError
from transformer_zoo.training.checkpoints import Snapshot, read_checkpoint
from transformer_zoo.training.metrics import read_metrics
from transformer_zoo.training.optimizers import AdafactorConfig, AdamWConfig, MuonConfig, OptimizerConfig, SGDConfig
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.signals import SIGNALS
from transformer_zoo.training.trainer import Trainer

OPTIMIZERS: dict[str, OptimizerConfig] = {"adamw": AdamWConfig(), "adafactor": AdafactorConfig(), "muon": MuonConfig(), "sgd": SGDConfig()}


def stop_after(trainer: Trainer, step: int) -> Trainer:
    """As if SIGTERM came during a step."""
    run = trainer.stepper.run

    def stopping(*arguments: Any) -> Any:
        if trainer.state.step + 1 == step:
            trainer.stop.signal_number = SIGNALS[0]
        return run(*arguments)

    trainer.stepper.run = stopping  # type: ignore[method-assign]
    return trainer


def last(folder: Path) -> Snapshot:
    return read_checkpoint(folder / "checkpoints" / "step-00000020")


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in ("seconds", "busy_seconds", "tokens_per_second", "peak_memory_bytes")}
    return value


def assert_same(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for item, its_like in zip(one, other, strict=True):
            assert_same(item, its_like, where)
    else:
        assert one == other, where


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, moments, generators, counters, and every metric of every line."""
    a, b = last(one), last(other)
    for part in ("weights", "averaged", "optimizer", "rng"):
        assert_same(getattr(a, part), getattr(b, part), part)
    assert without_times(a.state) == without_times(b.state)
    lines = [[without_times(line) for line in read_metrics(folder / "metrics.jsonl")] for folder in (one, other)]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(("optimizer", "micro"), list(itertools.product(OPTIMIZERS, (None, 3))))
def test_ten_stop_and_ten_are_twenty(tmp_path: Path, optimizer: str, micro: int | None) -> None:
    settings: dict[str, Any] = {"training": TrainingConfig(steps=20, log_every=7, evaluate_every=6), "optimizer": OPTIMIZERS[optimizer]}
    train(tmp_path / "whole", stream=TinyStream(micro=micro), **settings)
    with pytest.raises(StoppedError):
        fit(stop_after(make_trainer(tmp_path / "parts", stream=TinyStream(micro=micro), **settings), 10))
    torch.manual_seed(99)
    train(tmp_path / "parts", stream=TinyStream(micro=micro), **settings, model=TinyModel(dropout=0.1))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("step", [1, 9, 19, 20])
@pytest.mark.parametrize(
    "extra",
    [{}, {"ema_decay": 0.9}, {"average_last": 3, "checkpoint_every": 5, "evaluate_every": 100}, {"evaluate_every": 3, "checkpoint_every": 4}],
    ids=str,
)
def test_stopped_anywhere(tmp_path: Path, step: int, extra: dict[str, Any]) -> None:
    training = TrainingConfig(**{"steps": 20, "log_every": 4, "evaluate_every": 8, **extra})
    train(tmp_path / "whole", training=training)
    with pytest.raises(StoppedError) if step < 20 else contextlib.nullcontext():
        fit(stop_after(make_trainer(tmp_path / "parts", training=training), step))
    train(tmp_path / "parts", training=training)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_stopped_at_an_epoch_boundary(tmp_path: Path) -> None:
    """A batch that divides the epoch: the next one begins with the second epoch's order."""
    training = TrainingConfig(steps=20, evaluate_every=10)
    whole, _ = train(tmp_path / "whole", training=training, stream=TinyStream(batch_size=N_ROWS))
    with pytest.raises(StoppedError):
        fit(stop_after(make_trainer(tmp_path / "parts", training=training, stream=TinyStream(batch_size=N_ROWS)), 1))
    parts, _ = train(tmp_path / "parts", training=training, stream=TinyStream(batch_size=N_ROWS))
    assert parts.stream.seen[0] == whole.stream.seen[1] != whole.stream.seen[0]
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_stopped_in_an_evaluation(tmp_path: Path) -> None:
    """The evaluation that was cut short is made up for, with the same weights."""
    training = TrainingConfig(steps=20, evaluate_every=5, keep_last=10)
    train(tmp_path / "whole", training=training)
    trainer = make_trainer(tmp_path / "parts", training=training)
    evaluate = trainer.evaluate
    assert evaluate is not None

    def stopped() -> dict[str, float]:
        if trainer.state.step == 10:
            trainer.stop.signal_number = SIGNALS[0]
            list(trainer.stop.guard([1, 2], trainer.world))
        return evaluate()

    trainer.evaluate = stopped
    with pytest.raises(StoppedError, match="stopped by SIGTERM: saved after step 10"):
        fit(trainer)
    assert json.loads((tmp_path / "parts" / "status.json").read_text())["status"] == "preempted"
    train(tmp_path / "parts", training=training)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    made_up_for = [read_checkpoint(tmp_path / name / "checkpoints" / "step-00000010") for name in ("whole", "parts")]
    assert_same(made_up_for[0].rng, made_up_for[1].rng)
    assert made_up_for[0].state["best_step"] == made_up_for[1].state["best_step"] == 10


def test_a_stream_that_draws_when_it_starts_changes_nothing(tmp_path: Path) -> None:
    """Generators are put back after the stream has begun."""

    class Drawing(TinyStream):
        def iterate(self, state: StreamState) -> Iterator[StepExamples]:
            torch.rand(3)
            yield from super().iterate(state)

    training = TrainingConfig(steps=20, evaluate_every=10)
    train(tmp_path / "whole", training=training, stream=Drawing())
    with pytest.raises(StoppedError):
        fit(stop_after(make_trainer(tmp_path / "parts", training=training, stream=Drawing()), 7))
    train(tmp_path / "parts", training=training, stream=Drawing())
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_killed_runs_repeat_the_lost_steps(tmp_path: Path) -> None:
    """No checkpoint after the last step: lines beyond the checkpoint are cut and written again, never twice."""
    training = TrainingConfig(steps=20, log_every=1, checkpoint_every=6, evaluate_every=100)
    train(tmp_path / "whole", training=training)
    trainer = make_trainer(tmp_path / "parts", training=training)
    run = trainer.stepper.run

    def dies(*arguments: Any) -> Any:
        if trainer.state.step == 15:
            raise KeyError("power")
        return run(*arguments)

    trainer.stepper.run = dies  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        fit(trainer)
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 16, "half a li')
    assert read_metrics(tmp_path / "parts" / "metrics.jsonl")[-1]["step"] == 15
    train(tmp_path / "parts", training=training)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_complete_run_stays_as_it_is(tmp_path: Path) -> None:
    _, summary = train(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    trainer, again = train(tmp_path)
    assert again == json.loads(json.dumps(summary))
    assert trainer.stream.seen == []
    assert files == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    train(tmp_path, training=TrainingConfig(steps=5), config={"training": {"steps": 5}})
    _, summary = train(tmp_path, training=TrainingConfig(steps=9), config={"training": {"steps": 9}})
    assert summary["steps"] == 9


def test_resume_must_never_and_by_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="resume=must: there is no checkpoint in"):
        train(tmp_path, resume="must")
    train(tmp_path, resume="never", training=TrainingConfig(steps=20, checkpoint_every=10))
    with pytest.raises(ConfigError, match=r"resume=never, but .* holds checkpoints: choose another run_dir"):
        train(tmp_path, resume="never")
    with pytest.raises(CheckpointError, match="no such checkpoint folder"):
        train(tmp_path / "other", resume=str(tmp_path / "checkpoints" / "step-7"))
    assert json.loads((tmp_path / "status.json").read_text())["status"] == "done"


def test_another_configuration_is_refused_with_a_table(tmp_path: Path) -> None:
    train(tmp_path, config={"model": {"width": 8, "kind": "a"}, "training": {"log_every": 1}})
    with pytest.raises(CheckpointError) as caught:
        train(tmp_path, config={"model": {"width": 16, "kind": "a"}, "training": {"log_every": 5}, "seed": 3})
    first, *table = str(caught.value).splitlines()
    assert "belongs to another configuration (init_from=" in first
    assert table == ["  model.width: 8 in the checkpoint, 16 now", "  seed: (not set) in the checkpoint, 3 now"]

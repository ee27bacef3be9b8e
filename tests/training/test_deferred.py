"""Steps that are deferred, as on a CUDA device: the same run to the bit, and an update that is not finite is never applied there either."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.test_resume import assert_same, without_times
from training.tiny import TinyModel, TinyStream, fit, make_trainer, train
from transformer_zoo.errors import NumericError, StoppedError
from transformer_zoo.training import setup
from transformer_zoo.training.checkpoints import read_checkpoint
from transformer_zoo.training.later import Later
from transformer_zoo.training.metrics import read_metrics
from transformer_zoo.training.optimizers import AdamWConfig, MuonConfig, SGDConfig
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.signals import SIGNALS
from transformer_zoo.training.trainer import Trainer


@pytest.fixture
def deferring(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    return lambda on: monkeypatch.setattr(setup, "defers", lambda device: on)


def history(folder: Path) -> list[dict[str, Any]]:
    return [without_times(line) for line in read_metrics(folder / "metrics.jsonl")]


def assert_same_runs(one: Path, other: Path, step: int) -> None:
    """To the bit, in what they wrote and in what they saved."""
    assert history(one) == history(other)
    first, second = (read_checkpoint(folder / "checkpoints" / f"step-{step:08d}") for folder in (one, other))
    for part in ("weights", "optimizer", "rng", "averaged"):
        assert_same(getattr(first, part), getattr(second, part), part)


@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.9}, {"log_every": 1}, {"log_every": 7, "evaluate_every": 3}, {"average_last": 2}])
def test_the_same_to_the_bit(settings: dict[str, Any], tmp_path: Path, deferring: Callable[[bool], None]) -> None:
    for name, on in (("at once", False), ("deferred", True)):
        deferring(on)
        trainer, _ = train(tmp_path / name, training=TrainingConfig(steps=13, **settings), stream=TinyStream(micro=3))
        assert (trainer.stepper._gated is not None) is on
    assert_same_runs(tmp_path / "at once", tmp_path / "deferred", 13)


@pytest.mark.parametrize("poison", [1, 7, 10, 12])
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_what_is_not_finite_is_skipped_alike(poison: int, ema_decay: float | None, tmp_path: Path, deferring: Callable[[bool], None]) -> None:
    training = TrainingConfig(steps=12, on_nan="skip", max_skipped=1, log_every=5, evaluate_every=4, ema_decay=ema_decay)
    for name, on in (("at once", False), ("deferred", True)):
        deferring(on)
        _, summary = train(tmp_path / name, training=training, stream=TinyStream(poison=poison))
        assert summary["skipped_steps"] == 1
    assert_same_runs(tmp_path / "at once", tmp_path / "deferred", 12)


@pytest.mark.parametrize("poison", [1, 7, 20])
def test_it_stops_with_the_same_words_and_weights(poison: int, tmp_path: Path, deferring: Callable[[bool], None]) -> None:
    told, weights = [], []
    for name, on in (("at once", False), ("deferred", True)):
        deferring(on)
        trainer = make_trainer(tmp_path / name, stream=TinyStream(poison=poison))
        with pytest.raises(NumericError) as caught:
            fit(trainer)
        told.append(str(caught.value))
        weights.append({key: value.clone() for key, value in trainer.model.state_dict().items()})
        assert trainer.state.step == poison
    assert told[0] == told[1]
    assert f"step {poison}: the gradient is not finite (norm nan): the loss term sum is not finite" in told[1]
    assert_same(weights[0], weights[1], "weights")


def test_the_gradient_at_fault_is_made_again(tmp_path: Path, deferring: Callable[[bool], None]) -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
            return slope * float("nan")

    class Model(TinyModel):
        def forward(self, inputs: Any) -> Any:
            output = super().forward(inputs)
            output.heads["sum"] = Broken.apply(output.heads["sum"])
            return output

    deferring(True)
    with pytest.raises(NumericError, match=r"step 1: .*: the gradient of .* is the first that is not finite"):
        train(tmp_path, model=Model())


@pytest.mark.parametrize("step", [1, 6])
def test_stopped_before_a_step_is_settled(step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deferring: Callable[[bool], None]) -> None:
    training = TrainingConfig(steps=12, log_every=4, on_nan="skip", evaluate_every=5)
    deferring(True)
    train(tmp_path / "whole", training=training, stream=TinyStream(poison=6))
    count = Trainer._count

    def counting(self: Trainer, *arguments: Any) -> None:
        count(self, *arguments)
        assert self._pending is not None
        if self.state.step == step:
            self.stop.signal_number = SIGNALS[0]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_count", counting)
        with pytest.raises(StoppedError, match=f"saved after step {step};"):
            train(tmp_path / "parts", training=training, stream=TinyStream(poison=6))
    train(tmp_path / "parts", training=training, stream=TinyStream(poison=6))
    assert_same_runs(tmp_path / "whole", tmp_path / "parts", 12)


def test_optimisers_that_cannot_leave_an_update_out_are_not_deferred(tmp_path: Path, deferring: Callable[[bool], None]) -> None:
    deferring(True)
    for optimizer, gated in ((AdamWConfig(), True), (SGDConfig(), False), (MuonConfig(), False)):
        trainer = make_trainer(tmp_path / type(optimizer).__name__, optimizer=optimizer)
        assert (trainer.stepper._gated is not None) is gated
        trainer.recorder.run.release()


@pytest.mark.gpu
def test_a_number_arrives_without_what_was_queued_behind_it() -> None:
    x = torch.ones((), device="cuda")
    later = Later(x * 3)
    x.fill_(7)
    assert float(later) == 3

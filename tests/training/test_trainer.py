"""The loop: what a step computes, budgets, what is written, averaging, faults."""

import contextlib
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from training.tiny import N_ROWS, TinyModel, TinyObjective, TinyStream, fit, held_out, make_example, make_trainer, train
from transformer_zoo.data.stream import StepExamples, StreamState
from transformer_zoo.errors import CheckpointError, ConfigError, NumericError
from transformer_zoo.training.checkpoints import read_checkpoint
from transformer_zoo.training.metrics import read_metrics
from transformer_zoo.training.optimizers import SGDConfig
from transformer_zoo.training.parallel import Replica, World
from transformer_zoo.training.precision import Precision
from transformer_zoo.training.schedules import ConstantConfig
from transformer_zoo.training.scored import Scored
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.setup import load_weights
from transformer_zoo.training.step import Stepper


def stepper(model: TinyModel, *, clip_norm: float | None = None, precision: str = "fp32") -> Stepper:
    cpu = torch.device("cpu")
    optimizer = SGDConfig(lr=1.0, momentum=0.0).build(model)
    return Stepper(
        replica=Replica(Scored(model, TinyObjective()), World()),
        optimizer=optimizer,
        precision=Precision(precision, cpu),
        world=World(),
        device=cpu,
        clip_norm=clip_norm,
    )


def update(parts: list[np.ndarray], *, filler: bool = False, clip_norm: float | None = None) -> tuple[dict[str, Tensor], float]:
    """The negative gradient of one step over micro-batches, by plain SGD with lr 1, in float64; and its norm."""
    torch.manual_seed(0)
    model = TinyModel().double()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    examples = [make_example(part) for part in parts]
    for example in examples:
        example.targets["sum"] = example.targets["sum"].double()
    item = StepExamples(examples=examples, state=StreamState(seed=0), filler=filler)
    runner = stepper(model, clip_norm=clip_norm)
    result = runner.run(item, runner.agree(item, seconds=0.0, flags=[0.0]), 1.0)
    return {name: before[name] - parameter.detach() for name, parameter in model.named_parameters()}, result.norm


@hypothesis_settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.lists(st.integers(1, 11), max_size=4))
def test_micro_batches_of_any_lengths_give_the_full_gradient(n_rows: int, cuts: list[int]) -> None:
    indices = np.arange(n_rows)
    parts = [part for part in np.split(indices, sorted({cut for cut in cuts if cut < n_rows})) if len(part)]
    whole, norm = update([indices])
    accumulated, accumulated_norm = update(parts)
    assert accumulated_norm == pytest.approx(norm, rel=1e-6)
    for name, value in whole.items():
        torch.testing.assert_close(accumulated[name], value, rtol=1e-6, atol=1e-9)


def test_the_gradient_is_of_the_weighted_means() -> None:
    """Against autograd on the formula, written out."""
    gradient, _ = update([np.arange(5), np.arange(5, 9)])
    torch.manual_seed(0)
    model, objective, example = TinyModel().double(), TinyObjective(), make_example(np.arange(9))
    example.targets["sum"] = example.targets["sum"].double()
    report = objective.loss(model(example.inputs), example)
    (report.sums["token"] / example.counts["token"] + 0.25 * report.sums["sum"] / 9).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-9, atol=1e-12)


def test_a_filler_changes_nothing() -> None:
    gradient, norm = update([np.arange(3)], filler=True)
    assert norm == 0
    assert all(not value.any() for value in gradient.values())


def test_clipping_shortens_the_whole_gradient() -> None:
    free, norm = update([np.arange(9)])
    clipped, same_norm = update([np.arange(9)], clip_norm=0.5)
    assert same_norm == norm > 0.5
    length = math.sqrt(sum(float((value**2).sum()) for value in clipped.values()))
    assert length == pytest.approx(0.5, rel=1e-4)
    for name, value in free.items():
        torch.testing.assert_close(clipped[name], value * 0.5 / norm, rtol=1e-4, atol=1e-9)


# --- what a run writes --------------------------------------------------------------------------------------------------------------


def test_a_run_is_complete_in_its_folder(tmp_path: Path) -> None:
    trainer, summary = train(tmp_path, training=TrainingConfig(steps=25, log_every=10, evaluate_every=10))
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if "train/loss" in line] == [1, 10, 20, 25]
    assert [line["step"] for line in lines if "validation/loss" in line] == [10, 20, 25]
    assert {"step", "tokens", "seconds", "lr", "grad_norm", "tokens_per_second", "train/loss/token", "train/loss/sum"} <= set(lines[0])
    assert lines[-1]["tokens"] == summary["tokens"] == sum(make_example(np.array([i % N_ROWS])).tokens for step in trainer.stream.seen for i in step)
    assert json.loads((tmp_path / "status.json").read_text())["status"] == "done"
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert summary["steps"] == 25
    assert summary["parameters"] == sum(p.numel() for p in TinyModel().parameters())
    assert summary["parameters_embedding"] == TinyModel().embedding.weight.numel()
    assert summary["metrics"]["final"]["validation/loss"] == held_out(trainer.model)["validation/loss"]


def test_the_logged_loss_is_the_mean_since_the_last_line(tmp_path: Path) -> None:
    """With lr so small that nothing moves and every row seen once, it is the loss over all rows."""
    training = TrainingConfig(epochs=1, log_every=100, batch_size=N_ROWS)
    train(tmp_path, training=training, stream=TinyStream(batch_size=N_ROWS, micro=5), model=(model := TinyModel()), optimizer=SGDConfig(lr=1e-12))
    example = make_example(np.arange(N_ROWS))
    with torch.no_grad():
        report = TinyObjective().loss(model(example.inputs), example)
    line = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert line["train/loss/token"] == pytest.approx(float(report.sums["token"]) / example.counts["token"], rel=1e-5)
    assert line["train/loss"] == pytest.approx(line["train/loss/token"] + 0.25 * line["train/loss/sum"], rel=1e-9)


@pytest.mark.parametrize(("evaluate_every", "expected"), [(None, list(range(3, 31, 3))), (7, [7, 14, 21, 28, 30])])
def test_evaluations_over_a_run(tmp_path: Path, evaluate_every: int | None, expected: list[int]) -> None:
    train(tmp_path, training=TrainingConfig(steps=30, evaluate_every=evaluate_every))
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl") if "validation/loss" in line] == expected


def test_evaluating_changes_nothing(tmp_path: Path) -> None:
    """Not even where it draws random numbers, changes the model's mode, or happens more often."""

    def draws() -> dict[str, float]:
        torch.rand(7)
        assert not often.model.training
        return {"validation/loss": 1.0}

    often = make_trainer(tmp_path / "often", training=TrainingConfig(steps=9, evaluate_every=2), evaluate=draws)
    fit(often)
    never, _ = train(tmp_path / "never", training=TrainingConfig(steps=9), evaluate=None)
    for (name, one), two in zip(often.model.named_parameters(), never.model.parameters(), strict=True):
        assert torch.equal(one, two), name


def test_patience_ends_a_run(tmp_path: Path) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.1, 1.0])
    _, summary = train(tmp_path, training=TrainingConfig(steps=50, evaluate_every=2, patience=2), evaluate=lambda: {"validation/loss": next(losses)})
    assert summary["steps"] == 8
    assert summary["metrics"]["best_step"] == 4
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["reason"]) == ("done", "no better validation/loss in 2 evaluations")
    assert json.loads((tmp_path / "checkpoints" / "best.json").read_text())["step"] == 4


def test_a_verdict_ends_a_run_after_an_evaluation_and_the_best_is_kept(tmp_path: Path) -> None:
    seen: list[list[float]] = []

    def verdict() -> str:
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        seen.append([line["validation/loss"] for line in lines if "validation/loss" in line])
        return "hopeless" if len(seen) == 3 else ""

    losses = iter([3.0, 2.5, 2.0, 1.0])
    given: dict[str, Any] = {"training": TrainingConfig(steps=50, evaluate_every=2), "evaluate": lambda: {"validation/loss": next(losses)}}
    _, summary = train(tmp_path, verdict=verdict, **given)
    assert seen == [[3.0], [3.0, 2.5], [3.0, 2.5, 2.0]], "asked when the evaluation is written"
    assert summary["steps"] == 6
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["status"], status["reason"]) == ("done", "hopeless")
    assert json.loads((tmp_path / "checkpoints" / "best.json").read_text())["step"] == 6
    _, again = train(tmp_path, **given)
    assert again["steps"] == 6, "it has ended"


# --- budgets ------------------------------------------------------------------------------------------------------------------------


def test_budget_in_tokens(tmp_path: Path) -> None:
    trainer, summary = train(tmp_path, training=TrainingConfig(tokens=500))
    last = sum(make_example(np.array([i])).tokens for i in trainer.stream.seen[-1])
    assert summary["tokens"] - last < 500 <= summary["tokens"]


def test_budget_in_epochs(tmp_path: Path) -> None:
    _, summary = train(tmp_path, training=TrainingConfig(epochs=2.5))
    assert summary["steps"] == math.ceil(2.5 * N_ROWS / 8)


def test_budget_in_seconds_follows_the_clock(tmp_path: Path) -> None:
    _, summary = train(tmp_path, training=TrainingConfig(seconds=0.5, log_every=1), evaluate=None)
    assert 0.5 <= summary["seconds"] < 5
    rates = [line["lr"] for line in read_metrics(tmp_path / "metrics.jsonl") if "lr" in line]
    assert len(rates) > 5
    assert max(rates) > 0.9e-3
    assert rates[-1] < 0.3e-3


def test_only_one_budget() -> None:
    problems = TrainingConfig(steps=5, tokens=7).problems()
    assert problems == ["steps=5 and tokens=7 exclude each other: give one budget (steps, tokens, epochs or seconds)"]
    assert TrainingConfig().problems() == []
    assert TrainingConfig().budget == ("steps", 1000.0)
    assert TrainingConfig(seconds=3).budget == ("seconds", 3.0)


# --- averages -----------------------------------------------------------------------------------------------------------------------


def test_running_average_is_evaluated_and_saved(tmp_path: Path) -> None:
    """Against the recursion written out, on weights recorded after every step."""
    seen: list[Tensor] = []

    def record() -> dict[str, float]:
        seen.append(trainer.model.embedding.weight.detach().clone())
        return {}

    trainer = make_trainer(tmp_path, training=TrainingConfig(steps=6, ema_decay=0.5, evaluate_every=1), evaluate=record)
    raw: list[Tensor] = []
    count = trainer._count
    trainer._count = lambda *arguments: (raw.append(trainer.model.embedding.weight.detach().clone()), count(*arguments))  # type: ignore[method-assign, func-returns-value]
    average = trainer.model.embedding.weight.detach().clone()
    fit(trainer)
    for step, weight in enumerate(raw, start=1):
        keep = min(0.5, (1 + step) / (10 + step))
        average = average + (weight - average) * (1 - keep)
        torch.testing.assert_close(seen[step - 1], average)
    snapshot = read_checkpoint(tmp_path / "checkpoints" / "step-00000006")
    assert snapshot.averaged is not None
    torch.testing.assert_close(snapshot.averaged["embedding.weight"], average)
    assert torch.equal(snapshot.weights["embedding.weight"], raw[-1])
    assert torch.equal(trainer.model.embedding.weight, snapshot.averaged["embedding.weight"])
    load_weights(other := TinyModel(), tmp_path)
    assert torch.equal(other.embedding.weight, snapshot.averaged["embedding.weight"])


def test_mean_of_the_last_checkpoints(tmp_path: Path) -> None:
    """As in the 2017 recipe; the mean is what is evaluated at the end, and what is left in memory."""
    training = TrainingConfig(steps=12, average_last=3, checkpoint_every=4, evaluate_every=100)
    trainer, summary = train(tmp_path, training=training, schedule=ConstantConfig())
    snapshots = [read_checkpoint(tmp_path / "checkpoints" / f"step-{step:08d}") for step in (4, 8, 12)]
    for name, parameter in trainer.model.named_parameters():
        mean = torch.stack([snapshot.weights[name] for snapshot in snapshots]).double().mean(0).float()
        torch.testing.assert_close(parameter.detach(), mean, rtol=0, atol=1e-7)
    averaged = snapshots[-1].averaged
    assert averaged is not None
    assert not torch.equal(averaged["embedding.weight"], snapshots[-1].weights["embedding.weight"])
    load_weights(other := TinyModel(), tmp_path, which="latest")
    assert held_out(other.eval()) == {"validation/loss": summary["metrics"]["final"]["validation/loss"]}


def test_the_two_averages_exclude_each_other() -> None:
    assert TrainingConfig(ema_decay=0.9, average_last=3).problems() == ["ema_decay=0.9 and average_last=3 exclude each other: give one"]


# --- numbers that are not finite ----------------------------------------------------------------------------------------------------


def test_nan_stops_the_run_and_is_never_applied(tmp_path: Path) -> None:
    trainer = make_trainer(
        tmp_path / "bad",
        training=TrainingConfig(steps=20, checkpoint_every=6, evaluate_every=100),
        stream=TinyStream(poison=7),
        schedule=ConstantConfig(),
    )
    with pytest.raises(NumericError) as caught:
        fit(trainer)
    assert str(caught.value).startswith("step 7: the gradient is not finite (norm nan): the loss term sum is not finite; the update was not applied")
    assert "consumed 48" in str(caught.value)
    good = read_checkpoint(tmp_path / "bad" / "checkpoints" / "step-00000006")
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, good.weights[name])
    line = read_metrics(tmp_path / "bad" / "metrics.jsonl")[-1]
    assert line["step"] == 7
    assert line["train/loss"] is None
    assert line["not_finite"] == ["train/loss", "grad_norm"]
    assert json.loads((tmp_path / "bad" / "status.json").read_text())["status"] == "failed"
    assert json.loads((tmp_path / "bad" / "summary.json").read_text())["status"] == "failed"


def test_nan_names_the_weight(tmp_path: Path) -> None:
    model = TinyModel()
    torch.nn.init.constant_(model.blocks[1].linear.weight, math.inf)
    with pytest.raises(NumericError, match=r"step 1: .*the weight blocks\.1\.linear\.weight is not finite"):
        train(tmp_path, model=model)


def test_nan_names_the_module(tmp_path: Path) -> None:
    class Broken(TinyModel):
        def forward(self, inputs: Any) -> Any:
            with torch.no_grad():
                self.blocks[0].norm.eps = -1e9
            return super().forward(inputs)

    with pytest.raises(NumericError, match=r"the output of blocks\.0\.norm \(LayerNorm\) is the first that is not finite"):
        train(tmp_path, model=Broken())


def test_nan_can_be_skipped(tmp_path: Path) -> None:
    training = TrainingConfig(steps=10, on_nan="skip", max_skipped=1)
    trainer, summary = train(tmp_path / "one", training=training, stream=TinyStream(poison=7))
    assert (summary["steps"], summary["skipped_steps"]) == (10, 1)
    assert all(torch.isfinite(parameter).all() for parameter in trainer.model.parameters())
    assert math.isfinite(summary["metrics"]["final"]["train/loss"])
    model = TinyModel()
    torch.nn.init.constant_(model.heads["sum"].bias, math.nan)
    with pytest.raises(NumericError, match=r"step 2: .*more updates were dropped than training\.max_skipped allows"):
        train(tmp_path / "many", training=training, model=model)


def test_gradient_checkpointing_and_bf16_reach_the_model(tmp_path: Path) -> None:
    formats: set[torch.dtype] = set()
    model = TinyModel()
    model.blocks[0].linear.register_forward_hook(lambda module, arguments, output: formats.add(output.dtype))
    train(tmp_path, training=TrainingConfig(steps=2, gradient_checkpointing=True, precision="bf16"), model=model)
    assert model.recomputes
    assert formats == {torch.bfloat16}
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


# --- the machine --------------------------------------------------------------------------------------------------------------------


def test_out_of_memory_says_what_to_set(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, training=TrainingConfig(steps=5, batch_size=8, precision="fp32"))

    def full(*arguments: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainer.stepper.run = full  # type: ignore[method-assign]
    with pytest.raises(ConfigError) as caught:
        fit(trainer)
    assert str(caught.value) == (
        "cpu is out of memory: set training.micro_batch_size=4 (the same gradient in smaller pieces), or training.gradient_checkpointing=true, "
        "or training.precision=bf16, or a smaller data.sequence_length or model/size"
    )


def test_a_folder_that_vanishes_is_one_line(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run", training=TrainingConfig(steps=50, log_every=5), evaluate=None)
    step = trainer.stepper.run

    def remove(*arguments: Any) -> Any:
        if trainer.state.step == 7:
            shutil.rmtree(tmp_path / "run")
        return step(*arguments)

    trainer.stepper.run = remove  # type: ignore[method-assign]
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: nothing can be written there \(No such file or directory\)"):
        fit(trainer)


def test_little_space_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5000))
    train(tmp_path, training=TrainingConfig(steps=1))
    assert "two checkpoints need about" in caplog.text


def test_the_first_step_of_every_start_is_observed_and_no_other(tmp_path: Path):
    seen: list[str] = []

    @contextlib.contextmanager
    def observe(replica: Replica) -> Iterator[None]:
        seen.append(f"compiled: {replica.compiled}")
        yield
        seen.append("done")

    for steps in (2, 4, 4):  # the third start has nothing left to do
        trainer = make_trainer(tmp_path / "run", training=TrainingConfig(steps=steps))
        trainer.observe = observe
        run = trainer.stepper.run
        trainer.stepper.run = lambda *given, run=run: (seen.append("step"), run(*given))[1]  # type: ignore[method-assign]
        fit(trainer)
    assert seen == ["compiled: False", "step", "done", "step"] * 2

"""The training loop: one explicit loop over explicit collaborators. It knows neither models nor objectives by name."""

import contextlib
import logging
import math
import signal
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from transformer_zoo.data.stream import StepExamples, StreamState
from transformer_zoo.errors import ConfigError, NumericError, StoppedError, ZooError
from transformer_zoo.training.averaging import AveragedWeights, RunningAverage
from transformer_zoo.training.environment import peak_memory_bytes
from transformer_zoo.training.faults import explain_not_finite, out_of_memory
from transformer_zoo.training.keeper import Keeper
from transformer_zoo.training.ledger import Ledger
from transformer_zoo.training.optimizers import owned_parameters
from transformer_zoo.training.parallel import Replica
from transformer_zoo.training.recorder import Recorder
from transformer_zoo.training.rng import restore_generators, seed_generators
from transformer_zoo.training.schedules import Moment, ScheduleConfig
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.signals import StopFlag, StopRequested
from transformer_zoo.training.state import Interval, TrainState
from transformer_zoo.training.step import Agreement, Stepper, StepResult

logger = logging.getLogger(__name__)

Evaluate = Callable[[], dict[str, float]]
"""Held-out metrics of the model as it stands, the same in every process. It polls the StopFlag by `guard`."""
Observe = Callable[[Replica], AbstractContextManager[object]]
"""Entered around the first step of every start; told what is called, and compiled where it is."""

Verdict = Callable[[], str]
"""Asked after every evaluation on the way, when its line of metrics is written; a reason ends the run as if its budget were spent."""

BUDGET_SPENT = "the budget is spent"
EVALUATIONS = 10
"""Over a run, where training.evaluate_every does not say otherwise."""
SELECTION_METRIC = "validation/loss"
"""Decides which checkpoint is best; smaller is better."""


class Stream(Protocol):
    """The training data as an endless sequence of steps, from any state on (see `transformer_zoo.data.stream.TrainingStream`)."""

    def initial_state(self) -> StreamState:
        """The state before the first step."""

    def epochs_at(self, state: StreamState) -> float:
        """Passes over the data done at a state."""

    def iterate(self, state: StreamState) -> Iterator[StepExamples]:
        """The steps from a state on."""


@dataclass(frozen=True, kw_only=True)
class _Pending:
    """A step of which it is not known yet whether its update was applied."""

    step: int
    item: StepExamples
    agreed: Agreement
    result: StepResult
    before: dict[str, Any]
    """The stream's state before it."""


class Trainer:
    """Call `fit` once. Collaborators are built by `transformer_zoo.training.setup`."""

    def __init__(
        self,
        *,
        config: TrainingConfig,
        stepper: Stepper,
        schedule: ScheduleConfig,
        stream: Stream,
        keeper: Keeper,
        recorder: Recorder,
        stop: StopFlag,
        evaluate: Evaluate | None,
        seed: int,
        observe: Observe | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        self.config, self.stepper, self.schedule, self.stream = config, stepper, schedule, stream
        self.keeper, self.recorder, self.stop, self.evaluate, self.seed = keeper, recorder, stop, evaluate, seed
        self.observe, self.verdict = observe, verdict
        self.device, self.world, self.weights = stepper.device, stepper.world, stepper.weights
        self.scored = stepper.replica.scored
        self.model = self.scored.model
        self.state = TrainState(stream=stream.initial_state().to_dict())
        self.running = RunningAverage(self.model, config.ema_decay) if config.ema_decay is not None else None
        self.averaged: AveragedWeights | None = self.running
        self._unit, self._amount = config.budget
        self._sums = stepper.no_sums()
        self._predicted = list(self.scored.objective.predicted_terms)
        self._ledger = Ledger(self.scored.objective.ledger)
        self._norm = 0.0
        self._pending: _Pending | None = None
        self._generators: dict[str, Any] | None = None
        self._clock = time.monotonic()

    # --- the run -------------------------------------------------------------------------------------------------------------------

    def fit(self, resume: str = "auto") -> dict[str, Any]:
        """Train to the end of the budget, from a checkpoint where `resume` says so; returns what `summary.json` holds.

        Afterwards the model holds the weights that were evaluated last: the averaged ones where the run averages.

        Raises:
            NumericError: an update was not finite (it was not applied).
            CheckpointError: a checkpoint could not be read or written.
            StoppedError: a signal came; the state is saved.
        """
        with self.stop:
            self._restore(resume)
            try:
                if not self.state.finished:
                    self.recorder.start(self.state, self._share(), "; ".join(self.keeper.store.notes))
                    self._loop()
                return self._finish()
            except StopRequested as request:
                raise self._preempted(request.signal_number) from None
            except torch.OutOfMemoryError as error:
                advice = out_of_memory(self.config, self.device)
                self._end("failed", advice)
                raise ConfigError(advice) from error
            except BaseException as error:
                self._end("failed", str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}".rstrip(": "))
                raise

    def _restore(self, resume: str) -> None:
        restored = self.keeper.restore(resume)
        seed_generators(self.seed, self.world)
        if restored is not None:
            self.state, snapshot = restored
            self._generators = snapshot.rng
            restore_generators(snapshot.rng, self.seed, self.device, self.world)
            if self.state.finished == BUDGET_SPENT and self._share() < 1:
                self.state.finished = ""  # the budget has been raised since
            elif snapshot.averaged is not None:
                self.averaged = self.running or AveragedWeights(self.model)
            if snapshot.averaged is not None and self.averaged is not None:
                self.averaged.load(snapshot.averaged)
        self._clock = time.monotonic() - self.state.seconds

    def _loop(self) -> None:
        """Steps until the budget is spent; between them log lines, evaluations and checkpoints."""
        state = self.state
        self.model.train()
        if state.evaluation_due:
            self._review()
        with contextlib.closing(self._steps()) as steps:
            for item in steps:
                began = time.monotonic()
                agreed = self.stepper.agree(item, seconds=self._seconds(), flags=self.stop.flags())
                self.stop.check(agreed.flags)
                moment = self._moment(item, agreed)
                if moment.start >= 1 and state.step:
                    break  # the clock has run out
                with self._observed():
                    result = self.stepper.run(item, agreed, self.schedule.factor(moment))
                busy = time.monotonic() - began
                self._settle()  # the step before; while the device computes this one
                self._count(item, agreed, result, busy)
                self.recorder.progress.advance(moment.end)
                if state.step == 1 or state.step % self.config.log_every == 0:
                    self._log()
                if moment.end >= 1 and self._unit != "seconds":
                    break  # the end has a log line, an evaluation and a checkpoint of its own
                state.evaluation_due = self._evaluation_due(moment)
                self._review()
                if state.finished:
                    break

    def _observed(self) -> AbstractContextManager[object]:
        """Around a step: what wants to see the first one."""
        observe, self.observe = self.observe, None
        return contextlib.nullcontext() if observe is None else observe(self.stepper.replica)

    def _steps(self) -> Generator[StepExamples, None, None]:
        """The stream from where the run stands. Saved generators are put back once it runs, whatever starting it may have drawn."""
        if self._unit != "seconds" and self._share() >= 1:
            return
        for item in self.stream.iterate(StreamState.from_dict(self.state.stream)):
            if self._generators is not None:
                restore_generators(self._generators, self.seed, self.device, self.world)
                self._generators = None
            yield item

    def _moment(self, item: StepExamples, agreed: Agreement) -> Moment:
        """The step's place in the budget."""
        step, start = self.state.step + 1, self._share()
        if self._unit == "seconds":
            start = end = min(1.0, agreed.seconds / self._amount)
        elif self._unit == "epochs":
            end = min(1.0, self.stream.epochs_at(item.state) / self._amount)
        else:
            end = min(1.0, {"steps": step, "tokens": self.state.tokens + agreed.tokens}[self._unit] / self._amount)
        return Moment(step=step, start=start, end=end)

    def _count(self, item: StepExamples, agreed: Agreement, result: StepResult, busy: float) -> None:
        """Take a step into the state."""
        state, interval = self.state, self.state.interval
        before, state.stream = state.stream, item.state.to_dict()
        state.step, state.tokens, interval.tokens = state.step + 1, state.tokens + agreed.tokens, interval.tokens + agreed.tokens
        if state.predicted_tokens is not None:
            state.predicted_tokens += sum(agreed.counts[term] for term in self._predicted)
        state.seconds = self._seconds()
        state.busy_seconds, interval.busy_seconds = state.busy_seconds + busy, interval.busy_seconds + busy
        self._ledger.add(item)
        self._pending = _Pending(step=state.step, item=item, agreed=agreed, result=result, before=before)
        if result.skipped is None and not self._settle():
            return
        if self.running is not None:
            self.running.update(state.step, result.skipped)

    def _settle(self) -> bool:
        """Take the latest step's losses into account, once it is known whether its update was applied; returns whether it was."""
        pending, self._pending = self._pending, None
        if pending is None:
            return True
        state, interval, began = self.state, self.state.interval, time.monotonic()
        self._norm = pending.result.norm
        waited = time.monotonic() - began
        state.busy_seconds, interval.busy_seconds = state.busy_seconds + waited, interval.busy_seconds + waited
        if not math.isfinite(self._norm):
            self._not_finite(pending)
            return False
        for term, count in pending.agreed.counts.items():
            self._sums[term] += pending.result.sums[term]
            interval.counts[term] = interval.counts.get(term, 0) + count
        return True

    def _not_finite(self, pending: "_Pending") -> None:
        """An update was not applied: stop with an explanation, or go on where that is allowed."""
        state, config = self.state, self.config
        what = f"step {pending.step}: the gradient is not finite (norm {self._norm}){self._where(pending)}"
        self.stepper.forget()
        state.skipped += 1
        if config.on_nan == "skip" and state.skipped <= config.max_skipped:
            logger.warning("%s; the update is skipped (%d of at most %d)", what, state.skipped, config.max_skipped)
            return
        self.recorder.log(state, self._share(), {"train/loss": math.nan, "grad_norm": self._norm})
        why = "more updates were dropped than training.max_skipped allows" if config.on_nan == "skip" else "the update was not applied"
        place = ", ".join(f"{key} {value}" for key, value in pending.before.items())
        raise NumericError(
            f"{what}; {why}; its batch begins at {place}. Try a lower optimizer.lr, a longer warm-up or training.precision=fp32; "
            "training.on_nan=skip passes over single bad batches"
        )

    def _where(self, pending: "_Pending") -> str:
        """What was not finite, in words; nothing where several processes would have to search together. The search draws nothing from the run's
        generators."""
        if self.world.size > 1:
            return ""
        with self._own_draws():
            if pending.result.skipped is not None:
                self.stepper.backward(pending.item, pending.agreed)  # its gradients are gone
            return f": {explain_not_finite(self.scored, [example.to(self.device) for example in pending.item.examples])}"

    def _own_draws(self) -> AbstractContextManager[None]:
        """Inside, torch's generators are a copy."""
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])

    # --- the end -------------------------------------------------------------------------------------------------------------------

    def _finish(self) -> dict[str, Any]:
        """Log, average, evaluate, save and sum up; nothing but the last where the run was complete already."""
        state, config = self.state, self.config
        told = self.recorder.run.read_json("summary.json") if state.finished and self.keeper.saved_step == state.step else None
        if told is None or told.get("status") != "done":
            if state.interval.tokens:
                self._log()
            if config.average_last is not None and self.averaged is None:
                self.averaged = self.keeper.mean_of_last(config.average_last, state.step)
                state.evaluated_step = -1
            improved = self._evaluate() if self.evaluate is not None and state.evaluated_step != state.step else False
            if not state.finished or self.keeper.saved_step != state.step:
                state.finished = state.finished or BUDGET_SPENT
                self._save(is_best=improved)
            told = self._end("done", state.finished)
        else:
            logger.info("%s is complete already: %d steps, %s", self.recorder.run.path, state.step, state.finished)
            self.recorder.still_done(state)
        if self.averaged is not None:
            self.averaged.swap()
        self.model.eval()
        return told

    def _preempted(self, number: int) -> StoppedError:
        """Save, and say how to go on."""
        name, step = signal.Signals(number).name, self.state.step
        try:
            if step and self.keeper.saved_step != step:
                self._save(is_best=False, planned=False)
        except BaseException as error:
            self._end("failed", f"{name} came, and saving failed: {type(error).__name__} {error}".rstrip())
            raise
        saved = f"saved after step {step}; run_dir={self.recorder.run.path} goes on from there" if step else "there was nothing to save yet"
        self._end("preempted", name)
        return StoppedError(f"stopped by {name}: {saved}", number)

    def _end(self, status: str, reason: str) -> dict[str, Any]:
        """The last word on the run, in its files and on the screen."""
        state = self.state
        parameters = owned_parameters(self.model, trainable_only=False)
        summary = {
            "status": status,
            "parameters": sum(owned.parameter.numel() for owned in parameters),
            "parameters_embedding": sum(owned.parameter.numel() for owned in parameters if owned.is_embedding),
            "steps": state.step,
            "tokens": state.tokens,
            "predicted_tokens": state.predicted_tokens,
            "seconds": round(state.seconds, 3),
            "tokens_per_second": round(state.tokens / state.busy_seconds, 1) if state.busy_seconds else None,
            "peak_memory_bytes": peak_memory_bytes(self.device),
            "skipped_steps": state.skipped,
            "metrics": {"final": state.metrics, "best": state.best, "best_step": state.best_step if state.best else None},
            "ledger": self._ledger.values(state.ledger, state.ledger),
        }
        self.recorder.finish(status, reason, state, summary)
        return summary

    # --- time and budget -----------------------------------------------------------------------------------------------------------

    def _seconds(self) -> float:
        """Wall-clock seconds of the run, by a clock that nobody sets."""
        return time.monotonic() - self._clock

    def _share(self) -> float:
        """Share of the budget that is spent, in [0, 1]."""
        state = self.state
        if self._unit == "epochs":
            return min(1.0, self.stream.epochs_at(StreamState.from_dict(state.stream)) / self._amount)
        return min(1.0, {"steps": state.step, "tokens": state.tokens, "seconds": state.seconds}[self._unit] / self._amount)

    def _evaluation_due(self, moment: Moment) -> bool:
        """By the step's number, or whenever another tenth of the budget is spent."""
        if self.evaluate is None:
            return False
        if self.config.evaluate_every is not None:
            return moment.step % self.config.evaluate_every == 0
        part = math.floor(EVALUATIONS * moment.end)
        due = part > self.state.parts
        self.state.parts = part
        return due

    def _checkpoint_due(self, improved: bool) -> bool:
        state, every = self.state, self.config.checkpoint_every
        return improved or (state.evaluated_step == state.step if every is None else state.step % every == 0)

    # --- telling, evaluating, saving -----------------------------------------------------------------------------------------------

    def _collect(self) -> Interval:
        """Bring the losses added up on the devices, and the ledger's sums, into the state, over all processes."""
        self._settle()
        interval = self.state.interval
        told = self.world.gather([*(float(self._sums[term]) for term in self.weights), *self._ledger.take()]).sum(0).tolist()
        n_terms = len(self.weights)
        for term, value in zip(self.weights, told[:n_terms], strict=True):
            interval.sums[term] = interval.sums.get(term, 0.0) + value
        self._ledger.put(told[n_terms:], interval.ledger, self.state.ledger)
        self._sums = self.stepper.no_sums()
        return interval

    def _log(self) -> None:
        """Means since the last line."""
        state, interval = self.state, self._collect()
        means = {term: interval.sums[term] / count for term, count in interval.counts.items() if count}
        values: dict[str, float] = {"train/loss": sum(self.weights[term] * mean for term, mean in means.items())} if means else {}
        if len(self.weights) > 1:
            values.update({f"train/loss/{term}": mean for term, mean in means.items()})
        values.update(lr=self.stepper.optimizer.param_groups[0]["lr"], grad_norm=self._norm)
        values.update(self._ledger.values(interval.ledger, state.ledger))
        if interval.busy_seconds > 0:
            values["tokens_per_second"] = interval.tokens / interval.busy_seconds
        if state.skipped:
            values["skipped"] = state.skipped
        state.metrics.update(values)
        state.interval = Interval()
        self.recorder.log(state, self._share(), values)

    def _review(self) -> None:
        """Between two steps: evaluate and save, where due."""
        due, improved = self.state.evaluation_due, False
        if due:
            improved = self._evaluate()
        if due and self.verdict is not None and not self.state.finished:
            self.state.finished = self.world.broadcast(self.verdict() if self.world.is_main else "")
        if (improved or not self.state.finished) and self._checkpoint_due(improved):
            self._save(is_best=improved)

    def _evaluate(self) -> bool:
        """Held-out metrics, with the averaged weights where there are any; whether they are the best so far."""
        assert self.evaluate is not None
        self._settle()
        state, progress, stepper = self.state, self.recorder.progress, self.stepper
        progress.say("evaluating")
        if self.averaged is not None:
            self.averaged.swap()
        self.model.eval()
        try:
            with self._own_draws(), torch.no_grad(), stepper.precision.autocast(), stepper.replica.gathered():
                values = self.world.broadcast(self.evaluate())
        finally:
            self.model.train()
            if self.averaged is not None:
                self.averaged.swap()
            progress.say("")
        state.seconds = self._seconds()
        state.metrics.update(values)
        state.evaluated_step, state.evaluation_due = state.step, False
        self.recorder.log(state, self._share(), values)
        return self._judge(values)

    def _judge(self, values: dict[str, float]) -> bool:
        """Compare with the best evaluation so far; ends the run where patience is out."""
        state, value = self.state, values.get(SELECTION_METRIC)
        if value is None:
            return False
        if value < state.best.get(SELECTION_METRIC, math.inf):
            state.best, state.best_step, state.misses = dict(values), state.step, 0
            return True
        state.misses += 1
        if self.config.patience is not None and state.misses >= self.config.patience:
            state.finished = f"no better {SELECTION_METRIC} in {state.misses} evaluations"
        return False

    def _save(self, *, is_best: bool, planned: bool = True) -> None:
        self.recorder.progress.say("saving")
        self._collect()
        self.state.seconds = self._seconds()
        self.keeper.save(self.state, self.averaged, is_best=is_best, planned=planned)
        self.recorder.progress.say("")

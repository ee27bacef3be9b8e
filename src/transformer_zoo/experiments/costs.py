"""What an experiment costs: parameters, and the floating-point operations of a training step on its own data, part by part.

The first steps of the run's own stream say how long rows are, how much of them is padding and how many tokens are predicted. Of these the operations
are counted on a model without memory; see `experiments.operations`. Gradient checkpointing's second forward is no operation of the model and does not
count; nor does masking, which takes nothing off a product: attention counts all pairs unless a kernel computes along a band or by blocks.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from transformer_zoo.data.batching import make_rows
from transformer_zoo.data.module import DataModule
from transformer_zoo.data.stream import TrainingStream, deal
from transformer_zoo.experiments import assemble
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.describe import count_parameters, parts_of
from transformer_zoo.experiments.operations import NO_VALUES, Operations, count_step
from transformer_zoo.models.base import Model
from transformer_zoo.objectives.base import Objective
from transformer_zoo.records import Example, Inputs, SequenceInputs
from transformer_zoo.training.optimizers import owned_parameters

SAMPLED_STEPS, SAMPLED_ROWS, FEWEST_STEPS = 64, 2048, 16
"""Steps of a run that tell the lengths of its rows and what is predicted in them; fewer of large batches, down to the last."""
VALUED_ROWS = 2
"""Rows of a batch on which a model that asks for values is run in earnest."""
CLIPPING = 3
"""Operations on each parameter of the gradient's norm and of shortening it."""


@dataclass(frozen=True, kw_only=True)
class PartCost:
    """Modules that stand at the same place in all layers."""

    name: str
    parameters: int
    forward: float
    """Floating-point operations of one step, all micro-batches."""
    backward: float


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of one experiment. Numbers of a step are the mean over the first steps."""

    parameters: int
    """Sum over tensors, tied ones once."""
    parameters_embedding: int
    parts: tuple[PartCost, ...]
    forward: float
    """Floating-point operations of one step, all micro-batches."""
    backward: float
    optimizer: float
    """By formula, clipping included."""
    tokens_per_step: float
    """That the model reads, padding not counted."""
    predicted_per_step: float
    """Tokens that are predicted; for an objective without a cross-entropy per token whatever its terms count: texts, tokens that are judged."""
    steps: float | None
    """Of the whole budget; None: it is in seconds."""

    @property
    def flops_per_step(self) -> float:
        return self.forward + self.backward + self.optimizer

    @property
    def flops(self) -> float | None:
        return None if self.steps is None else self.steps * self.flops_per_step

    @property
    def tokens(self) -> float | None:
        return None if self.steps is None else self.steps * self.tokens_per_step

    @property
    def predicted_tokens(self) -> float | None:
        return None if self.steps is None else self.steps * self.predicted_per_step

    def document(self) -> dict[str, Any]:
        """As plain data, what follows from the rest included."""
        own = asdict(self) | {"parts": [asdict(part) for part in self.parts]}
        return own | {"flops_per_step": self.flops_per_step, "flops": self.flops, "tokens": self.tokens, "predicted_tokens": self.predicted_tokens}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The first steps of a run as one view of its objective prepares them: the same for every model that reads the same."""

    view: Objective
    share: float
    """Of the batches, that the view is given."""
    steps: list[list[Example]]
    """Micro-batches of each."""


def sample(config: ExperimentConfig, data: DataModule) -> list[Sample]:
    """What a run's first steps consist of."""
    objective = assemble.build_objective(config.objective, data, data.vocabulary)
    spread = objective.needs().progress
    shares = zip(objective.views(), objective.shares_of_views(), strict=True)
    streams = [(view, share, _stream(config, data, view)) for view, share in shares]
    return [Sample(view=view, share=share, steps=_sample(stream, _enough(stream), spread=spread)) for view, share, stream in streams]


def costs_of(config: ExperimentConfig, data: DataModule, samples: list[Sample] | None = None) -> Costs:
    """What training would cost on this data, which must have been opened for the experiment. `samples` are those of `sample`, where they are at hand.

    Raises:
        ConfigError: objective and tokenizer, or batches and data, do not fit.
        DataError: the training split holds too little.
    """
    objective = assemble.build_objective(config.objective, data, data.vocabulary)
    heads = objective.needs().heads
    model = assemble.build_on_meta(config.model, data.vocabulary.size, heads).eval()
    sampled = [(one.view, one.share, one.steps) for one in samples or sample(config, data)]
    try:
        counted = _mean([(share, _operations(model, steps)) for view, share, steps in sampled])
    except RuntimeError as error:
        if NO_VALUES not in str(error):
            raise
        counted = _mean([(share, _operations_of_values(config, data, view, steps)) for view, share, steps in sampled])
    forward = parts_of(model, counted.forward)
    backward = {part.name: part.operations for part in parts_of(model, counted.backward)}
    owned = owned_parameters(model)
    n_trained = sum(one.parameter.numel() for one in owned)
    known = count_parameters(config.model, model)
    return Costs(
        parameters=known.total,
        parameters_embedding=known.embeddings,
        parts=tuple(
            PartCost(name=part.name, parameters=part.parameters, forward=part.operations, backward=backward.get(part.name, 0.0)) for part in forward
        ),
        forward=counted.forward[""],
        backward=counted.backward[""],
        optimizer=config.optimizer.operations(owned) + CLIPPING * n_trained,
        tokens_per_step=sum(share * _per_step(steps, lambda one: one.tokens) for _, share, steps in sampled),
        predicted_per_step=sum(share * _per_step(steps, partial(_predicted, view)) for view, share, steps in sampled),
        steps=_steps_of(config, data, objective, sampled[0][2]),
    )


def size_of(config: ExperimentConfig, data: DataModule, *, embeddings: bool = True) -> int:
    """Parameters of the model with the objective's heads, with or without its embeddings; tied ones once."""
    objective = assemble.build_objective(config.objective, data, data.vocabulary)
    known = count_parameters(config.model, assemble.build_on_meta(config.model, data.vocabulary.size, objective.needs().heads))
    return known.total if embeddings else known.total - known.embeddings


# --- what a step consists of ------------------------------------------------------------------------------------------------------------


def _stream(config: ExperimentConfig, data: DataModule, objective: Objective) -> TrainingStream:
    training, needs = config.training, config.objective.needs()
    return TrainingStream(
        data.reader("train", needs),
        objective.prepare,
        seed=config.seed,
        batch_size=training.batch_size if training.batch_tokens is None else None,
        batch_tokens=training.batch_tokens,
        micro_batch_size=training.micro_batch_size,
    )


def _enough(stream: TrainingStream) -> int:
    """Steps to be sampled."""
    _, first = stream.sample_indices(stream.initial_state())
    return min(SAMPLED_STEPS, max(FEWEST_STEPS, SAMPLED_ROWS // len(first)))


def _sample(stream: TrainingStream, n_steps: int, *, spread: bool) -> list[list[Example]]:
    """The micro-batches of the first steps; with `spread` as if these stood evenly over the budget."""
    found, state = [], stream.initial_state()
    for number in range(n_steps):
        epochs, indices = stream.sample_indices(state)
        progress = np.full(len(indices), (number + 0.5) / n_steps) if spread else None
        parts, _ = deal(len(indices), 0, 1, stream.micro_batch_size)
        found.append(
            [
                stream.prepare(
                    stream.reader.batch(
                        indices[part], make_rows(state.seed, epochs[part], indices[part], None if progress is None else progress[part])
                    )
                )
                for part in parts
            ]
        )
        state = stream.after(state)
    return found


def _per_step(steps: list[list[Example]], number: Callable[[Example], float]) -> float:
    return sum(number(example) for examples in steps for example in examples) / len(steps)


def _predicted(objective: Objective, example: Example) -> int:
    return sum(example.counts[term] for term in objective.predicted_terms)


def _steps_of(config: ExperimentConfig, data: DataModule, objective: Objective, steps: list[list[Example]]) -> float | None:
    """Optimiser steps of the whole budget."""
    unit, amount = config.training.budget
    if unit == "steps":
        return amount
    if unit == "tokens":
        return float(math.ceil(amount / _per_step(steps, lambda one: one.tokens)))
    return float(_stream(config, data, objective).steps_for(amount)) if unit == "epochs" else None


# --- operations -------------------------------------------------------------------------------------------------------------------------


def _operations(model: Model, steps: list[list[Example]]) -> Operations:
    """Of the mean step. Operations are linear in a few numbers that a batch's shape gives (see `_features`). So a few batches are counted, with
    weights by which these numbers add up to those of the mean step: at most as many batches as there are numbers."""
    standing: dict[tuple[float, ...], Example] = {}
    total: Counter[tuple[float, ...]] = Counter()
    for example in (example for examples in steps for example in examples):
        features = _features(example)
        standing.setdefault(features, example)
        total[features] += 1
    found = np.array(list(standing)).T  # [numbers, shapes]
    mean = found @ np.array([total[features] / len(steps) for features in standing])
    chosen = [(weight, example) for weight, example in zip(_weights(found, mean), standing.values(), strict=True) if weight > 0]
    return _mean([(weight, count_step(model, example.inputs.to("meta", non_blocking=False))) for weight, example in chosen])


def _weights(found: np.ndarray, mean: np.ndarray) -> list[float]:
    """Nonnegative ones by which columns of `found` [numbers, shapes] add up to `mean` [numbers]: not more of them than there are numbers."""
    if found.shape[1] == 1:
        return [float(mean[0] / found[0, 0])]
    from scipy.optimize import nnls  # takes longer to load than one shape takes to be counted

    used = mean > 0
    weights, _ = nnls(found[used] / mean[used, None], np.ones(used.sum()))
    return [float(weight) for weight in weights]


def _operations_of_values(config: ExperimentConfig, data: DataModule, objective: Objective, steps: list[list[Example]]) -> Operations:
    """The same by a real model on a few real rows, for one that computes by the values of a batch."""
    training = replace(config.training, batch_size=VALUED_ROWS, batch_tokens=None, micro_batch_size=None)
    ((example, *_),) = _sample(_stream(replace(config, training=training), data, objective), 1, spread=objective.needs().progress)
    with torch.random.fork_rng(devices=[]):
        model = assemble.build_model(config.model, data.vocabulary.size, objective.needs().heads).eval()
        found = count_step(model, example.inputs)
    return _mean([(_per_step(steps, _places) / _places(example), found)])


def _features(example: Example) -> tuple[float, ...]:
    """What a batch's operations are made of: rows, places in them, pairs of places in a row or in two that belong together, and places that are
    scored."""
    lengths = [one.token_ids.shape[1] for one in _sequences(example.inputs)]
    rows = len(_sequences(example.inputs)[0].token_ids)
    pairs = [rows * a * b for number, a in enumerate(lengths) for b in lengths[number:]]
    scored = rows * lengths[-1] if example.inputs.predict_at is None else len(example.inputs.predict_at)  # None: all of the last
    return (rows, *(rows * length for length in lengths), *pairs, scored)


def _places(example: Example) -> int:
    """Places of all rows that the model reads, padding included."""
    return sum(one.token_ids.numel() for one in _sequences(example.inputs))


def _sequences(inputs: Inputs) -> list[SequenceInputs]:
    """What is read: a sequence, or a source and a target."""
    return [one for one in (inputs, *vars(inputs).values()) if isinstance(one, SequenceInputs)]


def _mean(found: list[tuple[float, Operations]]) -> Operations:
    """The sum of numbers times shares."""
    forward: Counter[str] = Counter()
    backward: Counter[str] = Counter()
    for share, one in found:
        for path, number in one.forward.items():
            forward[path] += share * number  # type: ignore[assignment]
        for path, number in one.backward.items():
            backward[path] += share * number  # type: ignore[assignment]
    return Operations(forward=dict(forward), backward=dict(backward))

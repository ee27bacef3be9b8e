"""The order in which samples are trained on, and how they reach the trainer.

The global batch of a step is a function of (seed, state) alone. With `batch_size` a counter of samples runs on over epochs, so that
every batch is full and may straddle two epochs; with `batch_tokens` each epoch has a plan of batches of similar lengths. The batch is
then dealt to the ranks, so that any number of processes sees the same samples in the same steps. The unit a loader worker makes is
everything one rank needs for one step; the number of workers changes nothing.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np

from transformer_zoo.data.batching import Reader, make_rows
from transformer_zoo.data.loading import load
from transformer_zoo.data.plans import token_batches
from transformer_zoo.errors import ConfigError
from transformer_zoo.randomness import permutation
from transformer_zoo.records import Batch, Example

Prepare = Callable[[Batch], Example]


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """Where a stream stands between two steps: all that is needed to go on exactly. `consumed` counts samples over all epochs with
    `batch_size`, and batches of this epoch's plan with `batch_tokens`; `epoch` is the one the next sample belongs to."""

    seed: int
    epoch: int = 0
    consumed: int = 0

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        return cls(seed=int(data["seed"]), epoch=int(data["epoch"]), consumed=int(data["consumed"]))


@dataclass(frozen=True, kw_only=True)
class StepExamples:
    """What one rank computes in one optimiser step."""

    examples: list[Example]
    """Micro-batches; every rank has the same number of them."""
    state: StreamState
    """The state after this step."""
    filler: bool = False
    """There were fewer rows than ranks and this one got a copy: its loss must be multiplied by 0 and not counted."""


@dataclass(frozen=True)
class _Step:
    """The samples of one rank's step, before they are read: micro-batches as (epochs, indices, progress)."""

    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]
    filler: bool = False

    def __str__(self) -> str:
        numbers = np.concatenate([indices for _, indices, _ in self.parts])
        return f"samples {', '.join(map(str, numbers[:8]))}{' …' if len(numbers) > 8 else ''}"


def deal(n_rows: int, rank: int, world_size: int, micro_batch_size: int | None) -> tuple[list[np.ndarray], bool]:
    """The rows of a global batch that one rank computes, as micro-batches, and whether they are a copy only. All ranks get the same
    number of micro-batches; a micro-batch may have one row too many where one row each does not come out even."""
    shares = np.array_split(np.arange(n_rows), world_size)
    most, fewest = len(shares[0]), len(shares[-1])
    n_parts = 1 if micro_batch_size is None else math.ceil(most / micro_batch_size)
    n_parts = max(min(n_parts, fewest), 1)
    share = shares[rank]
    filler = not len(share)
    return np.array_split(np.arange(1) if filler else share, n_parts), filler


class TrainingStream:
    """An endless stream of optimiser steps for one rank.

    `reader` gives batches, `prepare` makes examples of them (in the loader's workers, if there are any). Exactly one of `batch_size`
    (samples) and `batch_tokens` (tokens with padding, all parts of a sample added: source and target) is the size of the global batch of
    a step; a rank computes its part of it in micro-batches of at most `micro_batch_size` samples. `timeout` is how long a worker may
    take for one step, in seconds. With a `budget` (its unit, which is not seconds, and amount) rows say which share of it is spent; see
    `samples_in`.

    Raises:
        ConfigError: the sizes do not fit the data.
    """

    def __init__(
        self,
        reader: Reader,
        prepare: Prepare,
        *,
        seed: int,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        micro_batch_size: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        n_workers: int = 0,
        timeout: float = 300.0,
        budget: tuple[str, float] | None = None,
    ) -> None:
        if (batch_size is None) == (batch_tokens is None):
            raise ConfigError("give exactly one of training.batch_size and training.batch_tokens")
        longest = int(reader.sizes.sum(axis=1).max())
        if batch_tokens is not None and batch_tokens < longest:
            raise ConfigError(
                f"training.batch_tokens={batch_tokens} is less than the longest sample, which has {longest} tokens: "
                "give more tokens or a smaller data.sequence_length"
            )
        self.reader, self.prepare, self.seed = reader, prepare, seed
        self.batch_size, self.batch_tokens, self.micro_batch_size = batch_size, batch_tokens, micro_batch_size
        self.rank, self.world_size, self.n_workers, self.timeout = rank, world_size, n_workers, timeout
        self._order = lru_cache(maxsize=2)(self._shuffled)
        self._plan = lru_cache(maxsize=2)(self._planned)
        self._plan_ends = lru_cache(maxsize=2)(self._planned_ends)
        self._budget_samples = None if budget is None else self.samples_in(*budget)

    def initial_state(self) -> StreamState:
        """The state before the first step."""
        return StreamState(seed=self.seed)

    # --- order ---------------------------------------------------------------------------------------------------------------------

    def _shuffled(self, seed: int, epoch: int) -> np.ndarray:
        return permutation(seed, "order", epoch, len(self.reader))

    def _planned(self, seed: int, epoch: int) -> list[np.ndarray]:
        assert self.batch_tokens is not None
        return token_batches(self.reader.sizes, self.batch_tokens, seed, epoch)

    def _planned_ends(self, seed: int, epoch: int) -> np.ndarray:
        """Samples in the first 0, 1, 2 … batches of a plan."""
        return np.cumsum([0, *map(len, self._plan(seed, epoch))])

    def sample_indices(self, state: StreamState) -> tuple[np.ndarray, np.ndarray]:
        """The global batch of the step that begins at `state`: the epoch and the sample number of each row, over all ranks."""
        if self.batch_size is None:
            batch = self._plan(state.seed, state.epoch)[state.consumed]
            return np.full(len(batch), state.epoch), batch
        n = len(self.reader)
        counter = state.consumed + np.arange(self.batch_size)
        epochs, places = counter // n, counter % n
        indices = np.empty_like(places)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            indices[epochs == epoch] = self._order(state.seed, epoch)[places[epochs == epoch]]
        return epochs, indices

    def after(self, state: StreamState) -> StreamState:
        """The state after the step that begins at `state`."""
        if self.batch_size is None:
            done = state.consumed + 1 == len(self._plan(state.seed, state.epoch))
            return replace(state, epoch=state.epoch + done, consumed=0 if done else state.consumed + 1)
        consumed = state.consumed + self.batch_size
        return replace(state, epoch=consumed // len(self.reader), consumed=consumed)

    def epochs_at(self, state: StreamState) -> float:
        """Epochs done at a state, the begun one as a fraction."""
        if self.batch_size is None:
            return state.epoch + state.consumed / len(self._plan(state.seed, state.epoch))
        return state.consumed / len(self.reader)

    def steps_for(self, epochs: float) -> int:
        """The number of steps in which at least `epochs` epochs are seen."""
        if self.batch_size is not None:
            return math.ceil(epochs * len(self.reader) / self.batch_size - 1e-9)
        whole, part = divmod(epochs, 1)
        steps = sum(len(self._plan(self.seed, epoch)) for epoch in range(int(whole)))
        return steps + (math.ceil(part * len(self._plan(self.seed, int(whole))) - 1e-9) if part else 0)

    def samples_in(self, unit: str, amount: float) -> float:
        """Samples that a budget in steps, tokens or epochs is worth. Where it is no multiple of them, by averages: tokens of a sample over the data
        (for sentence pairs the most there can be), samples of a step over the first epoch's plan."""
        if unit == "steps":
            per_unit = self.batch_size or len(self.reader) / len(self._plan(self.seed, 0))
        else:
            per_unit = {"epochs": float(len(self.reader)), "tokens": 1 / float(self.reader.lengths.mean())}[unit]
        return amount * per_unit

    def progress(self, state: StreamState, n_rows: int) -> np.ndarray | None:
        """[n_rows] shares of the budget, in [0, 1], that are spent before each sample of the step that begins at `state`."""
        if self._budget_samples is None:
            return None
        drawn = state.consumed
        if self.batch_size is None:
            drawn = state.epoch * len(self.reader) + int(self._plan_ends(state.seed, state.epoch)[state.consumed])
        return np.minimum((drawn + np.arange(n_rows)) / self._budget_samples, 1.0)

    @property
    def steps_per_epoch(self) -> float:
        """Steps of the first epoch; a fraction with `batch_size`, because batches straddle epochs."""
        if self.batch_size is not None:
            return len(self.reader) / self.batch_size
        return float(len(self._plan(self.seed, 0)))

    # --- examples ------------------------------------------------------------------------------------------------------------------

    def _steps(self, state: StreamState) -> Iterator[_Step]:
        while True:
            epochs, indices = self.sample_indices(state)
            progress = self.progress(state, len(indices))
            parts, filler = deal(len(indices), self.rank, self.world_size, self.micro_batch_size)
            yield _Step([(epochs[part], indices[part], None if progress is None else progress[part]) for part in parts], filler)
            state = self.after(state)

    def iterate(self, state: StreamState) -> Iterator[StepExamples]:
        """Steps from `state` on, without end.

        Raises:
            DataError: a worker died, hung or met an error; names the samples.
        """
        make = ExampleMaker(self.reader, self.prepare, state.seed)
        steps = load(make, self._steps(state), describe=str, n_workers=self.n_workers, seed=state.seed, timeout=self.timeout)
        for step, examples in steps:
            state = self.after(state)
            yield StepExamples(examples=examples, state=state, filler=step.filler)


class ExampleMaker:
    """Reads and prepares the micro-batches of one step."""

    def __init__(self, reader: Reader, prepare: Prepare, seed: int) -> None:
        self._reader, self._prepare, self._seed = reader, prepare, seed

    def __call__(self, step: _Step) -> list[Example]:
        return [
            self._prepare(self._reader.batch(indices, make_rows(self._seed, epochs, indices, progress))) for epochs, indices, progress in step.parts
        ]


def evaluation_batches(
    reader: Reader, *, batch_size: int, rank: int = 0, world_size: int = 1, max_samples: int | None = None, seed: int = 0
) -> Iterator[Batch]:
    """Every sample once, in a fixed order (by length where lengths differ, so that little is padded), the same in every evaluation:
    rows belong to epoch 0 and `seed`. `max_samples` takes that many, evenly spread. All ranks get the same number of batches.

    Raises:
        ConfigError: there are fewer samples than ranks.
    """
    n = len(reader)
    chosen = np.arange(n) if max_samples is None or max_samples >= n else np.linspace(0, n - 1, max_samples).astype(np.int64)
    if len(chosen) < world_size:
        raise ConfigError(f"a held-out split of {len(chosen)} samples cannot be dealt to {world_size} processes: use fewer processes")
    lengths = reader.lengths[chosen]
    chosen = chosen[np.argsort(lengths, kind="stable")] if lengths.min() != lengths.max() else chosen
    n_batches = math.ceil(math.ceil(len(chosen) / world_size) / batch_size)
    mine = chosen[rank::world_size]
    for part in np.array_split(mine, min(n_batches, len(chosen) // world_size)):
        yield reader.batch(part, make_rows(seed, np.zeros(len(part), dtype=np.int64), part))


def evaluation_examples(
    reader: Reader,
    prepare: Prepare,
    *,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    max_samples: int | None = None,
    seed: int = 0,
) -> Iterator[Example]:
    """What an objective makes of `evaluation_batches`."""
    batches = evaluation_batches(reader, batch_size=batch_size, rank=rank, world_size=world_size, max_samples=max_samples, seed=seed)
    return map(prepare, batches)

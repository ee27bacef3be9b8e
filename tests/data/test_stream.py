"""The training stream: an order fixed by (seed, state), dealt to any number of ranks, resumed anywhere."""

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_zoo.data.batching import Reader
from transformer_zoo.data.stream import StreamState, TrainingStream, deal, evaluation_examples
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.randomness import permutation
from transformer_zoo.records import Batch, Example, Rows, SequenceInputs, TextBatch


class Numbers(Reader):
    """Sample i is a row of i's, `lengths[i]` long."""

    def __init__(self, lengths: list[int]) -> None:
        self.sizes = np.array(lengths)[:, None]
        self.n_tokens = self.n_bytes = sum(lengths)

    def batch(self, indices: np.ndarray, rows: Rows) -> TextBatch:
        valid = torch.arange(int(self.lengths[indices].max())) < torch.from_numpy(self.lengths[indices])[:, None]
        return TextBatch(rows=rows, token_ids=torch.from_numpy(indices)[:, None].expand(valid.shape).clone(), valid=valid)


def prepare(batch: Batch) -> Example:
    assert isinstance(batch, TextBatch)
    targets = {"epoch": batch.rows.epoch, "index": batch.rows.index}
    return Example(inputs=SequenceInputs(token_ids=batch.token_ids), targets=targets, counts={}, tokens=int(batch.valid.sum()))


def samples(examples: list[Example]) -> list[tuple[int, int]]:
    return [pair for e in examples for pair in zip(e.targets["epoch"].tolist(), e.targets["index"].tolist(), strict=True)]


def take(stream: TrainingStream, n: int, state: StreamState | None = None) -> tuple[list[list[tuple[int, int]]], list[StreamState]]:
    steps, states = [], []
    for step in stream.iterate(state or stream.initial_state()):
        steps.append([] if step.filler else samples(step.examples))
        states.append(step.state)
        if len(steps) == n:
            break
    return steps, states


LENGTHS = [2 + i * 7 % 13 for i in range(23)]
MODES = [{"batch_size": 5}, {"batch_size": 31}, {"batch_tokens": 60}]
each_mode = pytest.mark.parametrize("mode", MODES, ids=str)


def stream(mode: dict[str, int], **more: int) -> TrainingStream:
    return TrainingStream(Numbers(LENGTHS), prepare, seed=3, **{**mode, **more})


@each_mode
def test_every_sample_once_an_epoch_in_another_order_each_time(mode: dict[str, int]) -> None:
    steps, _ = take(stream(mode), 40)
    seen = [pair for step in steps for pair in step]
    by_epoch = [[i for e, i in seen if e == epoch] for epoch in range(3)]
    for order in by_epoch[:2]:
        assert sorted(order) == list(range(23))
    assert by_epoch[0] != by_epoch[1]
    if "batch_size" in mode:
        assert {len(step) for step in steps} == {mode["batch_size"]}


def test_sample_c_is_place_c_of_the_shuffles_one_after_another() -> None:
    order = [(epoch, int(i)) for epoch in range(3) for i in permutation(3, "order", epoch, 23)]
    steps, _ = take(stream({"batch_size": 5}), 13)
    assert [pair for step in steps for pair in step] == order[: 13 * 5]


@each_mode
@pytest.mark.parametrize("stop", range(1, 12))
def test_resuming_anywhere_goes_on_exactly(mode: dict[str, int], stop: int) -> None:
    """Also at the boundary of an epoch."""
    whole, states = take(stream(mode), 16)
    again, _ = take(stream(mode), 16 - stop, StreamState.from_dict(states[stop - 1].to_dict()))
    assert whole[stop:] == again


@each_mode
@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_any_number_of_ranks_sees_the_same_samples_in_the_same_steps(mode: dict[str, int], world_size: int) -> None:
    alone, states = take(stream(mode), 12)
    ranks = [take(stream(mode, rank=rank, world_size=world_size), 12) for rank in range(world_size)]
    for n in range(12):
        assert Counter(pair for steps, _ in ranks for pair in steps[n]) == Counter(alone[n])
        assert {str(found[n]) for _, found in ranks} == {str(states[n])}


@each_mode
def test_sample_indices_tell_the_order_without_reading(mode: dict[str, int]) -> None:
    steps, states = take(stream(mode), 10)
    one = stream(mode)
    for step, state in zip(steps, [one.initial_state(), *states], strict=False):
        epochs, indices = one.sample_indices(state)
        assert list(zip(epochs.tolist(), indices.tolist(), strict=True)) == step


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 40), world_size=st.integers(1, 9), micro=st.none() | st.integers(1, 12))
def test_dealing_loses_nothing_and_keeps_ranks_in_step(n: int, world_size: int, micro: int | None) -> None:
    dealt = [deal(n, rank, world_size, micro) for rank in range(world_size)]
    rows = [row for parts, filler in dealt if not filler for part in parts for row in part]
    assert sorted(rows) == list(range(n))
    assert len({len(parts) for parts, _ in dealt}) == 1
    assert all(len(part) for parts, _ in dealt for part in parts)
    assert any(filler for _, filler in dealt) == (n < world_size)
    if micro is not None and micro > 1:
        assert max(len(part) for parts, _ in dealt for part in parts) <= micro


def test_micro_batches_are_the_same_step_in_parts() -> None:
    whole, _ = take(stream({"batch_size": 10}), 6)
    one = next(stream({"batch_size": 10}, micro_batch_size=4).iterate(StreamState(seed=3)))
    assert [len(e.targets["index"]) for e in one.examples] == [4, 3, 3]
    parts, _ = take(stream({"batch_size": 10}, micro_batch_size=4), 6)
    assert parts == whole


def test_batches_of_tokens_stay_within_their_size() -> None:
    for step in [s for s, _ in zip(stream({"batch_tokens": 60}).iterate(StreamState(seed=3)), range(20), strict=False)]:
        assert sum(e.inputs.token_ids.numel() for e in step.examples) <= 60


@each_mode
def test_epochs_become_steps(mode: dict[str, int]) -> None:
    one = stream(mode)
    for epochs in (0.5, 1.0, 2.0, 2.5):
        steps = one.steps_for(epochs)
        _, states = take(stream(mode), steps)
        assert one.epochs_at(states[-1]) >= epochs - 1e-9
        assert steps == 1 or one.epochs_at(states[-2]) < epochs


@each_mode
@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_change_nothing(mode: dict[str, int], n_workers: int) -> None:
    state = torch.get_rng_state()
    assert take(stream(mode, n_workers=n_workers), 9) == take(stream(mode), 9)
    assert torch.equal(torch.get_rng_state(), state), "the stream drew from the global generator"


def test_a_step_is_made_while_the_one_before_is_used_and_no_thread_is_left() -> None:
    made: list[int] = []
    second = threading.Event()

    def noted(batch: Batch) -> Example:
        made.append(len(made))
        if len(made) == 2:
            second.set()
        return prepare(batch)

    steps = TrainingStream(Numbers(LENGTHS), noted, seed=0, batch_size=4).iterate(StreamState(seed=3))
    next(steps)
    assert second.wait(10)
    del steps
    assert made == [0, 1]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_workers_outlive_the_signals_that_stop_a_run() -> None:
    """Those come to the whole group of processes, and the trainer still needs its workers until it has saved."""
    steps = stream({"batch_size": 5}, n_workers=2).iterate(StreamState(seed=3))
    for _ in range(4):  # by then both workers are up
        next(steps)
    for worker in multiprocessing.active_children():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(worker.pid or 0, number)
    assert [next(steps).state.consumed for _ in range(20)] == list(range(25, 125, 5))
    steps.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def fails(batch: Batch) -> Example:
    if 7 in batch.rows.index.tolist():
        raise ValueError("sample seven")
    return prepare(batch)


def dies(batch: Batch) -> Example:
    if 7 in batch.rows.index.tolist():
        os._exit(9)
    return prepare(batch)


def hangs(batch: Batch) -> Example:
    time.sleep(60)
    return prepare(batch)


def test_an_error_in_a_worker_names_worker_samples_and_cause() -> None:
    one = TrainingStream(Numbers(LENGTHS), fails, seed=0, batch_size=4, n_workers=2)
    with pytest.raises(DataError, match=r"data worker [01] failed while making samples .*\b7\b.*: ValueError: sample seven"):
        take(one, 10)


def test_a_dead_worker_is_noticed() -> None:
    one = TrainingStream(Numbers(LENGTHS), dies, seed=0, batch_size=4, n_workers=1)
    with pytest.raises(DataError, match=r"a data worker died while making samples"):
        take(one, 10)


def test_a_hanging_worker_is_noticed() -> None:
    one = TrainingStream(Numbers(LENGTHS), hangs, seed=0, batch_size=4, n_workers=1, timeout=1)
    with pytest.raises(DataError, match=r"a data worker took longer than 1 seconds while making samples"):
        take(one, 10)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.batch_tokens=10 is less than the longest sample, which has 14 tokens"):
        stream({"batch_tokens": 10})
    for sizes in ({}, {"batch_size": 2, "batch_tokens": 60}):
        with pytest.raises(ConfigError, match="exactly one"):
            stream(sizes)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_evaluation_sees_every_sample_once_on_all_ranks_in_step(world_size: int, batch_size: int) -> None:
    reader = Numbers(LENGTHS)
    ranks = [list(evaluation_examples(reader, prepare, batch_size=batch_size, rank=r, world_size=world_size)) for r in range(world_size)]
    assert len({len(examples) for examples in ranks}) == 1
    assert sorted(pair for examples in ranks for pair in samples(examples)) == [(0, i) for i in range(23)]
    again = list(evaluation_examples(reader, prepare, batch_size=batch_size, rank=0, world_size=world_size))
    assert [samples([e]) for e in again] == [samples([e]) for e in ranks[0]]


def test_evaluation_of_a_part_spreads_over_the_whole() -> None:
    found = list(evaluation_examples(Numbers([4] * 100), prepare, batch_size=4, max_samples=5))
    assert [i for _, i in samples(found)] == [0, 24, 49, 74, 99]
    with pytest.raises(ConfigError, match="2 samples cannot be dealt to 3 processes"):
        list(evaluation_examples(Numbers([4] * 2), prepare, batch_size=4, world_size=3))


def test_rows_say_how_much_of_the_budget_is_spent() -> None:
    def progress(unit: str, amount: float, mode: dict[str, int], steps: int) -> list[float]:
        one = TrainingStream(Numbers(LENGTHS), prepare, seed=3, budget=(unit, amount), **mode)
        state, found = one.initial_state(), []
        for _ in range(steps):
            told = one.progress(state, len(one.sample_indices(state)[1]))
            assert told is not None
            found += told.tolist()
            state = one.after(state)
        return found

    assert progress("steps", 4, {"batch_size": 5}, 5) == [*(np.arange(20) / 20), *[1.0] * 5]
    assert progress("epochs", 2, {"batch_size": 5}, 9) == [i / 46 for i in range(45)]
    mean = sum(LENGTHS) / len(LENGTHS)
    assert progress("tokens", 3 * mean, {"batch_size": 5}, 1) == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    plan = stream({"batch_tokens": 60})
    n_steps = len(plan._plan(3, 0))
    assert progress("steps", 2 * n_steps, {"batch_tokens": 60}, n_steps) == pytest.approx([i / 46 for i in range(23)])
    assert progress("epochs", 1, {"batch_tokens": 60}, n_steps) == pytest.approx([i / 23 for i in range(23)])


def test_rows_say_nothing_of_a_budget_that_nobody_asks_for() -> None:
    one = stream({"batch_size": 5})
    assert one.progress(one.initial_state(), 5) is None

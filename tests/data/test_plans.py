"""Plans of batches by token count."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_zoo.data.plans import token_batches
from transformer_zoo.data.tokenizers import BPETokenizerConfig


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=200), budget=st.integers(60, 400))
def test_every_sample_once_and_no_batch_too_large(sizes: list[tuple[int, int]], budget: int) -> None:
    array = np.array(sizes)
    plan = token_batches(array, budget, 0, 0)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(sizes)))
    assert all(len(batch) * array[batch].max(axis=0).sum() <= budget for batch in plan)


def test_a_plan_is_fixed_by_seed_and_epoch() -> None:
    sizes = np.random.default_rng(0).integers(2, 40, (500, 1))

    def plan(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in token_batches(sizes, 300, seed, epoch)]

    assert plan(1, 2) == plan(1, 2)
    assert plan(1, 2) != plan(1, 3) != plan(2, 3)
    assert {frozenset(b) for b in plan(1, 2)}.isdisjoint({frozenset(b) for b in plan(1, 3)} - {frozenset(b) for b in plan(1, 2)})


def test_little_is_padding_and_batches_are_in_random_order() -> None:
    rng = np.random.default_rng(1)
    source = np.clip(rng.poisson(14, 20_000), 3, 60)
    sizes = np.stack([source + 1, np.clip(source + rng.integers(-4, 6, 20_000), 3, 60) + 2], axis=1)
    plan = token_batches(sizes, 4096, 0, 0)
    cost = sum(len(batch) * sizes[batch].max(axis=0).sum() for batch in plan)
    assert sizes.sum() / cost > 0.9
    means = np.array([sizes[batch].sum(1).mean() for batch in plan])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.25


@pytest.mark.data
def test_captions_are_packed_with_less_than_a_tenth_of_padding(data_folder: Path) -> None:
    import gzip

    with gzip.open(data_folder / "multi30k_en_de" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for _, line in zip(range(6000), file, strict=False)]
    sides = [[row[side] for row in rows] for side in ("source", "target")]
    tokenizer = BPETokenizerConfig(vocab_size=4000).build([text for side in sides for text in side])
    sizes = np.stack([tokenizer.encode_flat(side)[1] for side in sides], axis=1) + np.array([1, 2])
    cost = sum(len(batch) * sizes[batch].max(axis=0).sum() for batch in token_batches(sizes, 2048, 0, 0))
    assert sizes.sum() / cost > 0.9

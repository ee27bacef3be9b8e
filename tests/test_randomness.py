"""Counter-based draws: uniform, independent of composition, the same everywhere and for ever."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from transformer_zoo.randomness import generator, hash_words, permutation, purpose_key, uniform, uniform_at, whole
from transformer_zoo.records import Rows

GOLDEN_PERMUTATION = [2, 0, 7, 5, 3, 4, 1, 6]
GOLDEN_UNIFORM = [[0.40237755162202626, 0.7636075426481739], [0.8185837981685955, 0.176912199323072]]
GOLDEN_STREAM = [311, 714, 153]


def rows(index: list[int], epoch: int = 0, seed: int = 0) -> Rows:
    return Rows(seed=seed, epoch=torch.full((len(index),), epoch), index=torch.tensor(index))


def test_golden_values():
    """A change of these changes every mask and shuffle ever drawn."""
    assert purpose_key("mask: which") == 8559854521612022333
    assert permutation(0, "order", 0, 8).tolist() == GOLDEN_PERMUTATION
    np.testing.assert_allclose(uniform(rows([0, 1]), "a", 2), GOLDEN_UNIFORM, rtol=0, atol=0)
    assert generator(3, "data", 1).integers(0, 1000, 3).tolist() == GOLDEN_STREAM


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=5, unique=True), st.integers(1, 9))
def test_a_row_draws_the_same_in_any_company(index: list[int], count: int):
    together = uniform(rows(index), "p", count)
    for place, one in enumerate(index):
        assert (uniform(rows([one]), "p", count + 3)[0, :count] == together[place]).all()


def test_draws_at_places_are_those_of_all_places():
    some = rows([5, 9, 2], epoch=3, seed=4)
    row, place = np.array([2, 0, 0, 1]), np.array([1, 6, 0, 4])
    assert (uniform_at(some, "p", row, place) == uniform(some, "p", 7)[row, place]).all()


def test_every_word_of_the_key_matters():
    base = uniform(rows([5]), "p", 4)
    for other in (uniform(rows([6]), "p", 4), uniform(rows([5], epoch=1), "p", 4), uniform(rows([5], seed=1), "p", 4), uniform(rows([5]), "q", 4)):
        assert (base != other).all()


def test_draws_are_uniform_and_uncorrelated():
    drawn = uniform(rows(list(range(2000))), "p", 50)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 0.001
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.1
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.1
    counts = np.bincount(whole(drawn, 7).ravel(), minlength=7)
    assert stats.chisquare(counts).pvalue > 0.001


@given(st.integers(0, 300), st.integers(0, 5))
def test_a_permutation_is_one(size: int, epoch: int):
    drawn = permutation(1, "order", epoch, size)
    assert sorted(drawn.tolist()) == list(range(size))


def test_first_places_of_permutations_are_uniform():
    first = [permutation(seed, "order", 0, 6)[0] for seed in range(3000)]
    assert stats.chisquare(np.bincount(first, minlength=6)).pvalue > 0.001


def test_hash_takes_negative_and_large_words():
    assert hash_words(-1).item() == hash_words(2**64 - 1).item()

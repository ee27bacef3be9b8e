"""Collocations are hidden whole, the longest first from the left."""

import numpy as np
import pytest
import torch

from objectives.masking.rows import VOCABULARY, as_batch
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.masking.collocations import PMIUnitConfig, cut
from transformer_zoo.objectives.masking.sampler import MaskSampler
from transformer_zoo.randomness import hash_words
from transformer_zoo.records import CollocationNeed, Collocations, Vocabulary


def vocabulary(*runs: tuple[int, ...]) -> Vocabulary:
    by_length = {length: np.sort([hash_words(*run) for run in runs if len(run) == length]) for length in {len(run) for run in runs}}
    return Vocabulary(size=50, specials=VOCABULARY.specials, collocations=Collocations(by_length=by_length))


def numbers(row: list[int], *runs: tuple[int, ...]) -> list[int]:
    """Which piece each token between [CLS] and [SEP] belongs to."""
    made = as_batch(torch.tensor([[4, *row, 5]]))
    one = MaskSampler(MaskedLMConfig(unit=PMIUnitConfig()), vocabulary(*runs))
    pieces = one.unit.pieces(made, made.rows, one.maskable(made))
    assert pieces.wholes is not None
    assert (pieces.keys[0, 1:-1][:, None] == pieces.keys[0, 1:-1]).tolist() == (pieces.wholes[0, 1:-1][:, None] == pieces.wholes[0, 1:-1]).tolist()
    return pieces.wholes[0, 1:-1].tolist()


def test_rows_are_cut_behind_the_longest_run_that_begins_there():
    row = [10, 11, 12, 20, 11, 12, 10, 11]
    assert numbers(row, (10, 11), (11, 12), (10, 11, 12)) == [0, 0, 0, 1, 2, 2, 3, 3]
    assert numbers(row, (10, 11), (11, 12)) == [0, 0, 1, 2, 3, 3, 4, 4]
    assert numbers(row, (10, 12)) == list(range(8))
    assert numbers(row) == list(range(8))


def test_a_run_ends_at_a_special_token():
    assert numbers([10, 11, 5, 12, 10], (11, 12), (11, 5), (11, 5, 12)) == [0, 1, -1, 2, 3]


def test_collocations_are_hidden_whole_and_the_share_is_kept():
    row = torch.tensor([[4, *[10, 11, 12, 20, 21, 22] * 10, 5]]).repeat(400, 1)
    config = MaskedLMConfig(unit=PMIUnitConfig(), mask_ratio=0.2)
    hidden = MaskSampler(config, vocabulary((10, 11, 12))).choose(as_batch(row), training=True).hidden[:, 1:-1].reshape(400, 10, 6)
    assert (hidden[:, :, :3].all(axis=2) == hidden[:, :, :3].any(axis=2)).all()
    assert hidden.mean() == pytest.approx(0.2, abs=0.005)
    assert hidden.sum(axis=(1, 2)).min() >= 10
    assert hidden.sum(axis=(1, 2)).max() <= 14


def test_cutting():
    assert cut(np.array([[2, 3, 1, 2], [1, 1, 9, 1]])).tolist() == [[True, False, True, True], [True, True, True, False]]


def test_what_is_learned_is_asked_for():
    needs = MaskedLMConfig(unit=PMIUnitConfig(collocations=50, min_count=3, max_length=4)).needs()
    assert needs.collocations == CollocationNeed(size=50, min_count=3, longest=4)
    assert MaskedLMConfig().needs().collocations is None

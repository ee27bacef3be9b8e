"""Chosen positions are padded to few sizes."""

import torch

from transformer_zoo.objectives.base import chosen, padded_count
from transformer_zoo.records import IGNORED


def test_few_sizes_and_little_waste():
    assert [padded_count(n) for n in (0, 1, 64, 65, 614, 1024, 1025, 2048, 2049, 4096, 4097, 4915)] == [
        64, 64, 64, 128, 640, 1024, 1088, 2048, 2176, 4096, 4352, 5120,
    ]  # fmt: skip
    sizes = {padded_count(n) for n in range(2**12, 2**13)}
    assert len(sizes) <= 17
    for n in range(1, 20_000):
        assert n <= padded_count(n) <= n + max(63, n / 16), n
        assert padded_count(n) % 64 == 0


def test_the_rest_is_position_0_and_not_scored():
    targets = torch.full((4, 400), IGNORED)
    targets[:, ::2] = 7
    predict_at, flat = chosen(targets)
    assert len(predict_at) == len(flat) == padded_count(800)
    assert torch.equal(predict_at[:800], torch.arange(0, 1600, 2))
    assert torch.equal(flat, torch.tensor([7] * 800 + [IGNORED] * (len(flat) - 800)))
    assert not predict_at[800:].any()


def test_batches_that_differ_a_little_have_the_same_size():
    """256 rows of 128 tokens with 15% chosen, fewer where special tokens stand: 4608 to 4864."""
    assert {padded_count(256 * 18 + n) for n in range(1, 257)} == {256 * 19}

"""The highest scores are found whether all are searched or only some blocks of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_zoo.generation.base import without_gaps
from transformer_zoo.layers import choosing
from transformer_zoo.layers.choosing import likeliest, topmost


@pytest.fixture(autouse=True, scope="module")
def always_by_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choosing, "_WORTHWHILE", 0)
        yield


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(1, 4), size=st.integers(1, 700), seed=st.integers(0, 99), ties=st.booleans())
def test_the_first_of_the_highest(rows: int, size: int, seed: int, ties: bool):
    scores = torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))
    scores = scores.round() if ties else scores
    assert likeliest(scores).tolist() == [row.index(max(row)) for row in scores.tolist()]


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(1, 4), size=st.integers(8, 900), n=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_topmost_in_order(rows: int, size: int, n: int, seed: int):
    scores = torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))
    scores[:, :: seed % 3 + 2] = float("-inf")
    values, places = topmost(scores, n)
    assert values.tolist() == [sorted(row, reverse=True)[:n] for row in scores.tolist()]
    assert torch.equal(scores.gather(1, places), values)
    assert all(len(set(row)) == n for row in places.tolist())


@given(keep=st.lists(st.booleans(), min_size=1, max_size=12))
def test_rows_from_behind_fill_the_gaps(keep: list[bool]):
    rows = without_gaps(torch.tensor(keep)).tolist()
    assert sorted(rows) == [place for place, kept in enumerate(keep) if kept]
    assert all(row == place for place, row in enumerate(rows) if keep[place]), "those in front stay where they are"

"""A cache keeps, repeats and reorders its rows, and copies no more of them than move."""

import pytest
import torch
from torch import Tensor

from transformer_zoo.layers.cache import AttentionCache, Selection

B, H, E, CAPACITY = 5, 2, 3, 9


def filled(length: int, *, fixed: bool = False) -> tuple[AttentionCache, Tensor, Tensor]:
    keys, values = torch.randn(2, B, H, length, E, generator=torch.Generator().manual_seed(0))
    cache = AttentionCache(capacity=CAPACITY, fixed=fixed)
    cache.append(keys, values)
    return cache, keys, values


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("rows", [[0, 1, 2], [4, 1, 3], [1, 0, 3, 2, 4], [2, 2, 0], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], [3]])
def test_rows_are_kept_repeated_and_reordered(rows: list[int], fixed: bool):
    cache, keys, values = filled(4, fixed=fixed)
    wanted_keys, wanted_values = keys[rows], values[rows]
    given = keys.clone()
    cache.select(Selection.of(torch.tensor(rows), B))
    found_keys, found_values = cache.read()
    assert torch.equal(found_keys, wanted_keys)
    assert torch.equal(found_values, wanted_values)
    assert torch.equal(keys, given), "what was put in belongs to somebody else"
    if not fixed:
        more = torch.randn(len(rows), H, 1, E)
        assert torch.equal(cache.append(more, more)[0], torch.cat((wanted_keys, more), dim=2))


def test_only_rows_that_move_are_copied():
    def moved(rows: list[int]) -> list[int] | None:
        found = Selection.of(torch.tensor(rows), B).moved
        return None if found is None else found.tolist()

    assert moved([0, 4, 2, 3]) == [1]
    assert moved([0, 1, 2]) == []
    assert moved([0, 0, 1, 1, 2, 2]) is None, "more rows than there are"
    cache, _, _ = filled(4)
    place = cache.read()[0].data_ptr()
    cache.select(Selection.of(torch.tensor([0, 4, 2]), B))
    assert cache.read()[0].data_ptr() == place

"""numpy's legacy draws, to the bit."""

import numpy as np
import pytest

from transformer_zoo.layers.attention.legacy_random import LegacyRandom


@pytest.mark.parametrize("seed", [0, 1, 11, 12345, 2**32 - 1])
def test_permutations_are_those_of_numpy(seed: int):
    """Many lengths one after another, so that a draw too many or too few would show."""
    ours, theirs = LegacyRandom(seed), np.random.RandomState(seed)
    for length in [*range(70), 255, 256, 257, 1000]:
        items = [3 * i + 1 for i in range(length)]
        assert ours.permutation(items) == theirs.permutation(np.array(items, dtype=np.int32)).tolist()


def test_items_stay_as_they_were():
    items = [5, 6, 7]
    LegacyRandom(3).permutation(items)
    assert items == [5, 6, 7]

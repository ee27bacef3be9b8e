"""Taking pieces in order: nothing is cut that may not be, and counts are those asked for on average."""

import numpy as np
import pytest

from transformer_zoo.objectives.masking.pieces import OUTSIDE, Order, Pieces


def order(coin: float, *keys: float) -> Order:
    """Pieces of 2, 3 and 1 tokens with these keys; then one token that is never taken."""
    two, three, one = keys
    return Order(Pieces(keys=np.array([[two, two, three, three, three, one, OUTSIDE]]), wholes=np.array([[0, 0, 1, 1, 1, 2, -1]])), np.array([coin]))


def test_pieces_are_taken_whole_and_in_the_order_of_their_keys():
    made = order(0.5, 0.6, 0.3, 0.1)
    assert made.first(np.array([4])).tolist() == [[False, False, True, True, True, True, False]]
    assert made.below(np.array([0.3])).tolist() == [1]
    assert made.below(np.array([0.31])).tolist() == [4]


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0, 0), (1, 1, 1), (2, 1, 4), (3, 1, 4), (4, 4, 4), (5, 4, 6), (6, 6, 6)])
def test_a_count_goes_to_the_next_border_by_a_coin_that_keeps_the_mean(count: int, low: int, high: int):
    found = [int(order(coin, 0.6, 0.3, 0.1).rounded(np.array([count]), None)[0]) for coin in np.linspace(0, 0.999, 300)]
    assert (min(found), max(found)) == (low, high)
    assert np.mean(found) == pytest.approx(count, abs=0.02)


def test_the_first_piece_is_taken_whole_unless_that_passes_the_limit():
    for count in (1, 2):
        assert order(0.99, 0.6, 0.1, 0.3).rounded(np.array([count]), None).tolist() == [3]
        assert order(0.99, 0.6, 0.1, 0.3).rounded(np.array([count]), 3).tolist() == [3]
        assert order(0.0, 0.6, 0.1, 0.3).rounded(np.array([count]), 2).tolist() == [0]
    assert order(0.0, 0.6, 0.1, 0.3).rounded(np.array([6]), 5).tolist() == [4]


def test_pieces_that_may_be_cut_give_the_count():
    keys = np.array([[0.6, 0.6, 0.1, 0.1, 0.1, OUTSIDE]])
    cut = Order(Pieces(keys=keys))
    assert cut.rounded(np.array([2]), None).tolist() == [2]
    assert cut.first(np.array([2])).tolist() == [[False, False, True, True, False, False]]


def test_single_tokens_with_the_same_draw_are_still_counted():
    keys = np.array([[0.5, 0.2, 0.5, 0.5, OUTSIDE], [0.1, 0.2, 0.3, OUTSIDE, OUTSIDE]])
    taken = Order(Pieces(keys=keys, single=True)).first(np.array([2, 0]))
    assert taken.sum(axis=1).tolist() == [2, 0]

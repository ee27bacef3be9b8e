"""Taking pieces in order: nothing is cut that may not be, and counts are those asked for on average."""

import numpy as np
import pytest

from transformer_zoo.objectives.masking.pieces import OUTSIDE, Order, Pieces


def order(coin: float) -> Order:
    """Pieces of 2, 3 and 1 tokens, taken in the order 3, 1, 2; then one token that is never taken."""
    keys = np.array([[0.6, 0.6, 0.1, 0.1, 0.1, 0.3, OUTSIDE]])
    return Order(Pieces(keys=keys, wholes=np.array([[0, 0, 1, 1, 1, 2, -1]])), np.array([coin]))


def test_pieces_are_taken_whole_and_in_the_order_of_their_keys():
    taken = order(0.5).first(np.array([4]))
    assert taken.tolist() == [[False, False, True, True, True, True, False]]
    assert order(0.5).below(np.array([0.3])).tolist() == [3]
    assert order(0.5).below(np.array([0.31])).tolist() == [4]


@pytest.mark.parametrize(("count", "low", "high"), [(3, 3, 3), (4, 4, 4), (5, 4, 6), (6, 6, 6), (0, 0, 0)])
def test_a_count_goes_to_the_next_border_by_the_coin(count: int, low: int, high: int):
    found = [int(order(coin).rounded(np.array([count]), None)[0]) for coin in np.linspace(0, 0.999, 50)]
    assert (min(found), max(found)) == (low, high)
    assert np.mean(found) == pytest.approx(count, abs=0.05)


def test_the_first_piece_is_taken_whole_unless_that_passes_the_limit():
    for count in (1, 2):
        assert order(0.99).rounded(np.array([count]), None).tolist() == [3]
        assert order(0.99).rounded(np.array([count]), 3).tolist() == [3]
        assert order(0.0).rounded(np.array([count]), 2).tolist() == [0]
    assert order(0.0).rounded(np.array([6]), 5).tolist() == [4]


def test_pieces_that_may_be_cut_give_the_count():
    keys = np.array([[0.6, 0.6, 0.1, 0.1, 0.1, OUTSIDE]])
    cut = Order(Pieces(keys=keys))
    assert cut.rounded(np.array([2]), None).tolist() == [2]
    assert cut.first(np.array([2])).tolist() == [[False, False, True, True, False, False]]


def test_single_tokens_with_the_same_draw_are_still_counted():
    keys = np.array([[0.5, 0.2, 0.5, 0.5, OUTSIDE], [0.1, 0.2, 0.3, OUTSIDE, OUTSIDE]])
    taken = Order(Pieces(keys=keys, single=True)).first(np.array([2, 0]))
    assert taken.sum(axis=1).tolist() == [2, 0]

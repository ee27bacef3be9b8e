import pytest

from transformer_zoo.benchmark.records import compare, quartiles


def test_the_ratio_is_the_median_of_the_rounds_ratios_and_not_of_the_times() -> None:
    (one,) = compare({"ours": [1.0, 10.0, 2.0], "peer": [2.0, 11.0, 8.0]}, row="r", what="seconds", target=2.0)
    assert (one.ours, one.peer, one.ratio) == ("ours", "peer", 2.0)  # of 2, 1.1 and 4; the medians of the times would say 4
    assert (one.low, one.high) == (pytest.approx(1.55), 3.0)
    assert one.numbers == {"ours_seconds": 2.0, "peer_seconds": 8.0, "rounds": 3}
    assert one.met


def test_every_peer_has_its_own_row_and_target() -> None:
    rows = compare({"a": [2.0], "mine": [1.0], "b": [2.0], "c": [0.5]}, row="r", what="", target={"a": 2.1, "b": 1.5}, ours="mine")
    assert [(one.peer, one.ratio, one.target, one.met) for one in rows] == [("a", 2.0, 2.1, False), ("b", 2.0, 1.5, True), ("c", 0.5, None, None)]


def test_sides_must_have_the_same_rounds() -> None:
    with pytest.raises(ValueError, match="longer"):
        compare({"ours": [1.0, 1.0], "peer": [1.0]}, row="r", what="", target=None)


def test_one_value_has_no_spread() -> None:
    assert quartiles([3.0]) == (3.0, 3.0, 3.0)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)

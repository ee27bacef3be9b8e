"""Items made one ahead in a thread: order, overlap, errors, and nothing left behind."""

import threading
from collections.abc import Iterator

import pytest

from transformer_zoo.data.ahead import ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_the_items_and_their_order_stay() -> None:
    assert list(ahead(iter(range(50)))) == list(range(50))
    assert list(ahead(iter(()))) == []
    assert threads() == []


def test_the_next_item_is_made_while_the_present_one_is_used() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    going = ahead(items())
    assert next(going) == 0
    assert made.wait(10), "nobody asked for the second item, and yet it must be made"
    assert list(going) == [1]


def test_no_more_than_one_is_made_ahead() -> None:
    made: list[int] = []
    going = ahead(made.append(i) or i for i in range(9))  # type: ignore[func-returns-value]
    next(going)
    going.close()
    assert made in ([0], [0, 1])


def test_an_error_comes_in_the_place_of_its_item() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("the second is broken")

    going = ahead(items())
    assert next(going) == 0
    with pytest.raises(ValueError, match="the second is broken"):
        next(going)
    assert threads() == []


def test_no_thread_is_left_where_the_user_stops() -> None:
    going = ahead(iter(range(9)))
    next(going)
    assert len(threads()) == 1
    going.close()
    assert threads() == []
    for item in ahead(iter(range(9))):
        if item == 2:
            break
    assert threads() == []

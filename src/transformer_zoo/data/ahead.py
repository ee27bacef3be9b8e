"""Making the next item while the present one is used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")


def ahead(items: Iterator[ItemT]) -> Iterator[ItemT]:
    """The same items, each made in a second thread while the one before is used: what leaves Python free, such as tokenising and tensor
    products, overlaps with it.

    An error comes where its item would have come. Closed or left, it waits for the item in the making; no thread is left behind.
    """
    end: Any = object()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as pool:
        following = pool.submit(next, items, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, items, end)
            yield item

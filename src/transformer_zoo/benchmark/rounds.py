"""Timing several sides so that a machine's moods hit all of them alike."""

import time
from collections.abc import Callable, Mapping


def interleave(sides: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of every side in every round; one round runs every side once.

    Every second round goes through the sides backwards, so that none always follows the same other. A side that starts work on a device
    must wait for its end itself.
    """
    assert rounds >= 1 and warm_up >= 0, (rounds, warm_up)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warm_up + rounds):
        order = list(sides.items())
        for name, run in reversed(order) if number % 2 else order:
            start = time.perf_counter()
            run()
            taken = time.perf_counter() - start
            if number >= warm_up:
                seconds[name].append(taken)
    return seconds

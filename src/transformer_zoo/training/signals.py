"""Stopping cleanly: a signal only sets a flag, and the loops ask for it between two pieces of work.

Saving inside a signal handler can catch the optimiser half way through an update; a flag cannot.
"""

import logging
import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from transformer_zoo.training.parallel import World

logger = logging.getLogger(__name__)
T = TypeVar("T")

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


class StopRequested(BaseException):
    """Raised between two pieces of work once a signal has come. No error: it unwinds a loop, and no `except Exception` may swallow it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


class StopFlag:
    """Remembers the first of SIGTERM, SIGINT and SIGUSR1. A second SIGINT raises KeyboardInterrupt at once.

    A context manager: the handlers are in place inside and put back afterwards. Entering it twice is fine (a command may hold it
    around the preparation of data, the trainer inside that).
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._depth = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self._depth == 0 and threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        self._depth += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth == 0:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
            self._previous = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal_number is None:
            self.signal_number = number

    def flags(self) -> list[float]:
        """One 0 or 1 per signal, to be added up over the processes."""
        return [float(self.signal_number == number) for number in SIGNALS]

    def check(self, flags: Iterable[float] | None = None) -> None:
        """Raise StopRequested where a flag is set: this process's, or the sums of all processes' `flags()`."""
        for number, flag in zip(SIGNALS, self.flags() if flags is None else flags, strict=True):
            if flag:
                self.signal_number = number
                raise StopRequested(number)

    def guard(self, items: Iterable[T], world: World) -> Iterator[T]:
        """`items`, asking for the flag before each. With several processes all ask together, also those that have no item left."""
        iterator = iter(items)
        while True:
            item = next(iterator, None)
            told = world.gather([float(item is not None), *self.flags()]).sum(0).tolist()
            self.check(told[1:])
            if not told[0]:
                return
            if item is not None:
                yield item


class StopNow(StopFlag):
    """Raises StopRequested at once, wherever the work is: for work that leaves nothing half done and has nothing to save."""

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number = number
            raise StopRequested(number)
        super()._handle(number, frame)

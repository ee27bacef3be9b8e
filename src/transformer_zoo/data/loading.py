"""Making things ahead of time, in order, in a thread or in background processes, with errors that say what happened.

Processes: a PyTorch DataLoader with a generator of its own (one that draws from the global generator would make a run depend on how often it was
restarted) and workers that ignore the signals that stop a run: those are for the trainer, which saves first.
"""

import logging
import multiprocessing
import signal
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data._utils import signal_handling

from transformer_zoo.data.ahead import ahead
from transformer_zoo.errors import DataError, ZooError

logger = logging.getLogger(__name__)

TaskT = TypeVar("TaskT")
MadeT = TypeVar("MadeT")


@dataclass(frozen=True)
class _Failure:
    """An error inside a worker, as text: exceptions do not all travel between processes."""

    worker: int
    message: str
    trace: str


class _Made(Dataset[Any], Generic[TaskT, MadeT]):
    """A data set whose keys are the tasks themselves."""

    def __init__(self, make: Callable[[TaskT], MadeT]) -> None:
        self._make = make

    def __getitem__(self, task: TaskT) -> MadeT | _Failure:
        info = get_worker_info()
        try:
            return self._make(task)
        except Exception as error:  # noqa: BLE001 - handed over and raised in the main process
            message = str(error) if isinstance(error, ZooError) else f"{type(error).__name__}: {error}"
            return _Failure(info.id if info else 0, message, traceback.format_exc())


def _start_worker(_: int) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _identity(item: Any) -> Any:
    return item


def load(
    make: Callable[[TaskT], MadeT],
    tasks: Iterator[TaskT],
    *,
    describe: Callable[[TaskT], str],
    n_workers: int,
    seed: int,
    timeout: float = 300.0,
) -> Iterator[tuple[TaskT, MadeT]]:
    """Every task with `make(task)`, in order and ahead of time: with `n_workers` of 0 by one in a thread of this process, else in background
    processes. `describe` names a task in errors.

    Raises:
        DataError: a worker died, took longer than `timeout` seconds or met an error.
    """
    if n_workers == 0:
        yield from ahead((task, make(task)) for task in tasks)
        return
    sent: deque[TaskT] = deque()

    def noted() -> Iterator[TaskT]:
        for task in tasks:
            sent.append(task)
            yield task

    context = multiprocessing.get_context("fork") if sys.platform == "linux" else None
    loader: DataLoader[Any] = DataLoader(
        _Made(make),
        batch_size=None,
        sampler=noted(),
        num_workers=n_workers,
        collate_fn=_identity,
        worker_init_fn=_start_worker,
        generator=torch.Generator().manual_seed(seed % 2**63),
        timeout=timeout,
        multiprocessing_context=context,
    )
    with warnings.catch_warnings():
        # Workers touch neither CUDA nor threads started before the fork, which is what this warning fears.
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork.*", category=DeprecationWarning)
        iterator = iter(loader)
    while True:
        try:
            try:
                made = next(iterator)
            except (OSError, EOFError) as error:  # a worker died while handing over; a RuntimeError that says so may come any moment
                raise RuntimeError(str(error)) from error
        except StopIteration:
            return
        except RuntimeError as error:
            _end(iterator)
            cause = next(iter(str(error).splitlines()), type(error).__name__)
            what = f"took longer than {timeout:g} seconds" if "timed out" in cause else "died"
            raise DataError(f"a data worker {what} while making {describe(sent[0])} ({cause})") from error
        task = sent.popleft()
        if isinstance(made, _Failure):
            logger.error("%s", made.trace)
            raise DataError(f"data worker {made.worker} failed while making {describe(task)}: {made.message}")
        yield task, made


def _end(iterator: Any) -> None:
    """Kill the workers of a loader: they ignore gentler signals, and one that hangs would hold us up. PyTorch turns the death of a worker
    it watches into an exception at whatever place we happen to be, so it is told first to watch them no longer."""
    if getattr(iterator, "_worker_pids_set", False):
        signal_handling._remove_worker_pids(id(iterator))
        iterator._worker_pids_set = False
    workers = getattr(iterator, "_workers", ())
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(5)

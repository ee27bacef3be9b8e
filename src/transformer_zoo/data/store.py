"""Prepared data on disk: named columns of numbers, memory-mapped, built once and safe against two processes.

A store is a folder of raw column files and a `manifest.json` with their types, lengths and SHA-256 sums. It is written into a
temporary neighbour under a lock and renamed into place, so that a store is either whole or not there. A store whose files do not
agree with its manifest is thrown away and built again.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from transformer_zoo.errors import DataError

logger = logging.getLogger(__name__)

WAIT_SECONDS = 0.2
"""Between two attempts to get a lock."""

FORMAT_VERSION = 1
"""Part of every key: a change of what is stored, or of how text is prepared, raises it."""


def key_of(*parts: Any) -> str:
    """A short hash of plain values; the name of a store."""
    text = json.dumps([FORMAT_VERSION, *parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Column:
    """A read-only array in a file. It travels between processes as its path and is mapped again where it arrives."""

    def __init__(self, path: Path, dtype: str, count: int) -> None:
        self._place = (path, dtype, count)
        if count:
            self.array: np.ndarray = np.memmap(path, dtype=dtype, mode="r", shape=(count,))
        else:  # an empty file cannot be mapped
            self.array = np.zeros(0, dtype=dtype)

    def __reduce__(self) -> tuple[type["Column"], tuple[Path, str, int]]:
        return Column, self._place


@dataclass(frozen=True)
class Store:
    """A finished store: its columns by name and the facts noted when it was built."""

    folder: Path
    columns: dict[str, Column]
    facts: dict[str, Any]


class _ColumnFile:
    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self.path, self.dtype, self.count = path, dtype, 0
        self.hash = hashlib.sha256()
        self.file: BinaryIO = path.open("wb")

    def append(self, values: Any) -> None:
        data = np.ascontiguousarray(values, dtype=self.dtype).tobytes()
        self.file.write(data)
        self.hash.update(data)
        self.count += len(data) // self.dtype.itemsize

    def finish(self) -> dict[str, Any]:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        return {"dtype": self.dtype.str, "count": self.count, "sha256": self.hash.hexdigest()}


class StoreWriter:
    """Writes the columns of one store piece by piece; `facts` go into its manifest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self._files: dict[str, _ColumnFile] = {}

    def column(self, name: str, dtype: Any) -> Callable[[Any], None]:
        """Begin a column and return the function that appends values to it."""
        assert name not in self._files, name
        self._files[name] = _ColumnFile(self.folder / f"{name}.bin", np.dtype(dtype))
        return self._files[name].append

    def finish(self) -> None:
        manifest = {"columns": {name: file.finish() for name, file in self._files.items()}, "facts": self.facts}
        with (self.folder / "manifest.json").open("w", encoding="utf-8") as file:
            json.dump(manifest, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        for file in self._files.values():
            file.file.close()


def no_poll() -> None:
    """Nothing asks to stop."""


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turns what can go wrong in writing to the cache into a `DataError` that names it."""
    try:
        yield
    except OSError as problem:
        if isinstance(problem, PermissionError) or problem.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG):
            raise DataError(f"the prepared data cannot be written to {root}: {problem.strerror}") from problem
        raise


@contextmanager
def locked(path: Path, poll: Callable[[], None] = no_poll) -> Iterator[None]:
    """Hold the lock file `path`; waits, with one line in the log, while another process holds it, and calls `poll` meanwhile, which may
    raise. The lock dies with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    logger.info("another process is preparing the same data; waiting for it")
                told = True
            poll()
            time.sleep(WAIT_SECONDS)
        yield


def _opened(folder: Path) -> Store:
    """The store in `folder`; ValueError where files and manifest do not agree."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    columns = {}
    for name, column in manifest["columns"].items():
        path = folder / f"{name}.bin"
        size = column["count"] * np.dtype(column["dtype"]).itemsize
        if path.stat().st_size != size:
            raise ValueError(f"{path.name} has {path.stat().st_size} bytes instead of {size}")
        if file_hash(path) != column["sha256"]:
            raise ValueError(f"{path.name} was changed")
        columns[name] = Column(path, column["dtype"], column["count"])
    return Store(folder, columns, manifest["facts"])


def _found(folder: Path) -> Store | None:
    if not folder.exists():
        return None
    try:
        return _opened(folder)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        logger.warning("the prepared data in %s is damaged (%s): preparing it again", folder, problem)
        return None


def open_or_build(root: Path, key: str, build: Callable[[StoreWriter], None], poll: Callable[[], None] = no_poll) -> Store:
    """The store `root/key`, built by `build` where it is not there or damaged. `poll` is called while another process builds it.

    Raises:
        DataError: the cache cannot be written.
    """
    folder = root / key
    if (store := _found(folder)) is not None:
        return store
    with writing(root), locked(root / f"{key}.lock", poll):
        if (store := _found(folder)) is not None:
            return store
        for left_over in root.glob(f"{key}.tmp-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        _build(folder, root / f"{key}.tmp-{os.getpid()}", build)
    return _opened(folder)


def _build(folder: Path, temporary: Path, build: Callable[[StoreWriter], None]) -> None:
    temporary.mkdir(parents=True)
    writer = StoreWriter(temporary)
    try:
        build(writer)
        writer.finish()
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        writer.close()
        shutil.rmtree(temporary, ignore_errors=True)

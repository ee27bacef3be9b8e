"""Run folders: made exclusively, held by a lock, and written so that a reader never sees half a file."""

import contextlib
import datetime
import json
import logging
import os
import secrets
import socket
from pathlib import Path
from typing import IO, Any

from transformer_zoo.errors import ConfigError
from transformer_zoo.training import io

logger = logging.getLogger(__name__)

STATUSES = ("running", "done", "failed", "preempted")
_LOCK = ".lock"
_held: dict[int, IO[str]] = {}
"""Open lock files of this process by id: a forked worker closes them, so that it never keeps a lock alive."""


def _close_in_child() -> None:
    for file in _held.values():
        with contextlib.suppress(OSError):
            os.close(file.fileno())
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def hold(path: Path, key: str) -> IO[str]:
    """Hold a folder, making it where it is not there, until the file that is returned is given to `let_go` or the process ends, however it ends.

    Raises:
        ConfigError: another process holds it, or nothing can be written there; `key` names the setting that chose the folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{key}={path}: not writable ({error.strerror}); choose another {key}") from error
    try:
        _lock(lock)
    except BlockingIOError:
        who = _owner(lock)
        lock.close()
        raise ConfigError(f"{key}={path} is in use by {who}: wait for it, or choose another {key}") from None
    except OSError as error:
        logger.warning("%s: this file system has no locks (%s); see to it that only one process uses the folder", path, error.strerror)
    lock.seek(0)
    lock.truncate()
    started = datetime.datetime.now().isoformat(timespec="seconds")
    lock.write(f"process {os.getpid()} on {socket.gethostname()} since {started}\n")
    lock.flush()
    _held[id(lock)] = lock
    return lock


def let_go(lock: IO[str]) -> None:
    """End what `hold` began."""
    _held.pop(id(lock), None)
    lock.close()


def holder(path: Path) -> str | None:
    """Who holds a folder, in words; None where nobody does, or the file system cannot tell."""
    try:
        lock = (path / _LOCK).open("r", encoding="utf-8")
    except OSError:
        return None
    with lock:
        try:
            _lock(lock)
        except BlockingIOError:
            return _owner(lock)
        except OSError:
            return None
    return None


def _owner(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip() or "another process"


class RunFolder:
    """One run's folder, held by this process from `create` or `claim` until `release`."""

    def __init__(self, path: Path, lock: IO[str] | None) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, parent: Path, name: str) -> "RunFolder":
        """Make and hold a new folder `name-DATE-ID` in `parent`; the id is random, so that two starts never share one."""
        date = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            while True:
                path = parent / f"{name}-{date}-{secrets.token_hex(3)}"
                with contextlib.suppress(FileExistsError):
                    path.mkdir()
                    break
        except OSError as error:
            raise ConfigError(f"{parent}: no run folder can be made there ({error.strerror}); choose another place by run_dir=…") from error
        return cls.claim(path)

    @classmethod
    def claim(cls, path: Path) -> "RunFolder":
        """Hold the folder at `path`, making it where it is not there; one left by an earlier start of the run is taken over.

        Raises:
            ConfigError: another process holds it, or nothing can be written there.
        """
        lock = hold(path, "run_dir")
        return cls(path, lock)

    @classmethod
    def shared(cls, path: Path) -> "RunFolder":
        """The folder as the further processes of a distributed run see it: the first one holds it."""
        return cls(path, None)

    def release(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            let_go(self._lock)
            self._lock = None

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    # --- what stands in it ---------------------------------------------------------------------------------------------------------

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file whole; numbers that are not finite become null. The caller masks secrets."""
        data = json.dumps(finite(value), indent=2, default=str, allow_nan=False) + "\n"
        self.write_text(name, data)

    def write_text(self, name: str, text: str) -> None:
        io.replace_bytes(self.path / name, text.encode())

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON file of the folder; None where it is missing or unreadable."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def set_status(self, status: str, reason: str = "", **facts: int) -> None:
        """Write `status.json`: running, done, failed or preempted, with the reason and numbers such as the step."""
        assert status in STATUSES
        self.write_json(
            "status.json",
            {
                "status": status,
                "reason": reason,
                **facts,
                "process": os.getpid(),
                "host": socket.gethostname(),
                "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
        )

    def status(self) -> str | None:
        """What `status.json` says; None before a start."""
        return (self.read_json("status.json") or {}).get("status")


def _lock(file: IO[str]) -> None:
    """Take an exclusive lock without waiting. It goes with the process, so that none is ever stale."""
    try:
        import fcntl
    except ImportError:  # Windows: the open file is all there is
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def finite(value: Any) -> Any:
    """A copy in which numbers that are not finite are None, as JSON has no NaN."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value

"""Commands in fresh processes, timed: what a user waits for."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformer_zoo.errors import ZooError

PROGRAM = (sys.executable, "-m", "transformer_zoo")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """In what a command runs."""

    threads: int | None = None
    """Of torch; None: its own choice."""
    data: Path | None = None
    """Folder with real text; None: as it is."""

    def variables(self) -> dict[str, str]:
        """The environment."""
        named = dict(os.environ)
        if self.data is not None:
            named["TRANSFORMER_ZOO_DATA"] = str(self.data)
        if self.threads is not None:
            named |= {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return named


def seconds_of(command: Sequence[str], around: Surroundings, *, until: str | None = None) -> float:
    """From the start of a process to its end, or to the first line of its messages that has `until` in it; it is then told to stop.

    Raises:
        ZooError: it fails, or ends without such a line.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=around.variables()) as process:
        assert process.stderr is not None
        last, found = "", None
        for line in process.stderr:
            last = line.strip() or last
            if until is not None and found is None and until in line:
                found = time.perf_counter() - start
                process.terminate()
        code = process.wait()
    if until is not None:
        if found is None:
            raise ZooError(f"{_told(command)} ended without saying {until!r}: {last}")
        return found
    if code:
        raise ZooError(f"{_told(command)} failed with exit code {code}: {last}")
    return time.perf_counter() - start


def _told(command: Sequence[str]) -> str:
    return " ".join(["transformer-zoo", *command[len(PROGRAM) :]] if tuple(command[: len(PROGRAM)]) == PROGRAM else command)

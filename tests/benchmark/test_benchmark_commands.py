import sys
from pathlib import Path

import pytest

from transformer_zoo.benchmark.commands import PROGRAM, Surroundings, seconds_of
from transformer_zoo.errors import ZooError

HERE = Surroundings()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_command_is_timed_to_its_end() -> None:
    assert seconds_of(python("import time; time.sleep(0.5)"), HERE) >= 0.5


def test_or_to_a_line_of_its_messages() -> None:
    code = "import sys, time; print('ready', file=sys.stderr, flush=True); time.sleep(60)"
    assert seconds_of(python(code), HERE, until="ready") < 30


def test_failing_is_told_with_the_last_message() -> None:
    with pytest.raises(ZooError, match="failed with exit code 3: no good"):
        seconds_of(python("import sys; print('no good', file=sys.stderr); sys.exit(3)"), HERE)
    with pytest.raises(ZooError, match="ended without saying 'ready': never"):
        seconds_of(python("import sys; print('never', file=sys.stderr)"), HERE, until="ready")


def test_our_own_commands_are_told_as_one_types_them() -> None:
    with pytest.raises(ZooError, match=r"^transformer-zoo train nonsense failed with exit code 2: "):
        seconds_of([*PROGRAM, "train", "nonsense"], HERE)


def test_the_surroundings_reach_the_command(tmp_path: Path) -> None:
    around = Surroundings(threads=3, data=tmp_path)
    code = f"import os, sys; sys.exit((os.environ['OMP_NUM_THREADS'], os.environ['TRANSFORMER_ZOO_DATA']) != ('3', {str(tmp_path)!r}))"
    seconds_of(python(code), around)

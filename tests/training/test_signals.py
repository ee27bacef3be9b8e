"""A signal, to the whole process group, in any phase: the state is saved, the exit code says so, no process is left."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from transformer_zoo.training.checkpoints import read_checkpoint
from transformer_zoo.training.parallel import World
from transformer_zoo.training.signals import StopFlag, StopRequested

TESTS = Path(__file__).parents[1]


STOPS = {"step": signal.SIGTERM, "evaluation": signal.SIGINT, "saving": signal.SIGUSR1, "twice": signal.SIGINT}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs, each stopped in its phase by a signal to its process group; `seconds.json` tells how long that took."""
    root = tmp_path_factory.mktemp("stopped")
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    process = subprocess.Popen([sys.executable, str(TESTS / "training" / "stoppable.py"), str(root)], env=environment, start_new_session=True)
    try:
        return _stop_them(root, process)
    finally:
        for path in root.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(path.read_text()), signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _stop_them(root: Path, process: "subprocess.Popen[bytes]") -> Path:
    groups: dict[str, int] = {}
    deadline = time.monotonic() + 90
    while len(groups) < len(STOPS):
        assert time.monotonic() < deadline, [path.read_text() for path in root.glob("*.out")]
        for phase in STOPS.keys() - groups.keys():
            text = (root / f"{phase}.pid").read_text() if (root / f"{phase}.pid").exists() else ""
            if text:
                groups[phase] = int(text)
                os.killpg(groups[phase], STOPS[phase])
        time.sleep(0.02)
    began = time.monotonic()
    os.killpg(groups["twice"], STOPS["twice"])
    assert process.wait(60) == 0
    (root / "seconds.json").write_text(json.dumps(time.monotonic() - began))
    left = [other for other in psutil.process_iter() if other.status() != psutil.STATUS_ZOMBIE and _group(other.pid) in groups.values()]
    (root / "left.json").write_text(json.dumps([str(other) for other in left]))
    return root


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


@pytest.mark.dist
@pytest.mark.parametrize("phase", ["step", "evaluation", "saving"])
def test_a_signal_saves_and_exits(stopped: Path, phase: str) -> None:
    number, out = STOPS[phase], (stopped / f"{phase}.out").read_text()
    assert json.loads((stopped / "codes.json").read_text())[phase] == 128 + number, out
    assert out.startswith(f"stopped by {number.name}: saved after step ")
    status = json.loads((stopped / phase / "status.json").read_text())
    assert (status["status"], status["reason"]) == ("preempted", number.name)
    checkpoint = read_checkpoint(stopped / phase / "checkpoints" / f"step-{status['step']:08d}")
    assert checkpoint.state["evaluation_due"] == (phase == "evaluation")


@pytest.mark.dist
def test_a_second_interrupt_ends_at_once(stopped: Path) -> None:
    assert json.loads((stopped / "codes.json").read_text())["twice"] == 1
    assert (stopped / "twice.out").read_text().rstrip().endswith("KeyboardInterrupt")
    assert json.loads((stopped / "twice" / "status.json").read_text())["status"] == "failed"
    assert json.loads((stopped / "seconds.json").read_text()) < 10


@pytest.mark.dist
def test_no_process_is_left(stopped: Path) -> None:
    assert json.loads((stopped / "left.json").read_text()) == []


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    flag = StopFlag()
    with flag, flag:
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.signal_number == signal.SIGTERM
        with pytest.raises(StopRequested, match="SIGTERM"):
            flag.check()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_first_signal_counts() -> None:
    with StopFlag() as flag:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert flag.signal_number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_guard_passes_everything_until_a_signal_comes() -> None:
    with StopFlag() as flag:
        assert list(flag.guard(range(3), World())) == [0, 1, 2]
        seen = []
        with pytest.raises(StopRequested):
            for item in flag.guard(range(5), World()):
                seen.append(item)
                if item == 1:
                    os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [0, 1]


def test_no_exception_handler_swallows_a_request() -> None:
    assert not issubclass(StopRequested, Exception)

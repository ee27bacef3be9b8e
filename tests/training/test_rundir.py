"""One folder, one run: exclusive creation, a lock that dies with its holder, files that are whole."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from transformer_zoo.errors import ConfigError
from transformer_zoo.training.rundir import RunFolder

HOLD = """
import sys, time
from pathlib import Path
from transformer_zoo.training.rundir import RunFolder
from transformer_zoo.errors import ConfigError
try:
    run = RunFolder.claim(Path(sys.argv[1]))
except ConfigError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
if len(sys.argv) > 2:  # a child that outlives its parent for a while
    import os
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, b"!")
        time.sleep(30)
        os._exit(0)
    os.read(reading, 1)  # the child is there, and has let go of the lock
print("held", flush=True)
time.sleep(30)
"""


def hold(path: Path, *extra: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), *extra], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    process.first = process.stdout.readline()  # type: ignore[attr-defined]
    return process


def end(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_new_folders_never_collide(tmp_path: Path) -> None:
    """Many starts in the same second."""
    made: list[Path] = []

    def make() -> None:
        for _ in range(10):
            with RunFolder.create(tmp_path / "runs", "bert") as run:
                made.append(run.path)

    threads = [threading.Thread(target=make) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 50 == len(list((tmp_path / "runs").iterdir()))
    assert all(path.name.startswith("bert-") for path in made)


@pytest.mark.dist
def test_a_second_process_is_refused_and_a_dead_holder_forgotten(tmp_path: Path) -> None:
    """Also where a worker forked by the holder is still alive: it does not hold the lock."""
    holder = hold(tmp_path / "run", "with a child")
    try:
        assert holder.first == "held\n"  # type: ignore[attr-defined]
        with pytest.raises(ConfigError) as caught:
            RunFolder.claim(tmp_path / "run")
        assert str(caught.value).startswith(f"run_dir={tmp_path / 'run'} is in use by process {holder.pid} on ")
        assert str(caught.value).endswith(": wait for it, or choose another run_dir")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with RunFolder.claim(tmp_path / "run") as run:
            assert f"process {os.getpid()} on " in (run.path / ".lock").read_text()
    finally:
        end(holder)


def test_a_released_folder_can_be_claimed_again(tmp_path: Path) -> None:
    with RunFolder.claim(tmp_path / "run"), pytest.raises(ConfigError, match="is in use by process"):
        RunFolder.claim(tmp_path / "run")
    with RunFolder.claim(tmp_path / "run"):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"run_dir=.*file/run: not writable \(Not a directory\); choose another run_dir"):
        RunFolder.claim(tmp_path / "file" / "run")
    with pytest.raises(ConfigError, match="no run folder can be made there"):
        RunFolder.create(tmp_path / "file", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ConfigError, match="Permission denied"):
        RunFolder.claim(tmp_path / "run")


def test_files(tmp_path: Path) -> None:
    with RunFolder.claim(tmp_path / "run") as run:
        assert run.status() is None
        run.set_status("running", step=3)
        assert run.status() == "running"
        run.write_json("summary.json", {"loss": float("nan"), "more": [float("inf"), 1.5], "path": Path("a")})
        assert json.loads((run.path / "summary.json").read_text()) == {"loss": None, "more": [None, 1.5], "path": "a"}
        assert run.read_json("nothing.json") is None
        (run.path / "half.json").write_text('{"a": ')
        assert run.read_json("half.json") is None
        assert not list(run.path.glob("*.tmp*"))

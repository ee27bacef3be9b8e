"""Where jobs run: processes of this machine, a SLURM cluster through submitit, or any launcher that Hydra has a plugin for."""

import contextlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from transformer_zoo.errors import ConfigError, MissingExtraError
from transformer_zoo.experiments.hints import did_you_mean
from transformer_zoo.studies.cells import quoted
from transformer_zoo.studies.jobs import PARENT, UNEXPECTED, Job, Outcome

logger = logging.getLogger(__name__)

JOBS = "jobs"
"""Folder of a study with what its jobs were told, said and came to."""
LAUNCHERS = ("processes", "slurm", "submitit_local")
HYDRA = "hydra/"
"""Prefix of the names of launchers that Hydra has plugins for, as in launcher=hydra/joblib."""
SETTINGS = "slurm."
"""Prefix of the words that set what a cluster is asked for, as in slurm.partition=gpu."""
NAMES = {"timeout": "timeout_min", "gpus": "gpus_per_node", "cpus": "cpus_per_task", "memory": "mem_gb", "name": "name", "nodes": "nodes"}
"""What we call a setting → what submitit calls it on every kind of cluster; others are SLURM's own (partition, qos, account, constraint …)."""
_NUMBERS = {"timeout_min", "gpus_per_node", "cpus_per_task", "mem_gb", "nodes"}
DEFAULT_MINUTES = 7 * 24 * 60


class Task(Protocol):
    """A job that was started."""

    def ended(self) -> Outcome | None:
        """What came of it; None while it runs or waits."""

    def stop(self, number: int) -> None:
        """Ask it to save and end."""

    def kill(self) -> None:
        """End it at once."""


class Launcher(Protocol):
    """Starts jobs."""

    parallel: int
    """Jobs at once."""

    def start(self, job: Job) -> Task:
        """Start one; returns at once."""


def launcher_of(name: str | None, jobs: int | None, cells: int, folder: Path, settings: Mapping[str, str]) -> Launcher | None:
    """The launcher that is asked for; None: one run after another in this process.

    Raises:
        ConfigError: there is none of that name, or it does not take the settings.
        MissingExtraError: submitit is not installed.
    """
    check(name, jobs, settings)
    if name is None and (jobs or 1) == 1:
        return None
    if name in (None, "processes"):
        return Processes(min(jobs or 1, cells))
    if name == "slurm":
        return Submitit("slurm", jobs or max(cells, 1), folder, settings)
    if name == "submitit_local":
        return Submitit("local", jobs or 1, folder, settings)
    return Processes(min(jobs or cells, cells), partial(hydra_command, name, settings), shared=False)


def check(name: str | None, jobs: int | None, settings: Mapping[str, str]) -> None:
    """What is wrong with this on any machine, so that a plan made elsewhere than on the cluster tells it, too. Raises as `launcher_of`."""
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs={jobs}: expected at least 1, the number of runs at once")
    if name in (None, "processes"):
        if settings:
            raise ConfigError(f"{SETTINGS}{next(iter(settings))} belongs to launcher=slurm: add it, or leave the setting out")
    elif name in ("slurm", "submitit_local"):
        _parameters(settings)
        _check_submitit(name, settings)
    elif name is not None and name.startswith(HYDRA):
        from transformer_zoo.experiments.compose.launchers import hydra_launchers

        known = [f"{HYDRA}{one}" for one in hydra_launchers()]
        if name not in known:
            raise ConfigError(
                f"launcher={name}: Hydra knows no such launcher here{did_you_mean(name, known)} (it has {', '.join(known)}); install its plugin"
            )
    else:
        raise ConfigError(
            f"launcher={name}: expected one of {', '.join(LAUNCHERS)}, or {HYDRA}NAME for a launcher of Hydra's; for another cluster make the "
            "commands that --commands prints"
        )


def _check_submitit(name: str, settings: Mapping[str, str]) -> None:
    """Whether it is there and knows the settings' names."""
    if importlib.util.find_spec("submitit") is None:
        raise MissingExtraError("submitit", "cluster", f"launcher={name}")
    from submitit.slurm.slurm import SlurmExecutor

    known = [*NAMES, *sorted(SlurmExecutor._valid_parameters())]
    strange = [key for key in settings if key not in known]
    if strange:
        raise ConfigError(*(f"{SETTINGS}{key}={settings[key]}: submitit has no such setting{did_you_mean(key, known)}" for key in strange))


def job_file(job: Job) -> Path:
    """Write down a job beside where its outcome will stand, and take away the outcome of an earlier start."""
    result = Path(job.result)
    result.parent.mkdir(parents=True, exist_ok=True)
    result.unlink(missing_ok=True)
    path = result.with_suffix(".job.json")
    path.write_text(json.dumps(asdict(job), indent=1) + "\n", encoding="utf-8")
    return path


def own_command(path: Path) -> list[str]:
    """What makes a job in a process of its own."""
    return [sys.executable, "-m", "transformer_zoo.studies.jobs", str(path)]


def hydra_command(launcher: str, settings: Mapping[str, str], *paths: Path) -> list[str]:
    """What hands jobs to a launcher of Hydra's and waits for it."""
    words = [f"{HYDRA}launcher={launcher.removeprefix(HYDRA)}", *(f"hydra.launcher.{key}={value}" for key, value in settings.items())]
    jobs = ",".join(quoted(str(path)) for path in paths)
    place = quoted(str(paths[0].with_suffix(".hydra")))
    return [sys.executable, "-m", "transformer_zoo.cli.multirun", "--multirun", f"+job={jobs}", f"hydra.sweep.dir={place}", *words]


# --- processes of this machine ----------------------------------------------------------------------------------------------------------


class Processes:
    """Several processes, each with its share of the cores, and with a GPU of its own where there are several; not `shared`: of another machine's."""

    def __init__(self, parallel: int, command: Callable[[Path], list[str]] = own_command, *, shared: bool = True) -> None:
        self.parallel = parallel
        self._command, self._shared = command, shared
        self._cores = max(1, _usable_cores() // parallel)
        self._devices = _devices() if shared else []
        self._slots: dict[int, _Process] = {}

    def start(self, job: Job) -> Task:
        """A process in a session of its own: a signal from the keyboard reaches it through us alone, once."""
        slot = next(n for n in range(self.parallel) if n not in self._slots or self._slots[n].over)
        path = job_file(job)
        with path.with_name(Path(job.result).stem + ".log").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                self._command(path),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | {PARENT: "1"} | self._share(slot),
                start_new_session=True,
            )
        self._slots[slot] = _Process(process, job, Path(log.name))
        return self._slots[slot]

    def _share(self, slot: int) -> dict[str, str]:
        """What a slot may use, as environment variables; a number of threads that is set already stays."""
        if not self._shared:
            return {}
        threads = {"OMP_NUM_THREADS": str(self._cores), "MKL_NUM_THREADS": str(self._cores)}
        share = {name: number for name, number in threads.items() if name not in os.environ}
        return share | ({"CUDA_VISIBLE_DEVICES": self._devices[slot % len(self._devices)]} if len(self._devices) > 1 else {})


class _Process:
    """A job in a process that we started."""

    def __init__(self, process: "subprocess.Popen[bytes]", job: Job, log: Path) -> None:
        self._process, self._job, self._log = process, job, log
        self._stopped_by = 0

    @property
    def over(self) -> bool:
        return self._process.poll() is not None

    def ended(self) -> Outcome | None:
        code = self._process.poll()
        if code is None:
            return None
        with contextlib.suppress(OSError):
            _pipe(self._process).close()
        found = self._job.outcome()
        if found is not None:
            return found
        if self._stopped_by:
            return Outcome(exit_code=128 + self._stopped_by, stopped_by=self._stopped_by)
        if code < 0:
            ended = signal.Signals(-code).name
            why = " (out of memory?)" if ended == "SIGKILL" else ""
            return Outcome(failure=f"its process was ended by {ended}{why}; its messages are in {self._log}", exit_code=128 - code)
        return Outcome(failure=f"its process ended with exit code {code} and no word; its messages are in {self._log}", exit_code=code or UNEXPECTED)

    def stop(self, number: int) -> None:
        self._stopped_by = number
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()


def _pipe(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    assert process.stdin is not None
    return process.stdin


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]


# --- a cluster ------------------------------------------------------------------------------------------------------------------------


class Submitted:
    """What a cluster's machine calls; a job that the cluster takes off is put in the queue again and goes on from its checkpoint."""

    def __call__(self, document: dict[str, Any]) -> dict[str, Any]:
        from transformer_zoo.studies.jobs import perform

        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("transformer_zoo").setLevel(logging.INFO)
        return perform(document)

    def checkpoint(self, document: dict[str, Any]) -> Any:
        """Called by submitit before the machine is taken away."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, document)


class Submitit:
    """Jobs of a SLURM cluster; `local` is the same on this machine, to try it out."""

    def __init__(self, cluster: str, parallel: int, folder: Path, settings: Mapping[str, str]) -> None:
        self.parallel, self._cluster, self._folder = parallel, cluster, folder / JOBS / "cluster"
        self._parameters = ({"timeout_min": DEFAULT_MINUTES} if cluster == "local" else {}) | _parameters(settings)
        self._executor: Any = None
        try:
            with tempfile.TemporaryDirectory() as folder_for_a_try:  # whatever is wrong is told before anything is written
                self._executor_in(Path(folder_for_a_try))
        except RuntimeError as error:  # submitit's word for a machine without the commands of SLURM
            raise ConfigError(f"launcher={cluster}: {_one_line(error)}; start the study on a machine of the cluster") from error
        except (NameError, TypeError, ValueError, AssertionError) as error:
            told = " ".join(f"{SETTINGS}{key}={value}" for key, value in settings.items())
            raise ConfigError(f"launcher={cluster} does not take {told}: {_one_line(error)}") from error

    def _executor_in(self, folder: Path) -> Any:
        import submitit

        executor = submitit.AutoExecutor(folder=folder, cluster=self._cluster)
        executor.update_parameters(**self._parameters)
        return executor

    def start(self, job: Job) -> Task:
        job_file(job)
        self._executor = self._executor or self._executor_in(self._folder)
        return _Submission(self._executor.submit(Submitted(), asdict(job)), job, self._cluster == "local")


class _Submission:
    """A job in a cluster's hands."""

    def __init__(self, submitted: Any, job: Job, local: bool) -> None:
        self._submitted, self._job, self._local = submitted, job, local
        self._stopped_by = 0

    def ended(self) -> Outcome | None:
        found = self._job.outcome()
        if found is not None and not self._local:
            return found  # SLURM itself tells only now and then
        if not self._submitted.done():
            return None
        if found is not None:
            return found
        if self._stopped_by:
            return Outcome(exit_code=128 + self._stopped_by, stopped_by=self._stopped_by)
        said = f"job {self._submitted.job_id} ended as {self._submitted.state} and without a word"
        return self._job.outcome() or Outcome(failure=f"{said}; its messages are in {self._submitted.paths.stderr}", exit_code=UNEXPECTED)

    def stop(self, number: int) -> None:
        self._stopped_by = number
        if self._local:  # submitit's own cancelling leaves a job one second to save
            with contextlib.suppress(OSError):
                os.kill(int(self._submitted.job_id), signal.SIGTERM)
        else:
            self._submitted.cancel(check=False)

    def kill(self) -> None:
        self._submitted.cancel(check=False)


def _parameters(settings: Mapping[str, str]) -> dict[str, Any]:
    """Settings as submitit names them."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = NAMES.get(key, f"slurm_{key}")
        if name in _NUMBERS and not value.isdigit():
            raise ConfigError(f"{SETTINGS}{key}={value}: expected a whole number" + (" of minutes" if key == "timeout" else ""))
        found[name] = int(value) if name in _NUMBERS else value
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

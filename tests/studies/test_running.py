"""Studies as jobs: several at once, in use, of other code, stopped, killed."""

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from transformer_zoo.errors import ConfigError, StoppedError
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.studies.cells import Cell, Study, config_hash
from transformer_zoo.studies.jobs import PARENT, Job, Outcome
from transformer_zoo.studies.measuring import Measuring
from transformer_zoo.studies.running import commands, run
from transformer_zoo.studies.status import status_lines
from transformer_zoo.training.environment import PACKAGE, code_state, source_fingerprint

TINY = ["model=gpt2", "model/size=tiny"]
NOW = code_state(PACKAGE) | {"source": source_fingerprint(PACKAGE)}


def study_of(folder: Path, n_seeds: int = 3) -> Study:
    cells = []
    for seed in range(n_seeds):
        config = experiment([*TINY, f"seed={seed}"])
        name = f"runs/gpt2-seed{seed}-{config_hash(config)}"
        cells.append(Cell(label="gpt2", overrides=[*TINY, f"seed={seed}"], seed=seed, config=config, run=name))
    return Study(folder=folder, kind="ablate", cells=cells)


def leave(folder: Path, config: dict[str, Any], status: str = "done", reason: str = "", **environment: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 500, "tokens": 10, "seconds": 0.1, "validation/loss": 1.0}) + "\n")
    if status == "done":
        (folder / "summary.json").write_text(
            json.dumps({"status": "done", "parameters": 7, "tokens": 10, "seconds": 20.0, "final_evaluation": "loss"})
        )
    (folder / "environment.json").write_text(json.dumps({"code": NOW} | environment))
    (folder / "status.json").write_text(json.dumps({"status": status, "reason": reason}))


class Trainer:
    """Leaves what a run leaves."""

    def __init__(self, **environment: Any) -> None:
        self.trained: list[str] = []
        self.environment = environment

    def __call__(self, config: ExperimentConfig, overrides: Sequence[str]) -> None:
        assert config.run_dir is not None
        self.trained.append(Path(config.run_dir).name)
        leave(Path(config.run_dir), to_dict(config), **self.environment)


def start(study: Study, train: Any = None, **options: Any) -> Study:
    run(study, train or Trainer(), experiment, Measuring({}), **options)
    return study


def told(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "study_status.json").read_text())
    return document


# --- several at once --------------------------------------------------------------------------------------------------------------------


class FakeTask:
    def __init__(self, job: Job, end: Callable[[Job], Outcome | None]) -> None:
        self.job, self._end = job, end
        self.stopped_by = 0
        self.killed = False

    def ended(self) -> Outcome | None:
        if self.stopped_by:
            leave(Path(self.job.run), {}, "preempted", "stopped")
            return Outcome(exit_code=128 + self.stopped_by, stopped_by=self.stopped_by)
        return Outcome(exit_code=137, failure="killed") if self.killed else self._end(self.job)

    def stop(self, number: int) -> None:
        self.stopped_by = number

    def kill(self) -> None:
        self.killed = True


class FakeLauncher:
    """Jobs end as `end` says."""

    def __init__(self, parallel: int, end: Callable[[Job], Outcome | None]) -> None:
        self.parallel, self.end = parallel, end
        self.tasks: list[FakeTask] = []

    def start(self, job: Job) -> FakeTask:
        self.tasks.append(FakeTask(job, self.end))
        return self.tasks[-1]


def finished(job: Job) -> Outcome:
    leave(Path(job.run), {})
    return Outcome()


def test_as_many_jobs_run_at_once_as_asked_for_and_a_failed_one_costs_no_other(tmp_path: Path) -> None:
    most: list[int] = []
    begun: dict[str, float] = {}

    def end(job: Job) -> Outcome | None:
        open_jobs = [one for one in launcher.tasks if not (Path(one.job.run) / "status.json").exists()]
        most.append(len(open_jobs))
        if time.monotonic() - begun.setdefault(job.run, time.monotonic()) < 0.15:
            return None
        if job.seed == 1:
            leave(Path(job.run), {}, "failed")
            return Outcome(failure="loss is nan at step 7", exit_code=4)
        return finished(job)

    launcher = FakeLauncher(2, end)
    study = start(study_of(tmp_path, 4), launcher=launcher)
    assert max(most) == 2
    assert [(cell.seed, cell.failure) for cell in study.failed] == [(1, "loss is nan at step 7")]
    assert study.exit_code == 4
    status = told(tmp_path)
    assert (status["state"], status["counts"]) == ("failed", {"done": 3, "running": 0, "failed": 1, "waiting": 0})
    assert [line.split(" (")[0] for line in status_lines(tmp_path)[1:3]] == [
        "  done     gpt2 seed 0",
        "  failed   gpt2 seed 1: loss is nan at step 7",
    ]


def test_finished_runs_start_no_job(tmp_path: Path) -> None:
    start(study_of(tmp_path, 2))
    launcher = FakeLauncher(2, finished)
    start(study_of(tmp_path, 3), launcher=launcher)
    assert [task.job.seed for task in launcher.tasks] == [2]


def test_a_signal_reaches_all_jobs_which_save_and_the_study_goes_on(tmp_path: Path) -> None:
    def end(job: Job) -> Outcome | None:
        os.kill(os.getpid(), signal.SIGTERM)
        return None

    launcher = FakeLauncher(2, end)
    with pytest.raises(StoppedError, match=r"stopped by SIGTERM: 0 of 3 done, 3 waiting.*the same command goes on") as stopped:
        start(study_of(tmp_path), launcher=launcher)
    assert stopped.value.stopped_exit_code == 143
    assert [task.stopped_by for task in launcher.tasks] == [signal.SIGTERM, signal.SIGTERM]
    assert told(tmp_path)["state"] == "stopped"
    assert "not running now (stopped)" in status_lines(tmp_path)
    again = FakeLauncher(3, finished)
    assert start(study_of(tmp_path), launcher=again).exit_code == 0
    assert len(again.tasks) == 3


def test_an_error_of_ours_leaves_no_job_behind(tmp_path: Path) -> None:
    def end(job: Job) -> Outcome | None:
        if job.seed == 1:
            raise RuntimeError("ours")
        return None

    launcher = FakeLauncher(2, end)
    with pytest.raises(RuntimeError, match="ours"):
        start(study_of(tmp_path), launcher=launcher)
    assert all(task.killed for task in launcher.tasks)


# --- one process at a time --------------------------------------------------------------------------------------------------------------


def test_a_study_in_use_is_one_line(tmp_path: Path) -> None:
    def train(config: ExperimentConfig, overrides: Sequence[str]) -> None:
        with pytest.raises(
            ConfigError, match=f"study_dir={tmp_path} is in use by process {os.getpid()} on .*: wait for it, or choose another study_dir"
        ):
            start(study_of(tmp_path))
        Trainer()(config, overrides)

    assert start(study_of(tmp_path, 1), train).exit_code == 0
    assert start(study_of(tmp_path, 1)).exit_code == 0, "the folder is free again"


KILLED = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_running import Trainer, start, study_of

    def train(config, overrides):
        if config.seed == 1:
            print("in the second run", flush=True)
            time.sleep(60)
        Trainer()(config, overrides)

    start(study_of(Path({folder!r})), train)
"""


def test_a_killed_study_is_told_of_and_goes_on(tmp_path: Path) -> None:
    program = textwrap.dedent(KILLED).format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in the second run\n"
    with pytest.raises(ConfigError, match="is in use by process"):
        start(study_of(tmp_path))
    process.kill()
    process.wait()
    process.stdout.close()
    lines = status_lines(tmp_path)
    assert lines[0].startswith(f"ablate in {tmp_path}: 1 of 3 done, 2 waiting")
    assert lines[-1] == f"not running now: process {process.pid} has ended without a word; the same command goes on where it was"
    trainer = Trainer()
    assert start(study_of(tmp_path), trainer).exit_code == 0
    assert len(trainer.trained) == 2


# --- other code, other data, failures ---------------------------------------------------------------------------------------------------

OTHER = {"code": {"commit": "abcdef0123456", "changed": True, "source": "1234567890abcdef"}}


def test_runs_of_other_code_need_a_decision(tmp_path: Path) -> None:
    start(study_of(tmp_path), Trainer(**OTHER))
    with pytest.raises(ConfigError) as refused:
        start(study_of(tmp_path))
    (line,) = refused.value.problems
    assert "were made by code commit abcdef0 with changes source 12345678, now " in line
    assert f"source {NOW['source'][:8]}" in line
    assert "on_change=keep uses what is there, on_change=repeat makes it again" in line
    kept = Trainer()
    start(study_of(tmp_path), kept, on_change="keep")
    assert kept.trained == []
    repeated = Trainer()
    start(study_of(tmp_path), repeated, on_change="repeat")
    assert len(repeated.trained) == 3
    assert len(list((tmp_path / "runs").glob("*.before-1"))) == 3
    start(study_of(tmp_path))


def test_the_same_source_is_the_same_code_whatever_the_commit(tmp_path: Path) -> None:
    start(study_of(tmp_path), Trainer(code={"commit": "abc", "changed": True, "source": NOW["source"]}))
    start(study_of(tmp_path))


def test_runs_of_other_data_need_a_decision_and_every_data_set_is_opened_once(tmp_path: Path) -> None:
    start(study_of(tmp_path), Trainer(data_fingerprint="0123456789"))
    asked = []

    def fingerprint(config: ExperimentConfig) -> str:
        asked.append(config)
        return "0123456789" if len(asked) == 1 else "9876543210"

    start(study_of(tmp_path), fingerprint=fingerprint)
    assert len(asked) == 1
    with pytest.raises(ConfigError, match="were made by data 01234567, now 98765432; on_change=keep"):
        start(study_of(tmp_path), fingerprint=fingerprint)
    with pytest.raises(ConfigError, match="on_change=ask: expected one of refuse, keep, repeat"):
        start(study_of(tmp_path), on_change="ask")


def test_a_failed_run_keeps_its_reason_and_exit_code_until_somebody_asks_for_another_try(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    launcher = FakeLauncher(1, lambda job: Outcome(failure="loss is nan", exit_code=4) if job.seed == 1 else finished(job))
    assert start(study_of(tmp_path), launcher=launcher).exit_code == 4
    trainer = Trainer()
    left = start(study_of(tmp_path), trainer)
    assert (left.exit_code, left.failed[0].failure, trainer.trained) == (4, "loss is nan", [])
    assert "gpt2 seed 1 failed before: loss is nan (it is left as it is; --retry tries it again)" in caplog.text
    assert start(study_of(tmp_path), trainer, retry=True).exit_code == 0
    assert len(trainer.trained) == 1


def test_commands_are_whole_and_can_be_pasted(tmp_path: Path) -> None:
    study = study_of(tmp_path / "my study", 1)
    (command,) = commands(study)
    folder = tmp_path / "my study" / study.cells[0].run
    assert shlex.split(command) == ["transformer-zoo", "train", "model=gpt2", "model/size=tiny", "seed=0", f"run_dir='{folder}'"]
    study = study_of(tmp_path, 1)
    study.cells[0].phases = [["objective=clm"]]
    with pytest.raises(ConfigError, match="several phases"):
        commands(study)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs=0: expected at least 1"),
        ({"launcher": "sge"}, "launcher=sge: expected one of processes, slurm, submitit_local"),
        ({"settings": {"partition": "gpu"}}, "slurm.partition belongs to launcher=slurm"),
        ({"launcher": "submitit_local", "settings": {"timeout": "1h"}}, "slurm.timeout=1h: expected a whole number of minutes"),
        ({"launcher": "submitit_local", "settings": {"nodes": "2"}}, "does not take slurm.nodes=2"),
        (
            {"launcher": "submitit_local", "settings": {"partitions": "gpu"}},
            "slurm.partitions=gpu: submitit has no such setting; did you mean",
        ),
        ({"launcher": "hydra/basics"}, "launcher=hydra/basics: Hydra knows no such launcher here; did you mean hydra/basic?"),
        ({"launcher": "slurm"}, "launcher=slurm: .*start the study on a machine of the cluster"),
    ],
)
def test_what_cannot_be_run_so_is_refused_before_anything_is_written(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        start(study_of(tmp_path / "s", 1), **options)
    assert not (tmp_path / "s").exists()


# --- real processes ---------------------------------------------------------------------------------------------------------------------

SMALL = ["model=gpt2", "model/size=tiny", "model.n_layers=1", "training.batch_size=2", "final_evaluation=null", "data=pocket", "tokenizer=word"]


def small(folder: Path, *words: str, n_seeds: int = 2) -> Study:
    study = study_of(folder, n_seeds)
    for cell in study.cells:
        cell.overrides = [*SMALL, f"seed={cell.seed}", *words]
        cell.config = experiment(cell.overrides)
    return study


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"jobs": 2}, {"launcher": "submitit_local", "jobs": 2}, {"launcher": "hydra/basic"}, {"launcher": "hydra/submitit_local"}]
)
def test_jobs_in_processes_train_and_their_failures_are_told(options: dict[str, Any], tmp_path: Path) -> None:
    study = small(tmp_path, "training.steps=2")
    study.cells[1].overrides.append("init_from=nowhere")
    start(study, **options)
    assert told(tmp_path)["counts"] == {"done": 1, "running": 0, "failed": 1, "waiting": 0}
    assert "nowhere" in study.failed[0].failure
    assert study.exit_code == 2
    assert (tmp_path / study.cells[0].run / "summary.json").is_file()


@pytest.mark.slow
def test_a_job_that_ends_at_once_does_not_die_of_its_watch(tmp_path: Path) -> None:
    program = "from transformer_zoo.studies.jobs import end_with_parent; end_with_parent()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {PARENT: "1"}) as process:
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"jobs": 2}, {"launcher": "submitit_local", "jobs": 2}, {"launcher": "hydra/basic"}])
def test_stopped_jobs_save_and_go_on(options: dict[str, Any], tmp_path: Path) -> None:
    study = small(tmp_path, "training.steps=100000", "training.log_every=1")
    stop_when_training(study)
    with pytest.raises(StoppedError, match="stopped by SIGINT") as stopped:
        start(study, **options)
    assert stopped.value.stopped_exit_code == 130
    for cell in study.cells:
        run_folder = tmp_path / cell.run
        assert json.loads((run_folder / "status.json").read_text())["status"] == "preempted"
        assert any((run_folder / "checkpoints").glob("step-*"))


def stop_when_training(study: Study) -> None:
    """SIGINT to this process once all runs take steps."""

    def watch() -> None:
        while not all((study.folder / cell.run / "metrics.jsonl").exists() for cell in study.cells):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


@pytest.mark.slow
def test_jobs_of_a_killed_study_save_and_end(tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_running import small, start
        start(small(Path({str(tmp_path)!r}), "training.steps=100000", "training.log_every=1"), jobs=2)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    folders = [tmp_path / cell.run for cell in small(tmp_path, "training.steps=100000", "training.log_every=1").cells]
    while not all((folder / "metrics.jsonl").exists() for folder in folders):
        assert process.poll() is None
        time.sleep(0.1)
    process.kill()
    process.wait()
    end = time.monotonic() + 30
    while any(json.loads((folder / "status.json").read_text())["status"] == "running" for folder in folders):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert all(any((folder / "checkpoints").glob("step-*")) for folder in folders)

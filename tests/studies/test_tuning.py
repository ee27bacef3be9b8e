"""Tuning: the same number of trials for everybody, hopeless ones stopped, continued after a stop, edges told."""

import importlib.util
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from transformer_zoo.errors import ConfigError, MissingExtraError, NumericError, StoppedError
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.spans import Span
from transformer_zoo.studies import pool
from transformer_zoo.studies.cells import Study
from transformer_zoo.studies.jobs import Job, Outcome, guarded, make_trial
from transformer_zoo.studies.launching import Launcher
from transformer_zoo.studies.status import status_lines
from transformer_zoo.studies.study import Doors, ablate
from transformer_zoo.studies.trials import tune
from transformer_zoo.studies.tuning import HOPELESS, SEED_OFFSET, Search, TrainTrial, Trial, Tuned, Tuning, kept_trials, verdict
from transformer_zoo.training.rundir import hold, let_go

TINY = ["model=gpt2", "model/size=tiny"]
RATE = Span(low=1e-4, high=1e-1, logarithmic=True, whole=False)
BEST = 0.003


class Trials:
    """Leaves what a trial leaves: ten evaluations, the better the nearer the learning rate is to the best."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.configs: list[ExperimentConfig] = []
        self.stop_at = stop_at

    def __call__(self, config: ExperimentConfig, overrides: Sequence[str], ask: Callable[[], str]) -> None:
        assert config.run_dir is not None
        self.configs.append(config)
        if len(self.configs) == self.stop_at:
            raise StoppedError("stopped by SIGTERM", signal.SIGTERM)
        rate = config.optimizer.lr  # type: ignore[attr-defined]
        if rate > 0.05:
            raise NumericError("loss is nan at step 7")
        folder = Path(config.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
        (folder / "metrics.jsonl").write_text("")
        (folder / "checkpoints" / "step-1").mkdir(parents=True)
        reason = "the budget is spent"
        for step in range(1, 11):
            with (folder / "metrics.jsonl").open("a") as lines:
                lines.write(json.dumps({"step": step, "validation/loss": abs(rate - BEST) + 1 / step}) + "\n")
            if told := ask():
                reason = told
                break
        (folder / "status.json").write_text(json.dumps({"status": "done", "reason": reason}))


def tuned_alone(tuning: Tuning, folder: Path, train: TrainTrial, *, label: str, seed: int) -> Tuned:
    """One contestant, one trial after another."""
    (found,) = tune(Study(folder=folder, kind="ablate", cells=[]), [Search(tuning, folder, experiment, seed, label, TINY)], train, experiment)
    return found


def refused(config: ExperimentConfig, overrides: Sequence[str], ask: Callable[[], str] | None = None) -> None:
    """Trains nothing."""
    raise ConfigError("nothing was to be trained")


def test_every_value_of_a_list_is_tried_once_and_the_best_is_chosen(tmp_path: Path) -> None:
    train = Trials()
    tuned = tuned_alone(Tuning(values={"optimizer.lr": ["0.0003", "0.003", "0.03"]}), tmp_path, train, label="a", seed=4)
    assert [config.optimizer.lr for config in train.configs] == [0.0003, 0.003, 0.03]  # type: ignore[attr-defined]
    assert (tuned.words, tuned.warnings) == (["optimizer.lr=0.003"], [])
    assert {config.seed for config in train.configs} == {4 + SEED_OFFSET}
    assert all(config.final_evaluation is None for config in train.configs)
    assert [path.name for path in sorted(tmp_path.glob("tuning/*/*"))] == ["trial-1", "trial-2", "trial-3", "trials.json"]
    assert list(tmp_path.glob("tuning/*/*/checkpoints")) == [], "the weights of trials are nobody's result"


def test_fewer_trials_than_values_are_drawn_from_them(tmp_path: Path) -> None:
    train = Trials()
    tuned_alone(Tuning(values={"optimizer.lr": ["0.001", "0.002", "0.003", "0.004"]}, trials=3), tmp_path, train, label="a", seed=0)
    assert len({config.optimizer.lr for config in train.configs}) == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(("values", "end"), [(["0.003", "0.01", "0.02"], "lowest"), (["0.0001", "0.001"], "highest")])
def test_a_best_value_at_the_edge_is_told(tmp_path: Path, values: list[str], end: str) -> None:
    tuned = tuned_alone(Tuning(values={"optimizer.lr": values}), tmp_path, Trials(), label="gpt", seed=0)
    (warning,) = tuned.warnings
    assert warning == f"gpt: optimizer.lr={tuned.chosen['optimizer.lr']} is the {end} value tried; a better one may lie beyond: widen the range"


def test_a_range_is_searched_and_a_stopped_search_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    tuning = Tuning(spans={"optimizer.lr": RATE}, trials=8)
    whole = tuned_alone(tuning, tmp_path / "whole", Trials(), label="a", seed=0)
    with pytest.raises(StoppedError):
        tuned_alone(tuning, tmp_path / "cut", Trials(stop_at=6), label="a", seed=0)
    rest = Trials()
    cut = tuned_alone(tuning, tmp_path / "cut", rest, label="a", seed=0)
    assert len(rest.configs) == 3, "five trials were kept"
    assert [one.values for one in cut.trials] == [one.values for one in whole.trials]
    assert len({one.values["optimizer.lr"] for one in whole.trials}) == 8
    assert all(1e-4 <= float(one.values["optimizer.lr"]) <= 1e-1 for one in whole.trials)
    best = min((one for one in whole.trials if one.status == "done"), key=lambda one: one.score or 0)
    assert whole.chosen == best.values


def test_a_trial_that_diverged_is_no_candidate(tmp_path: Path) -> None:
    tuned = tuned_alone(Tuning(values={"optimizer.lr": ["0.001", "0.01", "0.08"]}), tmp_path, Trials(), label="a", seed=0)
    assert [(one.status, one.reason) for one in tuned.trials][-1] == ("failed", "loss is nan at step 7")
    with pytest.raises(ConfigError, match=r"b: none of the 2 trials of optimizer.lr came to its end \(loss is nan at step 7\)"):
        tuned_alone(Tuning(values={"optimizer.lr": ["0.08", "0.09"]}), tmp_path, Trials(), label="b", seed=0)


def test_hopeless_trials_are_stopped_early_and_cannot_win(tmp_path: Path) -> None:
    values = ["0.002", "0.003", "0.004", "0.04", "0.005"]
    tuned = tuned_alone(Tuning(values={"optimizer.lr": values}), tmp_path, Trials(), label="a", seed=0)
    assert [one.status for one in tuned.trials] == ["done", "done", "done", "hopeless", "hopeless"]
    assert len(tuned.trials[3].curve) == 3
    assert tuned.trials[3].reason.startswith(f"{HOPELESS}validation/loss 0.3703 at evaluation 3 is worse than 0.3343, the median of 3 earlier trials")


def test_no_trial_is_stopped_before_enough_is_known() -> None:
    before = [Trial(values={}, curve=[1.0] * 5) for _ in range(3)]
    assert verdict([9.0, 9.0], before) == ""
    assert verdict([9.0] * 3, before[:2]) == ""
    assert verdict([9.0] * 3, before) != ""
    assert verdict([9.0, 9.0, 1.0], before) == ""
    assert verdict([9.0] * 3, [*before[:2], Trial(values={}, curve=[1.0])]) == "", "one that came less far says nothing"


def test_a_range_without_optuna_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"optimizer.lr over a range needs the package 'optuna': pip install 'transformer-zoo\[tune\]'"):
        ablate(
            {"model.dropout": ["0.1", "0.2"]},
            TINY,
            tuning=Tuning(spans={"optimizer.lr": RATE}),
            folder=tmp_path / "s",
            doors=Doors(train_trial=Trials(), train=refused),
        )
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        (Tuning(values={"optimizer.lr": ["0.1"]}), r"tune=optimizer.lr: one value \(0.1\) leaves nothing to tune"),
        (Tuning(values={"optimizer.lr": ["0.1", "0.2"]}, trials=0), "trials=0: expected at least 1"),
        (Tuning(values={"model.dropout": ["0.1", "0.2"]}), "tune=model.dropout: is varied as well"),
    ],
)
def test_what_cannot_be_tuned_is_refused(tuning: Tuning, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        ablate({"model.dropout": ["0.1", "0.2"]}, TINY, tuning=tuning, folder=tmp_path / "s", doors=Doors(train_trial=Trials(), train=refused))


def test_every_contestant_gets_as_many_trials_and_its_runs_use_what_was_chosen(tmp_path: Path) -> None:
    trials, runs = Trials(), []

    def train(config: ExperimentConfig, overrides: Sequence[str]) -> None:
        runs.append(config)
        Trials()(config, overrides, lambda: "")
        folder = Path(str(config.run_dir))
        (folder / "summary.json").write_text(json.dumps({"status": "done", "metrics": {"final": {"validation/loss": 1.0}}}))

    given: Any = {"tuning": Tuning(values={"optimizer.lr": ["0.001", "0.003", "0.01"]}), "seeds": 2, "folder": tmp_path / "s"}
    doors = Doors(train=train, train_trial=trials)
    study = ablate({"model.dropout": ["0.1", "0.2"]}, TINY, doors=doors, **given)
    assert study.exit_code == 0
    dropouts = [config.model.dropout for config in trials.configs]  # type: ignore[attr-defined]
    assert dropouts == [0.1] * 3 + [0.2] * 3
    assert [(config.seed, config.optimizer.lr) for config in runs] == [(0, 0.003), (1, 0.003)] * 2  # type: ignore[attr-defined]
    told = yaml.safe_load((tmp_path / "s" / "study.yaml").read_text())
    assert [one["chosen"] for one in told["tuned"]] == [{"optimizer.lr": "0.003"}] * 2
    assert [len(one["trials"]) for one in told["tuned"]] == [3, 3]
    assert "&id" not in (tmp_path / "s" / "study.yaml").read_text()
    assert "optimizer.lr" in told["declared"]
    ablate({"model.dropout": ["0.1", "0.2"]}, TINY, doors=doors, **given)
    assert (len(trials.configs), len(runs)) == (6, 4), "neither trials nor runs are repeated"
    plan = ablate({"model.dropout": ["0.1", "0.2"]}, TINY, doors=doors, plan=True, **given)
    assert plan.tuned == [{"keys": {"optimizer.lr": ["0.001", "0.003", "0.01"]}, "trials": 3}]


def test_a_study_that_another_process_works_on_is_not_tuned(tmp_path: Path) -> None:
    lock = hold(tmp_path, "study_dir")
    try:
        with pytest.raises(ConfigError, match=r"study_dir=.* is in use by"):
            ablate({}, TINY, tuning=Tuning(values={"optimizer.lr": ["0.001", "0.003"]}), folder=tmp_path, doors=Doors(train_trial=Trials()))
    finally:
        let_go(lock)


# --- several contestants at once --------------------------------------------------------------------------------------------------------


class Jobs:
    """A launcher whose jobs are made here, when they are asked for the third time whether they have ended."""

    parallel = 2

    def __init__(self, train: TrainTrial, stop_at: int | None = None) -> None:
        self.train, self.stop_at = train, stop_at
        self.open: list[str] = []
        self.most: list[list[str]] = []

    def start(self, job: Job) -> "Asked":
        self.open.append(job.label)
        self.most.append(list(self.open))
        if len(self.most) == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return Asked(job, self)


class Asked:
    def __init__(self, job: Job, jobs: Jobs) -> None:
        self.job, self.jobs, self.asked, self.stopped_by = job, jobs, 0, 0

    def ended(self) -> Outcome | None:
        self.asked += 1
        if self.stopped_by:
            return Outcome(exit_code=128 + self.stopped_by, stopped_by=self.stopped_by)
        if self.asked < 3:
            return None
        self.jobs.open.remove(self.job.label)
        job = self.job
        return guarded(job.title, lambda: make_trial(Path(job.run), job.title, job.overrides, Path(job.trials), self.jobs.train, experiment))

    def stop(self, number: int) -> None:
        self.stopped_by = number

    def kill(self) -> None:
        self.stopped_by = signal.SIGKILL


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_POLL", 0.0)


def three(folder: Path, tuning: Tuning, train: TrainTrial, launcher: Launcher | None = None) -> list[Tuned]:
    searches = [Search(tuning, folder, experiment, 0, f"d{n}", [*TINY, f"model.dropout=0.{n}"]) for n in (1, 2, 3)]
    return tune(Study(folder=folder, kind="ablate", cells=[]), searches, train, experiment, launcher=launcher)


LISTED = Tuning(values={"optimizer.lr": ["0.002", "0.003", "0.004", "0.04", "0.08"]})


@pytest.mark.usefixtures("quick")
def test_contestants_are_tuned_at_once_the_trials_of_each_in_turn_and_nothing_else_comes_out(tmp_path: Path) -> None:
    alone = three(tmp_path / "alone", LISTED, Trials())
    launcher = Jobs(Trials())
    together = three(tmp_path / "together", LISTED, refused, launcher)
    assert [found.trials for found in together] == [found.trials for found in alone]
    assert [found.chosen for found in together] == [found.chosen for found in alone]
    assert [one.status for one in together[0].trials] == ["done", "done", "done", "hopeless", "failed"]
    assert max(map(len, launcher.most)) == 2, "as many as the launcher takes"
    assert all(len(set(labels)) == len(labels) for labels in launcher.most), "never two of one contestant"
    assert len(launcher.most) == 15


@pytest.mark.usefixtures("quick")
@pytest.mark.slow
def test_a_signal_stops_all_trials_which_go_on_where_they_were(tmp_path: Path) -> None:
    tuning = Tuning(spans={"optimizer.lr": RATE}, trials=6)
    pytest.importorskip("optuna")
    whole = three(tmp_path / "whole", tuning, Trials())
    with pytest.raises(
        StoppedError, match=r"stopped by SIGTERM: tuning: \d+ of 18 trials done, .*waiting; runs: .*the same command goes on"
    ) as stopped:
        three(tmp_path / "cut", tuning, refused, Jobs(Trials(), stop_at=7))
    assert stopped.value.stopped_exit_code == 143
    lines = status_lines(tmp_path / "cut")
    assert "not running now (stopped)" in lines
    assert any(line.startswith(("  done     d1 trial 1", "  failed   d1 trial 1")) for line in lines)
    kept = [trial for file in (tmp_path / "cut").glob("tuning/*/trials.json") for trial in kept_trials(file) if trial.status != "running"]
    launcher = Jobs(Trials())
    assert [one.chosen for one in three(tmp_path / "cut", tuning, refused, launcher)] == [one.chosen for one in whole]
    assert len(launcher.most) == 18 - len(kept) < 18
    assert json.loads((tmp_path / "cut" / "study_status.json").read_text())["trial_counts"]["waiting"] == 0


@pytest.mark.usefixtures("quick")
@pytest.mark.slow
def test_a_trial_that_fails_for_another_reason_ends_the_tuning_and_costs_no_other(tmp_path: Path) -> None:
    def train(config: ExperimentConfig, overrides: Sequence[str], ask: Callable[[], str]) -> None:
        if config.model.dropout == 0.2:  # type: ignore[attr-defined]
            raise RuntimeError("out of\nluck")
        Trials()(config, overrides, ask)

    with pytest.raises(ConfigError, match=r"d2: trial 1 of 5, optimizer.lr=0.002: RuntimeError: out of luck; the trials so far are kept"):
        three(tmp_path, LISTED, refused, Jobs(train))
    launcher = Jobs(Trials())
    assert len(three(tmp_path, LISTED, refused, launcher)) == 3
    assert len(launcher.most) == 14, "the other one's trial was brought to its end"


SMALL = ["model=gpt2", "model/size=tiny", "model.n_layers=1", "training.batch_size=2", "training.steps=2"]


@pytest.mark.slow
def test_trials_in_processes_come_to_what_they_come_to_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [*SMALL, "data=pocket", "tokenizer=word", "evaluation.max_samples=4", "final_evaluation=null"]

    def tuned(name: str, **running: int) -> Any:
        tuning = Tuning(values={"optimizer.lr": ["0.001", "0.1"]})
        study = ablate({"model.dropout": ["0.0", "0.1"]}, words, tuning=tuning, folder=tmp_path / name, doors=Doors(running=running))
        assert study.exit_code == 0
        return study.tuned

    alone, together = tuned("alone"), tuned("together", jobs=2)
    assert alone == together
    assert len(list((tmp_path / "together" / "jobs").glob("tuning-*-trial-?.log"))) == 4

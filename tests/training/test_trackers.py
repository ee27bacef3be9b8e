"""Trackers never stand in the way: no network, no prompt, one warning for any failure."""

import builtins
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from training.tiny import train
from transformer_zoo.errors import ConfigError, MissingExtraError
from transformer_zoo.training.metrics import read_metrics
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.trackers import Guarded, JSONLConfig, TensorBoardConfig, Tracker, TrackerConfig, WandbConfig

SHORT = TrainingConfig(steps=4, log_every=2)


class Failing(Tracker):
    def __init__(self, at: str) -> None:
        self.at, self.calls = at, []

    def _do(self, what: str) -> None:
        self.calls.append(what)
        if what == self.at:
            raise OSError("the service\nis gone")

    def start(self, run: Path, config: Any) -> None:
        self._do("start")

    def log(self, step: int, values: Any) -> None:
        self._do("log")

    def finish(self, status: str) -> None:
        self._do("finish")


class FailingConfig(TrackerConfig):
    def __init__(self, at: str) -> None:
        self.tracker = Failing(at)

    def build(self) -> Tracker:
        return Guarded("thing", self.tracker)


@pytest.mark.parametrize("at", ["start", "log", "finish"])
def test_a_failure_is_one_warning(tmp_path: Path, at: str, caplog: pytest.LogCaptureFixture) -> None:
    config = FailingConfig(at)
    train(tmp_path, training=SHORT, tracker=config)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["thing failed and is left out from here on (the service); metrics.jsonl is complete"]
    assert config.tracker.calls.count(at) == 1
    assert config.tracker.calls[-1] == at
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl") if "train/loss" in line] == [1, 2, 4]


def test_the_default_keeps_nothing_besides(tmp_path: Path) -> None:
    train(tmp_path, training=SHORT, tracker=JSONLConfig())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "checkpoints", "metrics.jsonl", "status.json", "summary.json"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_files_hold_the_metrics(tmp_path: Path) -> None:
    train(tmp_path, training=SHORT, tracker=TensorBoardConfig())
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    told = [(event.step, event.value) for event in events.Scalars("train/loss")]
    lines = [line for line in read_metrics(tmp_path / "metrics.jsonl") if "train/loss" in line]
    assert told == [(line["step"], pytest.approx(line["train/loss"], rel=1e-6)) for line in lines]
    assert "validation/loss" in events.Tags()["scalars"]


def test_missing_tensorboard_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def hidden(name: str, *arguments: Any, **settings: Any) -> Any:
        if name == "tensorboard":
            raise ImportError(name)
        return real(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", hidden)
    with pytest.raises(MissingExtraError) as caught:
        TensorBoardConfig().build()
    assert str(caught.value) == "tracker=tensorboard needs the package 'tensorboard': pip install 'transformer-zoo[tensorboard]'"


class FakeWandb:
    """Stands in for the package: remembers how it was called."""

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.exit_code: int | None = None

    def Settings(self, **settings: Any) -> dict[str, Any]:  # noqa: N802
        return settings

    def init(self, **arguments: Any) -> "FakeWandb":
        self.arguments = arguments
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.lines.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


def test_wandb_is_offline_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(__import__("sys").modules, "wandb", fake)
    train(tmp_path, training=SHORT, tracker=WandbConfig(project="p"))
    assert (fake.arguments["mode"], fake.arguments["project"], fake.arguments["dir"]) == ("offline", "p", str(tmp_path))
    assert {step for step, _ in fake.lines} == {1, 2, 3, 4}
    assert any("train/loss" in values for _, values in fake.lines)
    assert fake.exit_code == 0


def test_wandb_online_without_a_key_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=r"needs an API key: set WANDB_API_KEY, run `wandb login`, or use tracker.mode=offline"):
        WandbConfig(mode="online").build()
    (tmp_path / "none").write_text("machine api.wandb.ai login user password secret")
    assert isinstance(WandbConfig(mode="online").build(), Guarded)


@pytest.mark.slow
def test_the_real_wandb_offline(tmp_path: Path) -> None:
    """No network, no account, no prompt; its files are in the run folder."""
    train(tmp_path, training=SHORT, tracker=WandbConfig())
    assert list((tmp_path / "wandb").glob("offline-run-*"))
    assert json.loads((tmp_path / "status.json").read_text())["status"] == "done"

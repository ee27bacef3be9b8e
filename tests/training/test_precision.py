"""Devices and formats that are not there are refused in one line; a compiler that fails is left out."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from training.tiny import train
from transformer_zoo.errors import ConfigError
from transformer_zoo.training.metrics import read_metrics
from transformer_zoo.training.parallel import Replica, World
from transformer_zoo.training.precision import Precision, resolve_device
from transformer_zoo.training.settings import TrainingConfig

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_cuda_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"device=cuda: no CUDA device is usable here .*; use device=cpu or device=auto"):
        resolve_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x"])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"device={name}: .*use auto, cpu, cuda, cuda:N or mps"):
        resolve_device(name)


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto", World(rank=5, size=8, local_rank=1)) == torch.device("cuda", 1)
    assert resolve_device("cuda:0", World(local_rank=1)) == torch.device("cuda", 0)
    with pytest.raises(ConfigError, match="this machine has 2 CUDA devices"):
        resolve_device("cuda", World(local_rank=2))


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    with pytest.raises(ConfigError, match="device=mps: no Apple GPU is usable here"):
        resolve_device("mps")


def test_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Precision("auto", CPU).name == "fp32"
    with Precision("bf16", CPU).autocast():
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16
    with Precision("fp32", CPU).autocast():
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32
    cuda = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "old card")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert Precision("auto", cuda).name == "fp32"
    with pytest.raises(ConfigError, match=r"training\.precision=bf16: old card cannot; use training\.precision=fp32"):
        Precision("bf16", cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert Precision("auto", cuda).name == "bf16"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiler_that_fails_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise ValueError("no C++ compiler")

    compiling = Replica.compile
    monkeypatch.setattr(Replica, "compile", lambda self: compiling(self, backend=broken))
    train(tmp_path / "plain", training=TrainingConfig(steps=3, log_every=1))
    train(tmp_path / "compiled", training=TrainingConfig(steps=3, log_every=1, compile=True))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING and "compile" in record.getMessage()]
    assert len(warnings) == 1
    assert warnings[0].startswith("training.compile=true does not work here and is left out (")
    losses = [[line["train/loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl") if "lr" in line] for name in ("plain", "compiled")]
    assert losses[0] == losses[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_step_computes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiling = Replica.compile
    monkeypatch.setattr(Replica, "compile", lambda self: compiling(self, backend="eager"))
    trainer, _ = train(tmp_path / "compiled", training=TrainingConfig(steps=3, log_every=1, compile=True))
    assert trainer.stepper.replica._eager is not None
    train(tmp_path / "plain", training=TrainingConfig(steps=3, log_every=1))
    losses = [[line["train/loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl") if "lr" in line] for name in ("plain", "compiled")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_other_errors_of_the_model_are_not_taken_for_the_compilers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def wrong(module: Any, mode: Any = None, backend: Any = None) -> Any:
        def call(example: Any) -> Any:
            raise RuntimeError("shapes do not fit")

        return call

    monkeypatch.setattr(torch, "compile", wrong)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(tmp_path, training=TrainingConfig(steps=3, compile=True))

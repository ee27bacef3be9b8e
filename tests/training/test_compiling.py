"""Whether a model is compiled: as one says, or where it gains something; and what becomes of a compiler that is not there."""

import logging
from pathlib import Path

import pytest
import torch

from training.tiny import train
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import compose
from transformer_zoo.training import compiling
from transformer_zoo.training.compiling import choose
from transformer_zoo.training.metrics import read_metrics
from transformer_zoo.training.settings import TrainingConfig

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def test_as_one_says() -> None:
    assert str(choose(True, CPU)) == "compiled: training.compile=true"
    assert str(choose(False, CUDA)) == "not compiled: training.compile=false"


@pytest.mark.parametrize(
    ("device", "triton", "capability", "expected"),
    [
        (CPU, True, (9, 0), "not compiled: training.compile=auto compiles on CUDA only, where it gains something; this is cpu"),
        (CUDA, True, (9, 0), "compiled: training.compile=auto finds a CUDA device and triton"),
        (CUDA, True, (7, 0), "compiled: training.compile=auto finds a CUDA device and triton"),
        (CUDA, True, (6, 1), "not compiled: training.compile=auto finds a device of compute capability 6.1, below 7.0"),
        (CUDA, False, (9, 0), "not compiled: training.compile=auto finds no triton, which writes the kernels: install triton"),
    ],
)
def test_auto(device: torch.device, triton: bool, capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "find_spec", lambda name: object() if triton and name == "triton" else None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert str(choose("auto", device)) == expected


@pytest.mark.parametrize(("word", "value"), [("true", True), ("false", False), ("auto", "auto")])
def test_the_setting(word: str, value: bool | str) -> None:
    assert compose.experiment(["model/size=tiny", f"training.compile={word}"]).training.compile == value


def test_the_default_is_auto_and_other_words_are_refused() -> None:
    assert compose.experiment(["model/size=tiny"]).training.compile == "auto"
    with pytest.raises(ConfigError, match=r"training\.compile: expected true or false or auto, got the text 'fast'"):
        compose.experiment(["model/size=tiny", "training.compile=fast"])


def test_a_run_on_a_cpu_is_not_compiled(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "transformer_zoo"):
        trainer, _ = train(tmp_path, training=TrainingConfig(steps=1))
    assert not trainer.stepper.replica.compiled
    assert "the model is not compiled: training.compile=auto compiles on CUDA only" in caplog.text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
def test_without_a_cpp_compiler_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    import torch._inductor.config as inductor

    torch.compiler.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    with inductor.patch({"cpp.cxx": (None, str(tmp_path / "no compiler"))}):
        trainer, summary = train(tmp_path / "compiled", training=TrainingConfig(steps=3, log_every=1, compile=True))
    torch.compiler.reset()
    assert summary["status"] == "done"
    assert "training.compile=true does not work here and is left out (InvalidCxxCompiler: No working C++ compiler found" in caplog.text
    assert str(trainer.stepper.replica.compilation).startswith("not compiled: the compiler failed (InvalidCxxCompiler: No working C++ compiler")
    train(tmp_path / "plain", training=TrainingConfig(steps=3, log_every=1))
    losses = [[line["train/loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl") if "lr" in line] for name in ("plain", "compiled")]
    assert losses[0] == losses[1], "the failed attempt must not have drawn from the generators"

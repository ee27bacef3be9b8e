"""What a person and a program can read of a run while it goes on."""

import io as stdio
import json
import logging
from pathlib import Path

import pytest
import torch

from training.tiny import train
from transformer_zoo.training.environment import code_state, environment, peak_memory_bytes
from transformer_zoo.training.metrics import MetricsFile, read_metrics
from transformer_zoo.training.progress import Progress, short
from transformer_zoo.training.settings import TrainingConfig


def test_lines_are_json_without_nan(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.append(step=1, tokens=10, seconds=0.12345, values={"a": 1.5, "b": float("nan"), "c": float("inf")})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {
        "step": 1, "tokens": 10, "seconds": 0.123, "a": 1.5, "b": None, "c": None, "not_finite": ["b", "c"],
    }  # fmt: skip


def test_later_and_broken_lines_are_cut(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.drop_after(3)
    for step in (1, 2, 3, 4):
        file.append(step=step, tokens=0, seconds=0, values={"a": step})
    with file.path.open("a") as stream:
        stream.write('{"step": 2, "a"')
    assert [line["step"] for line in read_metrics(file.path)] == [1, 2, 3, 4]
    file.drop_after(2)
    assert [line["step"] for line in read_metrics(file.path)] == [1, 2]


def test_a_terminal_gets_a_bar_with_loss_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import rich.console

    screen = stdio.StringIO()
    real = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda stderr: real(file=screen, force_terminal=True, width=200))
    progress = Progress(bar=True)
    progress.start(0.0)
    progress.show(5, 0.5, {"train/loss": 1.25, "tokens_per_second": 1234.5})
    progress.advance(0.6)
    progress.say("evaluating")
    progress.stop()
    for text in ("training", "60%", "loss 1.25", "tokens/s 1234", "step 5", "left", "evaluating"):
        assert text in screen.getvalue()


def test_elsewhere_plain_lines_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.INFO, logger="transformer_zoo"):
        train(tmp_path, training=TrainingConfig(steps=4, log_every=2))
    lines = [record for record in caplog.records if record.name.endswith("progress")]
    begun = [line.getMessage().split("  ")[0] for line in lines if "loss/token" in line.getMessage()]
    assert begun == ["step 1 (25%)", "step 2 (50%)", "step 4 (100%)"]
    assert all(line.in_bar for line in lines)  # type: ignore[attr-defined]
    assert capsys.readouterr() == ("", "")


def test_short_names() -> None:
    assert [short(name) for name in ("train/loss", "validation/loss", "tokens_per_second", "lr")] == ["loss", "val loss", "tokens/s", "lr"]


def test_the_environment_tells_what_a_result_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = environment(device=torch.device("cpu"), world_size=2, seed=7, plugins=["my_lab"])
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0] or facts["versions"]["torch"] == torch.__version__
    assert facts["versions"]["transformer-zoo"]
    assert facts["machine"]["usable_cores"] >= 1
    assert (facts["device"]["type"], facts["threads"], facts["world_size"], facts["seed"], facts["plugins"]) == ("cpu", 1, 2, 7, ["my_lab"])
    json.dumps(facts)


def test_code_outside_a_repository_has_no_state(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").touch()
    assert code_state(tmp_path) == {}


def test_peak_memory_is_that_of_the_process() -> None:
    before = peak_memory_bytes(torch.device("cpu"))
    block = torch.ones(20_000_000)
    assert peak_memory_bytes(torch.device("cpu")) >= before > 10_000_000
    del block

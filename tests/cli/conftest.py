"""The command line called in this process: what it prints, what it says, and its exit code."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from transformer_zoo.cli.main import main
from transformer_zoo.studies import planning


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Zoo = Callable[..., Outcome]


@pytest.fixture
def zoo(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Calls the command line in an empty folder of its own."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TRANSFORMER_ZOO_PLUGINS", raising=False)

    def call(*words: str) -> Outcome:
        capsys.readouterr()
        code = main(list(words))
        told = capsys.readouterr()
        return Outcome(code, told.out, told.err)

    return call


@pytest.fixture(autouse=True)
def priced_plans(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What every plan is said to cost. Pricing takes data and seconds, and is tested where it is made."""
    found = {"contestants": [], "seconds": 90.0, "runs": 0, "basis": "a guess"}
    monkeypatch.setattr(planning, "estimate", lambda *_: found)
    return found

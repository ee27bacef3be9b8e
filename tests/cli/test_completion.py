"""What Tab offers, also in a real shell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from transformer_zoo.cli.completion import ROOT_KEYS, SCRIPTS, candidates
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import field_types


@pytest.mark.parametrize(
    ("before", "word", "expected"),
    [
        ([], "tr", ["train "]),
        ([], "--v", ["--version "]),
        (["train"], "--mu", ["--multirun "]),
        (["train"], "mod", ["model="]),
        (["train"], "model/pos", ["model/positions="]),
        (["train"], "model/positions=ro", ["model/positions=rotary "]),
        (["train"], "+model/positions@model.decoder.positions=ro", ["+model/positions@model.decoder.positions=rotary "]),
        (["train", "model=gpt2"], "model/size=x", ["model/size=xl "]),
        (["train", "model=bert"], "model/size=x", []),
        (["compare"], "model=bert,rob", ["model=bert,roberta "]),
        (["compare"], "ma", ["match="]),
        (["train"], "training.stea", []),
        (["train"], "training.step", ["training.steps="]),
        (["train", "optimizer=sgd"], "optimizer.nes", ["optimizer.nesterov="]),
        (["train", "optimizer=sgd"], "optimizer.nesterov=", ["optimizer.nesterov=true ", "optimizer.nesterov=false "]),
        (["train"], "device=c", ["device=cpu ", "device=cuda "]),
        (["train"], "training.precision=b", ["training.precision=bf16 "]),
        (["list"], "model/norm_", ["model/norm_placement "]),
        (["list"], "model/norm=l", ["model/norm=layernorm "]),
        (["completion"], "z", ["zsh "]),
        (["nonsense"], "a", []),
        (["report"], "a", []),
        (["--plugin", "a.b", "train"], "see", ["seed="]),
    ],
)
def test_candidates(before: list[str], word: str, expected: list[str]) -> None:
    assert candidates(before, word) == expected


def test_the_first_offer_is_short() -> None:
    offered = candidates(["train"], "")
    assert {"model=", "data=", "seed=", "experiment="} <= set(offered)
    assert not any("/" in one for one in offered)


def test_runs_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.yaml").touch()
    assert candidates(["evaluate"], "run=") == ["run=runs/mine "]


def test_the_keys_outside_groups_are_the_experiments() -> None:
    plain = [name for name, hint in field_types(ExperimentConfig).items() if name in ROOT_KEYS]
    assert sorted(plain) == sorted(ROOT_KEYS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(("line", "expected"), [("train model/positions=ro", ["model/positions=rotary "]), ("tr", ["train "])])
def test_the_script_works_in_bash(tmp_path: Path, line: str, expected: list[str]) -> None:
    command = tmp_path / "transformer-zoo"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m transformer_zoo "$@"\n')
    command.chmod(0o755)
    words = " ".join(f"'{word}'" for word in ["transformer-zoo", *line.split()])
    script = f"{SCRIPTS['bash']}\nCOMP_WORDS=({words}); COMP_CWORD={len(line.split())}; _transformer_zoo; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.splitlines() == expected

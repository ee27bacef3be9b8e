"""The entry: help, mistakes, exit codes, and what it must not import."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from transformer_zoo import __version__
from transformer_zoo.cli import actions
from transformer_zoo.cli.commands import COMMANDS
from transformer_zoo.errors import CheckpointError, DataError, NumericError, StoppedError
from transformer_zoo.experiments import compose

Zoo = Any
"""What the fixture `zoo` gives: call it with words, get code, out, err and lines."""

LIGHT = [
    ["--help"],
    ["--version"],
    ["train", "--help"],
    ["list"],
    ["list", "model/positions"],
    ["list", "--json"],
    ["completion", "bash"],
    ["_complete", "tr"],
    ["_complete", "train", "model/pos"],
    ["_complete", "train", "model/positions=ro"],
    ["_complete", "train", "model=gpt2", "model/size="],
    ["train", "--nonsense"],
    ["nonsense"],
]


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_quick_answers_import_nothing_heavy(words: list[str]) -> None:
    """Half a second is what Python needs to start, if nothing else comes along."""
    heavy = ["torch", "numpy", "hydra", "omegaconf", "datasets", "tokenizers"]
    script = f"import sys; from transformer_zoo.cli.main import main; main({words!r}); print('heavy:', *[m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "heavy:"


def test_help_takes_less_than_half_a_second() -> None:
    before = os.times().children_user
    subprocess.run([sys.executable, "-m", "transformer_zoo", "--help"], capture_output=True, check=True)
    assert os.times().children_user - before < 0.5


def test_the_module_is_the_command(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "transformer_zoo", "train", "training.stpes=5", "training.batch_size=0"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "transformer-zoo: training.stpes: training has no setting 'stpes'; did you mean training.steps?",
        "transformer-zoo: training.batch_size: expected a whole number at least 1, got 0",
    ]
    assert list(tmp_path.iterdir()) == []


def test_help(zoo: Zoo) -> None:
    told = zoo("--help")
    assert told.code == 0
    assert all(f"  {name} " in told.out for name in COMMANDS)
    assert zoo().out == told.out
    assert zoo("--version").out == f"transformer-zoo {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_examples(zoo: Zoo, name: str) -> None:
    for words in ([name, "--help"], ["--help", name], [name, "-h"]):
        told = zoo(*words)
        assert told.code == 0
        assert f"usage: transformer-zoo {name}" in told.out
        assert f"  transformer-zoo {name}" in told.out.partition("examples:")[2]
        assert "--debug" in told.out


EXAMPLES = [(name, example) for name in ("train", "describe") for example in COMMANDS[name].examples]


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_the_examples_compose(name: str, example: str) -> None:
    words = [word for word in example.split()[1:] if not word.startswith("-")]
    for job in compose.expand(words):
        compose.experiment(job)


@pytest.mark.parametrize("example", COMMANDS["ablate"].examples)
def test_the_examples_of_studies_are_planned(zoo: Zoo, example: str) -> None:
    told = zoo(*shlex.split(example), "--plan", "--json")
    assert told.code == 0, told.err
    assert len(json.loads(told.out)["runs"]) > 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tran"], "there is no command 'tran'; did you mean train?"),
        (["model=gpt2"], "model=gpt2: name a command first, for example: transformer-zoo train model=gpt2"),
        (["train", "--multi"], "there is no flag --multi; did you mean --multirun?"),
        (["train", "--plugin"], "--plugin needs a value: --plugin MODULE"),
        (["train", "--json"], "there is no flag --json"),
        (["list", "--json=yes"], "--json takes no value, got 'yes'"),
        (["train", "mdoel=gpt2"], "mdoel: the configuration has no setting 'mdoel'; did you mean model?"),
        (["train", "model=bret"], "model has no 'bret'; did you mean bert?"),
        (["train", "--cfg", "hydra"], "--cfg hydra: only `--cfg job` is there"),
        (["train", "seeds=3"], "seeds= belongs to `compare` and `ablate`"),
        (["train", "--config-dir", "nowhere"], "the configuration folder "),
        (["evaluate"], "name the run: run=RUN"),
        (["evaluate", "run=nowhere"], "run=nowhere: there is no run there"),
        (["evaluate", "run=a", "run=b"], "run= is given 2 times: run=a and run=b"),
        (["evaluate", "run=nowhere", "objective=mlm"], "objective=…: nothing that is chosen here has a place for a choice of objective"),
        (["evaluate", "run=nowhere", "evaluation=blue"], "evaluation has no 'blue'; did you mean bleu?"),
        (["generate", "prompt=x"], "name the run: run=RUN"),
        (["generate", "run=nowhere", "prompt=x", "generation=beams"], "generation has no 'beams'; did you mean beam?"),
        (["generate", "run=nowhere"], 'generate: give one of prompt="…" to continue'),
        (["generate", "run=nowhere", "prompt=a", "text=b"], 'generate: give one of prompt="…" to continue'),
        (["compare"], "compare: name the models, for example model=bert,gpt2"),
        (["compare", "model=bert", "seeds=0"], "seeds=0: expected a whole number at least 1"),
        (["ablate", "tune=optimizer.lr"], "tune=optimizer.lr: say which values to try, optimizer.lr=1e-4,3e-4,1e-3"),
        (["ablate", "model=bert"], "ablate: name a setting and its values"),
        (["report"], "report: name run folders"),
        (["report", "nowhere"], "report: there is no run, study or folder 'nowhere'"),
        (["tokenizer"], "tokenizer: choose `tokenizer train` or `tokenizer compare`"),
        (["tokenizer", "tran"], "tokenizer tran: choose `tokenizer train` or `tokenizer compare`"),
        (["import", "a"], "import: name the folder of the model and the run to make: transformer-zoo import DIR RUN"),
        (["import", "nowhere", "b"], "nowhere: there is no such folder"),
        (["export", "a", "b", "c"], "export: c is too much; name the run and the folder to make: transformer-zoo export RUN DIR"),
        (["export", "nowhere", "b"], "run=nowhere: there is no run there"),
        (["export", "a", "b", "format=gguf"], "export: format=gguf is too much; name the run and the folder to make"),
        (["list", "modle"], "there is no group 'modle'; did you mean model?"),
        (["list", "model=brt"], "model has no 'brt'; did you mean bert?"),
        (["list", "a", "b"], "list a b: name one group, or none"),
        (["completion", "bsh"], "completion bsh: name one of bash, zsh; did you mean bash?"),
        (["--plugin", "no.such", "train"], "plugin 'no.such': there is no module 'no'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(zoo: Zoo, words: list[str], message: str) -> None:
    told = zoo(*words)
    assert told.code == 2
    assert told.out == ""
    (line,) = told.lines
    assert line.startswith(f"transformer-zoo: {message}")


ERRORS = [
    (DataError("no data"), 3),
    (NumericError("nan"), 4),
    (CheckpointError("bad"), 5),
    (StoppedError("saved", 15), 143),
    (StoppedError("saved", 2), 130),
]


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_each_class_of_errors_has_its_exit_code(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    def failing(arguments: object) -> int:
        raise error

    monkeypatch.setattr(actions, "train", failing)
    told = zoo("train")
    assert (told.code, told.lines) == (code, [f"transformer-zoo: {error}"])


def test_our_own_faults_are_one_line_too(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(arguments: object) -> int:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(actions, "train", failing)
    told = zoo("train")
    assert told.code == 1
    assert told.lines == ["transformer-zoo: ZeroDivisionError: division by zero (a fault of ours: run again with --debug for the traceback)"]
    told = zoo("train", "--debug")
    assert told.code == 1
    assert "Traceback (most recent call last)" in told.err
    assert told.lines[-1] == "transformer-zoo: ZeroDivisionError: division by zero"


def test_an_interrupt_ends_with_130(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(actions, "train", interrupted)
    told = zoo("train")
    assert (told.code, told.lines) == (130, ["transformer-zoo: stopped"])


def test_a_closed_pipe_is_no_error() -> None:
    reader = subprocess.Popen([sys.executable, "-m", "transformer_zoo", "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stderr is not None
    reader.stdout.close()
    assert reader.wait() == 0
    assert reader.stderr.read() == b""
    reader.stderr.close()


def test_the_whole_configuration_is_shown_and_can_be_read_back(zoo: Zoo) -> None:
    import yaml

    from transformer_zoo.experiments.config import ExperimentConfig
    from transformer_zoo.experiments.convert import from_dict

    told = zoo("train", "--cfg", "job", "model=gpt2", "model/positions=rotary", "seed=5")
    config = from_dict(ExperimentConfig, yaml.safe_load(told.out))
    assert config == compose.experiment(["model=gpt2", "model/positions=rotary", "seed=5"])


def test_nothing_on_the_command_line_runs_code(zoo: Zoo, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for key in ("model._target_", "+_target_", "training.hook", "hydra.callbacks.a._target_", "model.norm.kind"):
        told = zoo("train", f"{key}='os.system(\"touch {canary}\")'")
        assert told.code == 2
    assert not canary.exists()


def test_json_is_one_document_and_nothing_else(zoo: Zoo) -> None:
    assert set(json.loads(zoo("list", "--json").out)) == {"groups"}
    described = json.loads(zoo("describe", "model=gpt2", "model/size=tiny", "--json").out)
    assert described["shape"] == "decoder"

"""Two processes and one compute the same: the same samples in the same steps, losses equal to 1e-5."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from training.tiny import TinyModel, make_trainer
from training.two_processes import SCENARIOS, STEPS, scenario
from transformer_zoo.errors import ConfigError
from transformer_zoo.training.checkpoints import read_checkpoint
from transformer_zoo.training.metrics import read_metrics
from transformer_zoo.training.optimizers import AdafactorConfig
from transformer_zoo.training.parallel import World, check_parallel, repeated_blocks
from transformer_zoo.training.rundir import RunFolder
from transformer_zoo.training.settings import TrainingConfig

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The scenarios run by one process, and by two under torchrun, in two folders."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for name, settings in SCENARIOS.items():
        scenario(one / name, World(), **dict(settings))
    scenario(two / "from_one", World(), steps=3)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(TESTS / "training" / "two_processes.py")]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*command, str(two)], capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    return one, two


def losses(folder: Path) -> list[tuple[int, int, float]]:
    lines = read_metrics(folder / "metrics.jsonl")
    return [(line["step"], line["tokens"], line[key]) for line in lines for key in ("train/loss", "validation/loss", "grad_norm") if key in line]


@pytest.mark.dist
@pytest.mark.parametrize("name", SCENARIOS)
def test_two_processes_compute_what_one_computes(both: tuple[Path, Path], name: str) -> None:
    one, two = losses(both[0] / name), losses(both[1] / name)
    tolerance = 1e-4 if name == "fsdp_muon" else 1e-5  # Newton–Schulz on shards adds up in bf16
    assert len(one) == 2 * STEPS + 2
    for (step, tokens, loss), (its_step, its_tokens, its_loss) in zip(one, two, strict=True):
        assert (step, tokens) == (its_step, its_tokens)
        assert its_loss == pytest.approx(loss, abs=tolerance)
    a, b = (read_checkpoint(root / name / "checkpoints" / f"step-{STEPS:08d}") for root in both)
    for mine, its in ((a.weights, b.weights), (a.averaged or {}, b.averaged or {})):
        torch.testing.assert_close(mine, its, rtol=0, atol=tolerance)
    assert a.optimizer.keys() == b.optimizer.keys()
    for key, moments in a.optimizer.items():
        assert {k: v.shape for k, v in moments.items()} == {k: v.shape for k, v in b.optimizer[key].items()}


@pytest.mark.dist
def test_the_same_samples_in_the_same_steps(both: tuple[Path, Path]) -> None:
    first, second = json.loads((both[1] / "seen.json").read_text())
    alone = scenario(both[0] / "again", World(), **dict(SCENARIOS["ddp"])).seen
    assert [a + b for a, b in zip(first["ddp"], second["ddp"], strict=True)] == alone
    assert all(not rows for rows in second["ddp_filler"])


@pytest.mark.dist
def test_one_process_starts_and_two_go_on(both: tuple[Path, Path]) -> None:
    scenario(both[0] / "from_one", World())
    one, two = losses(both[0] / "from_one"), losses(both[1] / "from_one")
    assert [step for step, *_ in two] == [step for step, *_ in one]
    for (*_, loss), (*_, its_loss) in zip(one, two, strict=True):
        assert its_loss == pytest.approx(loss, abs=1e-5)


def test_what_was_asked_for_must_fit_how_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert check_parallel("auto", World()) == "none"
    with pytest.raises(ConfigError, match=r"training\.parallel=fsdp needs several processes: start it by torchrun --nproc_per_node=N"):
        check_parallel("fsdp", World())
    monkeypatch.setenv("RANK", "0")
    assert check_parallel("auto", World(size=2)) == "ddp"
    assert check_parallel("fsdp", World(size=2)) == "fsdp"
    with pytest.raises(ConfigError, match=r"training\.parallel=none, but torchrun started 2 processes"):
        check_parallel("none", World(size=2))


def test_an_optimiser_that_cannot_shard_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(RunFolder, "claim", RunFolder.shared)
    with pytest.raises(ConfigError, match=r"training\.parallel=fsdp: Adafactor cannot update sharded parameters; use training\.parallel=ddp"):
        make_trainer(tmp_path, training=TrainingConfig(parallel="fsdp"), optimizer=AdafactorConfig())


def test_blocks_are_the_members_of_the_outermost_lists() -> None:
    model = TinyModel()
    model.blocks[0].inner = torch.nn.ModuleList([torch.nn.Linear(2, 2)])
    assert [id(block) for block in repeated_blocks(model)] == [id(block) for block in model.blocks]
    outer: Any = torch.nn.ModuleDict({"a": model, "empty": torch.nn.ModuleList([torch.nn.Identity()])})
    assert len(repeated_blocks(outer)) == 2

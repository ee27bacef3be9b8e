"""AdamW gives the numbers of torch's, and their states are exchanged."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from transformer_zoo.training.adamw import AdamW


def groups(model: nn.Module) -> list[dict[str, Any]]:
    first, second, third, fourth = model.parameters()
    return [{"params": [first, third], "weight_decay": 0.1}, {"params": [second, fourth], "weight_decay": 0.0}]


def pair(fused: bool) -> tuple[nn.Sequential, AdamW, nn.Sequential, torch.optim.AdamW]:
    ours, theirs = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3)), nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    theirs.load_state_dict(ours.state_dict())
    settings: dict[str, Any] = {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-6, "fused": fused}
    return ours, AdamW(groups(ours), **settings), theirs, torch.optim.AdamW(groups(theirs), **settings)


def train(model: nn.Sequential, optimizer: Any, start: int, stop: int) -> None:
    for step in range(start, stop):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (step + 1)
        module: nn.Module = model[0] if step == 1 else model  # the second layer has no gradient there
        module(torch.randn(6, 5, generator=torch.Generator().manual_seed(step))).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def assert_equal(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other), name


@pytest.mark.parametrize("fused", [True, False])
def test_numbers_are_torch_s_to_the_bit(fused: bool) -> None:
    ours, mine, theirs, other = pair(fused)
    train(ours, mine, 0, 4)
    train(theirs, other, 0, 4)
    assert_equal(ours, theirs)


def test_states_are_exchanged_with_torch_s() -> None:
    ours, mine, theirs, other = pair(True)
    train(ours, mine, 0, 3)
    train(theirs, other, 0, 3)
    saved_mine, saved_other = mine.state_dict(), other.state_dict()
    assert saved_mine["state"].keys() == saved_other["state"].keys()
    for number, entries in saved_other["state"].items():
        assert all(torch.equal(saved_mine["state"][number][key], value) for key, value in entries.items())
    fresh = AdamW(groups(ours), lr=1.0, betas=(0.1, 0.1), eps=1.0, fused=True)
    fresh.load_state_dict(saved_other)
    assert fresh.param_groups[0]["betas"] == (0.8, 0.9)
    train(ours, fresh, 3, 5)
    train(theirs, other, 3, 5)
    assert_equal(ours, theirs)


def test_a_loaded_state_is_a_copy() -> None:
    ours, mine, _, _ = pair(True)
    train(ours, mine, 0, 2)
    other = AdamW(groups(ours), lr=0.01, betas=(0.8, 0.9), eps=1e-6, fused=True)
    other.load_state_dict(mine.state_dict())
    before = mine.state_dict()["state"][0]["exp_avg"].clone()
    train(ours, other, 2, 3)
    assert torch.equal(mine.state_dict()["state"][0]["exp_avg"], before)


def test_gradients_are_dropped_or_zeroed() -> None:
    model, optimizer, _, _ = pair(True)
    model(torch.ones(1, 5)).sum().backward()
    optimizer.zero_grad(set_to_none=False)
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_compiler_is_not_loaded() -> None:
    """Neither by the optimiser nor by anything an experiment imports: it would cost every start more than a second."""
    code = """
import sys, torch
import transformer_zoo.experiments.run
from transformer_zoo.experiments import assemble, compose
for model in ("bert", "gpt2", "transformer"):
    assemble.check(compose.experiment([f"model={model}", "data=pocket"]))
from transformer_zoo.training.optimizers import AdamWConfig, MuonConfig
for config in (AdamWConfig(), MuonConfig()):
    model = torch.nn.ModuleDict({'blocks': torch.nn.ModuleList([torch.nn.Linear(2, 2)]), 'head': torch.nn.Linear(2, 2)})
    optimizer = config.build(model)
    model['head'](model['blocks'][0](torch.ones(1, 2))).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

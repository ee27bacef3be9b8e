"""Muon gives the numbers of torch's, and their states are exchanged."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transformer_zoo.training.muon import Muon, orthogonal

SHAPES = [(6, 4), (4, 6), (5, 5)]


def matrices() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def settings(scaling: str, nesterov: bool) -> dict[str, Any]:
    return {"lr": 0.03, "weight_decay": 0.1, "momentum": 0.9, "nesterov": nesterov, "ns_steps": 5, "adjust_lr_fn": scaling}


def train(parameters: list[nn.Parameter], optimizer: Any, start: int, stop: int) -> None:
    for step in range(start, stop):
        generator = torch.Generator().manual_seed(step)
        for number, parameter in enumerate(parameters):
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = None if (step, number) == (1, 2) else gradient  # the third has none then
        optimizer.step()
        optimizer.zero_grad()


def assert_equal(ours: list[nn.Parameter], theirs: list[nn.Parameter]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("scaling", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_numbers_are_torch_s_to_the_bit(scaling: str, nesterov: bool) -> None:
    ours, theirs = matrices(), matrices()
    train(ours, Muon(ours, **settings(scaling, nesterov)), 0, 4)
    train(theirs, torch.optim.Muon(theirs, **settings(scaling, nesterov)), 0, 4)
    assert not torch.equal(ours[0], matrices()[0])
    assert_equal(ours, theirs)


def test_states_are_exchanged_with_torch_s() -> None:
    ours, theirs = matrices(), matrices()
    mine, other = Muon(ours, **settings("original", True)), torch.optim.Muon(theirs, **settings("original", True))
    train(ours, mine, 0, 3)
    train(theirs, other, 0, 3)
    fresh = Muon(ours, **settings("match_rms_adamw", False))
    fresh.load_state_dict(other.state_dict())
    assert fresh.param_groups[0]["adjust_lr_fn"] == "original"
    train(ours, fresh, 3, 5)
    train(theirs, other, 3, 5)
    assert_equal(ours, theirs)


@pytest.mark.parametrize("shape", [(32, 8), (8, 32), (16, 16)])
def test_singular_values_become_alike(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found: Tensor = torch.linalg.svdvals(orthogonal(matrix, 5).float())
    assert found.min() > 0.4
    assert found.max() < 1.6

"""Decay groups, who is given to Muon, and states by name."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from training.tiny import TinyModel, TinyObjective, make_example
from transformer_zoo.training.adamw import AdamW
from transformer_zoo.training.muon import Muon
from transformer_zoo.training.optimizers import (
    AdafactorConfig,
    AdamWConfig,
    Combined,
    MuonConfig,
    OptimizerConfig,
    SGDConfig,
    load_optimizer_state,
    optimizer_state,
    owned_parameters,
)

ALL: list[OptimizerConfig] = [AdamWConfig(), AdafactorConfig(weight_decay=0.1), MuonConfig(), SGDConfig(weight_decay=0.1)]


def decaying(optimizer: Any, model: nn.Module) -> set[str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}


@pytest.mark.parametrize("config", ALL, ids=lambda config: type(config).__name__)
def test_only_matrices_decay(config: OptimizerConfig) -> None:
    model = TinyModel()
    matrices = {name for name, parameter in model.named_parameters() if parameter.ndim >= 2}
    optimizer = config.build(model)
    assert decaying(optimizer, model) == matrices
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    spared = type(config)(weight_decay=0.1, decay_embeddings=False).build(model)
    assert decaying(spared, model) == matrices - {"embedding.weight"}


def test_frozen_parameters_are_left_out() -> None:
    model = TinyModel()
    model.embedding.weight.requires_grad_(False)
    optimizer = AdamWConfig().build(model)
    assert all(p is not model.embedding.weight for group in optimizer.param_groups for p in group["params"])


def test_adamw_is_fused_with_the_settings() -> None:
    optimizer = AdamWConfig(lr=0.5, beta1=0.8, beta2=0.7, eps=1e-3).build(TinyModel())
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"], group["fused"]) == (0.5, (0.8, 0.7), 1e-3, True)


def test_muon_gets_the_matrices_inside_blocks() -> None:
    model = TinyModel()
    optimizer = MuonConfig().build(model)
    assert isinstance(optimizer, Combined)
    muon, adamw = optimizer.parts
    assert isinstance(muon, Muon)
    assert isinstance(adamw, AdamW)
    (group,) = muon.param_groups
    assert [id(p) for p in group["params"]] == [id(block.linear.weight) for block in model.blocks]
    hidden = [owned.name for owned in owned_parameters(model) if owned.is_hidden]
    assert hidden == ["blocks.0.linear.weight", "blocks.1.linear.weight"]


def test_muon_without_blocks_is_adamw() -> None:
    assert isinstance(MuonConfig().build(nn.Linear(2, 2)), AdamW)


def test_nesterov_needs_momentum() -> None:
    assert SGDConfig(momentum=0.0, nesterov=True).problems() == ["nesterov=true needs momentum above 0"]
    assert SGDConfig(nesterov=True).problems() == []


def steps(model: TinyModel, optimizer: Any, count: int) -> None:
    example, objective = make_example(np.arange(6)), TinyObjective()
    for _ in range(count):
        report = objective.loss(model(example.inputs), example)
        ((report.sums["token"] + report.sums["sum"]) / 100).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("config", ALL, ids=lambda config: type(config).__name__)
def test_state_by_name_goes_round(config: OptimizerConfig) -> None:
    """Saved after three steps, loaded into a fresh optimiser: three more give the same weights to the bit."""
    torch.manual_seed(1)
    model = TinyModel()
    optimizer = config.build(model)
    steps(model, optimizer, 3)
    saved = {name: {key: value.clone() for key, value in entry.items()} for name, entry in optimizer_state(optimizer, model).items()}
    assert set(saved) == {name for name, _ in model.named_parameters()}
    other = TinyModel()
    other.load_state_dict(model.state_dict())
    fresh = config.build(other)
    load_optimizer_state(fresh, other, saved)
    steps(model, optimizer, 3)
    steps(other, fresh, 3)
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two), name


def test_loading_keeps_the_configured_learning_rate() -> None:
    model = TinyModel()
    optimizer = AdamWConfig(lr=0.1).build(model)
    steps(model, optimizer, 1)
    other = AdamWConfig(lr=0.2).build(model)
    load_optimizer_state(other, model, optimizer_state(optimizer, model))
    assert {group["lr"] for group in other.param_groups} == {0.2}


@pytest.mark.parametrize("config", ALL, ids=lambda config: type(config).__name__)
def test_every_optimiser_learns(config: OptimizerConfig) -> None:
    model, example, objective = TinyModel(), make_example(np.arange(6)), TinyObjective()
    optimizer = config.build(model)

    def loss() -> float:
        with torch.no_grad():
            return float(objective.loss(model(example.inputs), example).sums["token"]) / example.counts["token"]

    for group in optimizer.param_groups:
        group["lr"] *= 0.1 if isinstance(config, SGDConfig) else 1
    before = loss()
    for _ in range(20):
        optimizer.zero_grad()
        (objective.loss(model(example.inputs), example).sums["token"] / example.counts["token"]).backward()
        optimizer.step()
    assert loss() < before

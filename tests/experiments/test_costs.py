"""Costs are those of the batches that training really sees."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from transformer_zoo.experiments import assemble, compose
from transformer_zoo.experiments.costs import Costs, costs_of, sample, size_of
from transformer_zoo.experiments.operations import count_step
from transformer_zoo.training.optimizers import owned_parameters

COMMON = ["model/size=tiny", "data=pocket", "data.sequence_length=32", "training.batch_size=8", "training.steps=10"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All tests here prepare data once, in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


STEPS = 8
"""Sampled here, where all of them are counted."""


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformer_zoo.experiments.costs.SAMPLED_STEPS", STEPS)


def costs(*overrides: str) -> Costs:
    config = compose.experiment([*COMMON, *overrides])
    return costs_of(config, assemble.open_data(config))


def counted(config: Any) -> tuple[float, float, float, float]:
    """By hand over every batch of the sample: forward, backward, tokens read, tokens predicted, of a step."""
    data = assemble.open_data(config)
    (found,) = sample(config, data)
    model = assemble.build_on_meta(config.model, data.vocabulary.size, found.view.needs().heads).eval()
    examples = [example for step in found.steps for example in step]
    operations = [count_step(model, example.inputs.to("meta", non_blocking=False)) for example in examples]
    term = found.view.language_term
    return (
        sum(one.forward[""] for one in operations) / STEPS,
        sum(one.backward[""] for one in operations) / STEPS,
        sum(one.tokens for one in examples) / STEPS,
        sum(one.counts[str(term)] for one in examples) / STEPS,
    )


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["model=albert"], marks=pytest.mark.slow),
        ["model=gpt2", "data.packing=separate", "training.micro_batch_size=3"],
        pytest.param(["model=transformer", "objective=translation", "training.batch_tokens=300"], marks=pytest.mark.slow),
        pytest.param(["model=bart"], marks=pytest.mark.slow),
    ],
    ids=["masked, beside pairs", "ragged in micro-batches", "translation by tokens", "denoising"],
)
def test_a_step_costs_what_its_batches_do(overrides: list[str]) -> None:
    found = costs(*overrides)
    expected = counted(compose.experiment([*COMMON, *overrides]))
    assert (found.forward, found.backward) == pytest.approx(expected[:2], rel=1e-6)
    assert (found.tokens_per_step, found.predicted_per_step) == expected[2:]


def test_parts_add_up_and_parameters_are_those_of_all_tensors() -> None:
    config = compose.experiment([*COMMON, "model=bart"])
    data = assemble.open_data(config)
    found = costs_of(config, data)
    needs = config.objective.needs()
    model = assemble.build_model(config.model, data.vocabulary.size, needs.heads)
    assert found.parameters == sum(p.numel() for p in model.parameters()) == sum(part.parameters for part in found.parts)
    assert found.parameters_embedding == sum(one.parameter.numel() for one in owned_parameters(model) if one.is_embedding)
    assert sum(part.forward for part in found.parts) == pytest.approx(found.forward)
    assert sum(part.backward for part in found.parts) == pytest.approx(found.backward)
    assert {part.name for part in found.parts if part.forward} == {
        *("encoder.blocks.*.attention", "encoder.blocks.*.feedforward", "decoder.blocks.*.attention", "decoder.blocks.*.cross_attention"),
        *("decoder.blocks.*.feedforward", "scores over the vocabulary"),
    }
    assert size_of(config, data) == found.parameters
    assert size_of(config, data, embeddings=False) == found.parameters - found.parameters_embedding


def test_a_budget_is_so_many_steps() -> None:
    by_steps = costs("model=gpt2")
    assert (by_steps.steps, by_steps.tokens) == (10, 10 * by_steps.tokens_per_step)
    assert by_steps.flops == 10 * (by_steps.forward + by_steps.backward + by_steps.optimizer)
    tokens = costs("model=gpt2", "training.steps=null", "training.tokens=5000")
    assert tokens.steps == -(-5000 // tokens.tokens_per_step)
    config = compose.experiment([*COMMON, "model=gpt2", "training.steps=null", "training.epochs=0.5"])
    data = assemble.open_data(config)
    assert costs_of(config, data).steps == -(-len(data.reader("train", config.objective.needs())) // 16)
    clock = costs("model=gpt2", "training.steps=null", "training.seconds=5")
    assert (clock.steps, clock.flops, clock.tokens, clock.predicted_tokens) == (None, None, None, None)


def test_objectives_that_take_turns_cost_by_their_shares() -> None:
    parts = ["+objective@objective.parts.a=clm", "+objective@objective.parts.b=prefix_lm", "+objective.part_weights.a=3"]
    plain, prefix, mixed = (
        costs("model=gpt2", "objective=clm"),
        costs("model=gpt2", "objective=prefix_lm"),
        costs("model=gpt2", "objective=mixture", *parts),
    )
    assert prefix.predicted_per_step < plain.predicted_per_step, "a prefix is not predicted"
    for name in ("forward", "backward", "predicted_per_step"):
        assert getattr(mixed, name) == pytest.approx(0.75 * getattr(plain, name) + 0.25 * getattr(prefix, name), rel=0.01)


def test_operations_that_hang_on_the_batch_are_counted_on_one() -> None:
    """Longformer's global tokens, which see everything, cost more than its window alone."""
    window = costs("model=longformer", "objective=mlm", "model.attention.window=4")
    found = costs("model=longformer", "objective=classification", "model.attention.window=4", "data=pocket")
    own = {part.name: part for part in found.parts}["stack.blocks.*.attention"]
    plain = {part.name: part for part in window.parts}["stack.blocks.*.attention"]
    assert own.forward / found.tokens_per_step > plain.forward / window.tokens_per_step
    assert 1.5 < own.backward / own.forward < 2.5


@pytest.mark.parametrize(
    ("choice", "least", "most"),
    [("sgd", 4, 10), ("adamw", 12, 22), ("adafactor", 10, 20)],
)
def test_optimisers_cost_a_few_operations_on_each_parameter(choice: str, least: float, most: float) -> None:
    found = costs("model=gpt2", f"optimizer={choice}")
    assert least < found.optimizer / found.parameters < most


def test_muon_costs_its_products() -> None:
    """Counted by torch over the iterations of every matrix in the blocks."""
    from torch.utils.flop_counter import FlopCounterMode

    from transformer_zoo.training.muon import orthogonal

    config = compose.experiment([*COMMON, "model=gpt2", "optimizer=muon"])
    model = assemble.build_on_meta(config.model, 500, {})
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        for one in owned_parameters(model):
            if one.is_hidden:
                orthogonal(torch.empty(one.parameter.shape), config.optimizer.n_steps)  # type: ignore[attr-defined]
    total = config.optimizer.operations(owned_parameters(model))
    elementwise = 20 * sum(one.parameter.numel() for one in owned_parameters(model))
    assert counter.get_total_flops() < total < counter.get_total_flops() + elementwise


def test_of_large_batches_fewer_steps_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SAMPLED_STEPS", 8), ("SAMPLED_ROWS", 24), ("FEWEST_STEPS", 2)):
        monkeypatch.setattr(f"transformer_zoo.experiments.costs.{name}", value)
    for rows, steps in ((2, 8), (6, 4), (20, 2)):
        config = compose.experiment([*COMMON, "model=gpt2", f"training.batch_size={rows}"])
        (found,) = sample(config, assemble.open_data(config))
        assert len(found.steps) == steps

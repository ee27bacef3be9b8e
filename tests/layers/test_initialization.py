"""Recipes start as their papers say: the deviation of every class of parameters, measured on the drawn weights."""

import math

import pytest
import torch
from torch import Tensor, nn

from transformer_zoo.experiments import config_tree
from transformer_zoo.experiments.compose import recipe
from transformer_zoo.layers.initialization import truncated_normal
from transformer_zoo.records import HeadNeed

D, LAYERS, HEADS, FF, VOCABULARY, LENGTH = 96, 3, 4, 160, 700, 300
SHAPE = [f"model.d_model={D}", f"model.n_layers={LAYERS}", f"model.n_heads={HEADS}", f"model.d_ff={FF}", f"model.max_length={LENGTH}"]
TRUNCATED = 0.8796  # the deviation that is left of 1 when a normal is cut at two deviations


def drawn(model: str, *overrides: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    settings = recipe(model, *SHAPE, *overrides)
    built = settings.build(vocab_size=VOCABULARY, heads={"vocabulary": HeadNeed(kind="vocabulary")})
    return {name: parameter.detach() for name, parameter in built.named_parameters()}


def sides(weights: dict[str, Tensor]) -> list[str]:
    """Every stack: `stack`, `encoder` and `decoder`, `discriminator.stack` …"""
    return list(dict.fromkeys(name.partition(".blocks.")[0] for name in weights if ".blocks." in name))


def classes(weights: dict[str, Tensor], side: str) -> dict[str, Tensor]:
    """All values of each class of parameters of one stack."""

    def all_of(ending: str) -> Tensor:
        return torch.stack([weight for name, weight in weights.items() if name.startswith(f"{side}.") and name.endswith(ending)])

    query, key, value = all_of(".attention.qkv.weight").chunk(3, dim=1)
    return {
        "token": next(weight for name, weight in weights.items() if name.endswith("embeddings.token.weight")),
        "query": query,
        "key": key,
        "value": value,
        "out": all_of(".attention.out.weight"),
        "inner": all_of("inner.weight"),
        "outer": all_of(".feedforward.outer.weight"),
    }


def assert_deviation(values: Tensor, expected: float, what: str) -> None:
    """Mean 0 and the deviation, each within five standard errors (a normal's deviation has the error std / sqrt(2n))."""
    n = values.numel()
    assert abs(values.mean().item()) < 5 * expected / math.sqrt(n), what
    assert values.std().item() == pytest.approx(expected, abs=5 * expected / math.sqrt(2 * n)), what


def flat(deviation: float, **others: float) -> dict[str, float]:
    return dict.fromkeys(("token", "query", "key", "value", "out", "inner", "outer"), deviation) | others


RESIDUAL = 0.02 / math.sqrt(2 * LAYERS)
EXPECTED = {
    "bert": flat(0.02 * TRUNCATED),
    "albert": flat(0.02 * TRUNCATED),
    "electra": flat(0.02 * TRUNCATED),
    "roberta": flat(0.02),
    "longformer": flat(0.02),
    "bigbird": flat(0.02 * TRUNCATED),
    "modernbert": flat(0.02 * TRUNCATED, out=RESIDUAL * TRUNCATED, outer=RESIDUAL * TRUNCATED),
    "gpt1": flat(0.02),
    "gpt2": flat(0.02, out=RESIDUAL, outer=RESIDUAL),
    "gpt3": flat(0.02, out=RESIDUAL, outer=RESIDUAL),
    "llama": flat(0.02),
    "bart": flat(0.02),
    "transformer": {
        "token": D**-0.5,
        **dict.fromkeys(("query", "key", "value", "out"), math.sqrt(2 / (D + D))),
        **dict.fromkeys(("inner", "outer"), math.sqrt(2 / (D + FF))),
    },
    "t5": flat(D**-0.5, token=1.0, query=(D * 64) ** -0.5, out=(HEADS * 64) ** -0.5, outer=FF**-0.5),  # its heads are 64 wide
}
EXPECTED["marian"] = EXPECTED["transformer"]
EXPECTED["t5_v1_1"] = EXPECTED["t5"]


@pytest.mark.parametrize("model", config_tree.options("model", config_tree.roots()))
def test_every_class_of_parameters_has_its_deviation(model: str):
    weights = drawn(model)
    for side in sides(weights):
        found = classes(weights, side)
        for what, deviation in EXPECTED[model].items():
            assert_deviation(found[what], deviation, f"{model}: {side}: {what}")


@pytest.mark.parametrize("model", config_tree.options("model", config_tree.roots()))
def test_gains_start_at_one_and_shifts_at_zero(model: str):
    vectors = {name: weight for name, weight in drawn(model).items() if weight.dim() == 1}
    for name, weight in vectors.items():
        assert torch.equal(weight, torch.zeros_like(weight) if name.endswith("bias") else torch.ones_like(weight)), name


def test_tables_of_positions():
    assert_deviation(drawn("gpt2")["stack.positions.table.weight"], 0.01, "GPT-2 halves that of tokens")
    assert_deviation(drawn("gpt1")["stack.positions.table.weight"], 0.02, "GPT-1")
    weights = drawn("t5", "model.positions.n_buckets=256", "model.positions.max_distance=512")
    bias = torch.cat([weights[f"{side}.positions.table.weight"] for side in ("encoder", "decoder")])
    assert_deviation(bias, D**-0.5, "T5's score biases")


def test_a_truncated_normal_is_cut_at_two_deviations():
    assert drawn("bert")["embeddings.token.weight"].abs().max() <= 0.04
    assert drawn("gpt2")["embeddings.token.weight"].abs().max() > 0.04


@pytest.mark.parametrize("shape", [(7, 5), (300, 500)])
def test_truncation_draws_the_numbers_of_torch(shape: tuple[int, int]) -> None:
    ours, theirs = torch.empty(shape), torch.empty(shape)
    torch.manual_seed(3)
    truncated_normal(ours, 0.02)
    after = torch.rand(3)
    torch.manual_seed(3)
    nn.init.trunc_normal_(theirs, std=0.02, a=-0.04, b=0.04)
    assert torch.equal(ours, theirs)
    assert torch.equal(after, torch.rand(3))
    assert ours.abs().max() <= 0.04

"""Kernels agree with each other and with the formula."""

import math

import pytest
import torch

from contracts.builders import build, tokens
from transformer_zoo.layers.attention import kernels
from transformer_zoo.layers.attention.kernels import ReferenceKernel, SDPAKernel, additive_form
from transformer_zoo.layers.lowering import LoweredMask, given
from transformer_zoo.records import SequenceInputs

T, S, E = 5, 7, 8


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("kind", ["none", "dense", "causal"])
def test_sdpa_equals_reference_in_value_and_gradient(n_kv_heads: int, with_bias: bool, kind: str):
    keys = T if kind == "causal" else S
    q, k, v = torch.randn(2, 4, T, E), torch.randn(2, n_kv_heads, keys, E), torch.randn(2, n_kv_heads, keys, E)
    bias = torch.randn(1, 4, T, keys) if with_bias else None
    dense = torch.rand(2, 1, T, keys) < 0.6
    dense[0, 0, 2] = False  # a row that sees nothing
    mask = {"none": LoweredMask(), "dense": given(dense), "causal": LoweredMask(causal=True)}[kind]
    results = []
    for kernel in (SDPAKernel(), ReferenceKernel()):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = kernel(*leaves, mask=mask, bias=bias, scale=1 / math.sqrt(E), dropout=0.0)
        results.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, atol=2e-6, rtol=1e-5)
    if kind == "dense":
        assert torch.equal(results[0][0][0, :, 2], torch.zeros(4, E))


def test_reference_is_the_formula():
    q, k, v = torch.randn(1, 1, T, E), torch.randn(1, 1, S, E), torch.randn(1, 1, S, E)
    out = ReferenceKernel()(q, k, v, mask=LoweredMask(), bias=None, scale=0.5, dropout=0.0)
    expected = torch.softmax(torch.einsum("bhte,bhse->bhts", q, k) * 0.5, dim=-1) @ v
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("positions", ["alibi", "t5"])
@pytest.mark.parametrize("shape", ["encoder", "decoder"])
def test_mask_and_bias_are_merged_once_per_forward(shape: str, positions: str, monkeypatch: pytest.MonkeyPatch):
    merges = []

    def counted(*given: object, **more: object) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        merges.append(given)
        return additive_form(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(kernels, "additive_form", counted)
    model = build(shape, positions=positions, n_layers=3)
    record = SequenceInputs(token_ids=tokens(), valid=torch.arange(10) < torch.tensor([[10], [7], [3]]))
    model(record)
    assert len(merges) == 1


@pytest.mark.parametrize("shape", ["encoder", "decoder"])
def test_layers_that_are_computed_again_have_the_same_gradient(shape: str):
    """What layers share must not be found in a cache the second time."""
    gradients = []
    for recomputes in (False, True):
        model = build(shape, positions="t5", n_layers=3).train()
        model.set_gradient_checkpointing(recomputes)
        record = SequenceInputs(token_ids=tokens(), valid=torch.arange(10) < torch.tensor([[10], [7], [3]]))
        model(record).hidden.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=lambda text, name=name: f"{name}: {text}")

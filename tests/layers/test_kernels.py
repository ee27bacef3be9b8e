"""Kernels agree with each other and with the formula."""

import math

import pytest
import torch

from transformer_zoo.layers.attention.kernels import ReferenceKernel, SDPAKernel
from transformer_zoo.layers.lowering import LoweredMask, given

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

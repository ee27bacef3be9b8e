"""Our own attention equals the formula, with the very same weights dropped, in value and gradient, under every mask and bias."""

import pytest
import torch
from torch import Tensor

from transformer_zoo.layers.attention import own
from transformer_zoo.layers.attention.kernels import SDPAKernel
from transformer_zoo.layers.attention.own import own_attention
from transformer_zoo.layers.dropout import Odds, random_bits
from transformer_zoo.layers.lowering import LoweredMask, given

B, H, T, S, E = 3, 3, 8, 9, 4
P = 0.3


def formula(q: Tensor, k: Tensor, v: Tensor, additive: Tensor | None, scale: float, dropout: float = P) -> Tensor:
    """Drops what the generator, as it stands, makes the kernel drop."""
    scores = q @ k.transpose(-1, -2) * scale
    weights = (scores if additive is None else scores + additive).softmax(dim=-1)
    if dropout == 0:
        return weights @ v
    odds = Odds(dropout)
    kept = odds.kept(random_bits(weights.numel())).view(weights.shape)
    return (weights * kept * odds.scale) @ v


def leaves() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(B, H, n, E, requires_grad=True) for n in (T, S, S)]


@pytest.mark.parametrize("dropout", [0.0, P])
@pytest.mark.parametrize("heads", [1, 2, H, 2 * H, B * H])
@pytest.mark.parametrize("shape", [None, (1, H, T, S), (1, 1, T, S), (B, 1, 1, S), (B, H, T, S)])
def test_equals_the_formula(shape: tuple[int, ...] | None, heads: int, dropout: float, monkeypatch: pytest.MonkeyPatch):
    """Whatever is done together: one or two heads of a row, a row, two rows, all."""
    monkeypatch.setattr(own, "_PAIRS", heads * T * S)
    tensors = leaves()
    additive = None if shape is None else torch.randn(shape, requires_grad=True)
    wanted = tensors if additive is None else [*tensors, additive]
    found = []
    for compute in (lambda: own_attention(*tensors, additive, scale=0.4, dropout=dropout), lambda: formula(*tensors, additive, 0.4, dropout)):
        torch.manual_seed(1)
        out = compute()
        found.append([out, *torch.autograd.grad(out.square().sum(), wanted)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_kernel_takes_it_and_a_query_that_sees_nothing_yields_zeros():
    q, k, v = leaves()
    dense = torch.rand(B, 1, T, S) < 0.5
    dense[0, :, 2] = False
    torch.manual_seed(1)
    out = SDPAKernel()(q, k, v, mask=given(dense), bias=None, scale=0.4, dropout=P)
    torch.manual_seed(1)
    additive = torch.zeros(B, 1, T, S).masked_fill(~dense, float("-inf"))
    additive[0, :, 2] = 0
    expected = formula(q, k, v, additive, 0.4)
    torch.testing.assert_close(out[1], expected[1])
    assert torch.equal(out[0, :, 2], torch.zeros(H, E))
    assert all(x.isfinite().all() for x in torch.autograd.grad(out.sum(), (q, k, v)))


def test_causal_flag_hides_what_follows():
    q, k, v = (x[:, :, :T] for x in leaves())
    changed = v.detach().clone()
    changed[:, :, -1] += 1
    outs = []
    for values in (v, changed):
        torch.manual_seed(1)
        outs.append(SDPAKernel()(q, k, values, mask=LoweredMask(causal=True), bias=None, scale=0.4, dropout=P))
    assert torch.equal(outs[0][:, :, :-1], outs[1][:, :, :-1])
    assert not torch.equal(outs[0][:, :, -1], outs[1][:, :, -1])


def test_heads_can_share_keys_and_values():
    q, k, v = leaves()
    out = SDPAKernel()(q, k[:, :1], v[:, :1], mask=LoweredMask(), bias=None, scale=0.4, dropout=P)
    assert out.shape == q.shape


def test_a_learned_bias_needs_no_tensor_but_the_weights():
    q, k, v = leaves()
    bias = torch.randn(1, H, T, S, requires_grad=True)
    kernel = SDPAKernel()
    out = kernel(q, k, v, mask=LoweredMask(), bias=bias, scale=0.4, dropout=0.0)
    assert kernel.took == "own, score bias with a gradient"
    assert sum(saved.shape == (B, H, T, S) for saved in out.grad_fn.saved_tensors) == 1
    torch.testing.assert_close(out, formula(q, k, v, bias, 0.4, 0.0))
    with torch.no_grad():
        torch.testing.assert_close(kernel(q, k, v, mask=LoweredMask(), bias=bias, scale=0.4, dropout=0.0), out)
    assert not kernel.took.startswith("own"), "nothing learns: PyTorch's fused kernel serves"

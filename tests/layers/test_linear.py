"""The projection by oneDNN equals PyTorch's in value and in first and second gradients, and is taken only where it can be."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from transformer_zoo.layers import linear as module
from transformer_zoo.layers.linear import Linear, linear, product

needs_onednn = pytest.mark.skipif(not module.has_onednn(), reason="this PyTorch has no oneDNN")


def inputs(shape: tuple[int, ...], wide: int, high: int, bias: bool) -> list[Tensor]:
    generator = torch.Generator().manual_seed(wide * high)
    made = [torch.randn(*shape, wide, generator=generator), torch.randn(high, wide, generator=generator)]
    made += [torch.randn(high, generator=generator)] if bias else []
    return [x.requires_grad_() for x in made]


@settings(deadline=None, max_examples=30)
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), wide=st.integers(1, 40), high=st.integers(1, 40), bias=st.booleans())
def test_equals_plain_linear_in_value_and_gradient(shape: tuple[int, ...], wide: int, high: int, bias: bool):
    leaves = inputs(shape, wide, high, bias)
    ours, plain = linear(*leaves), F.linear(*leaves)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    for a, b in zip(torch.autograd.grad(ours.square().sum(), leaves), torch.autograd.grad(plain.square().sum(), leaves), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-5)


def test_has_a_second_gradient():
    leaves = [x.double() for x in inputs((3,), 4, 5, True)]
    assert torch.autograd.gradgradcheck(module._Linear.apply, leaves)


@needs_onednn
def test_rows_that_are_not_laid_out_in_order_count_as_they_are():
    x, weight = torch.randn(8, 6, 4).transpose(0, 1)[:, ::2], torch.randn(12, 8).t()[:, :4]
    torch.testing.assert_close(product(x, weight), F.linear(x, weight))


def calls(monkeypatch: pytest.MonkeyPatch, run) -> int:
    """How often oneDNN is called."""
    real, seen = module.product, []
    monkeypatch.setattr(module, "product", lambda *arguments: seen.append(1) or real(*arguments))
    run()
    return len(seen)


@needs_onednn
def test_is_taken_for_plain_float32_tensors(monkeypatch: pytest.MonkeyPatch):
    assert calls(monkeypatch, lambda: linear(*inputs((3,), 4, 5, True)).sum().backward()) == 2  # forward and gradient of x
    assert calls(monkeypatch, lambda: linear(*inputs((3,), 5, 4, True)).sum().backward()) == 3  # the gradient of a wide weight too


@pytest.mark.parametrize("change", [torch.Tensor.double, torch.Tensor.bfloat16, lambda x: x.to("meta")])
def test_other_tensors_go_to_pytorch(change, monkeypatch: pytest.MonkeyPatch):
    leaves = [change(x.detach()) for x in inputs((3,), 4, 5, True)]
    assert calls(monkeypatch, lambda: linear(*leaves)) == 0
    assert linear(*leaves).dtype == leaves[0].dtype


def test_autocast_is_obeyed():
    layer = Linear(4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(3, 4)).dtype == torch.bfloat16


def test_no_rows_give_no_rows():
    assert linear(torch.randn(0, 4), torch.randn(5, 4)).shape == (0, 5)

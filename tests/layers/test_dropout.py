"""Dropout by sixteen bits: the right share, unbiased, independent, the same mask in the backward pass, and repeatable."""

import pytest
import torch
from scipy.stats import binomtest, chisquare

from transformer_zoo.layers.dropout import Dropout, Odds, add_dropped, dropout, random_bits

N = 2**20


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_drops_the_share_it_should_and_keeps_the_mean(p: float):
    torch.manual_seed(1)
    out = dropout(torch.ones(N), p)
    n_dropped = int((out == 0).sum())
    assert binomtest(n_dropped, N, p).pvalue > 1e-4
    kept = out[out != 0]
    assert kept.unique().numel() == 1
    assert kept[0].item() == pytest.approx(1 / (1 - p), rel=2e-4)  # p is rounded to the nearest 1/65536


def test_the_scale_undoes_exactly_what_is_dropped():
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)  # every value once
    for p in (0.0, 0.1, 0.3, 0.5, 0.999):
        odds = Odds(p)
        assert (odds.kept(bits) * odds.scale).mean(dtype=torch.float64).item() == pytest.approx(1, abs=1e-6)


def test_bits_are_uniform_and_neighbours_independent():
    torch.manual_seed(2)
    bits = random_bits(N + 1)
    assert bits.shape == (N + 1,)
    assert chisquare(torch.bincount((bits.int() + 2**15) // 256, minlength=256).numpy()).pvalue > 1e-4
    dropped = (bits < -(2**14)).double()  # a quarter
    for lag in (1, 2, 3, 4, 256):
        correlation = torch.corrcoef(torch.stack([dropped[:-lag], dropped[lag:]]))[0, 1].item()
        assert abs(correlation) < 5 / N**0.5


@pytest.mark.parametrize("residual", [False, True])
def test_gradient_has_the_same_mask(residual: bool):
    torch.manual_seed(3)
    x, other = torch.randn(64, 48, requires_grad=True), torch.randn(64, 48, requires_grad=True)
    out = add_dropped(other, x, 0.3) if residual else dropout(x, 0.3)
    slope = torch.randn(64, 48)
    out.backward(slope)
    added = out - other if residual else out
    torch.testing.assert_close(added.detach(), x.detach() * x.grad / slope, atol=1e-5, rtol=1e-5)
    assert (x.grad == 0).any()
    assert not residual or torch.equal(other.grad, slope)


def test_repeats_with_the_generator():
    x = torch.randn(33, 7)
    torch.manual_seed(4)
    state = torch.get_rng_state()
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    torch.set_rng_state(state)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_everything_can_be_dropped():
    assert torch.equal(dropout(torch.randn(9), 1.0), torch.zeros(9))


def test_module_drops_only_in_training():
    layer, x, residual = Dropout(0.5).eval(), torch.randn(5, 5), torch.randn(5, 5)
    assert torch.equal(layer(x), x)
    assert torch.equal(layer.add(residual, x), residual + x)
    assert not torch.equal(layer.train()(x), x)


def test_other_formats_drop_too():
    out = dropout(torch.ones(1000, dtype=torch.bfloat16), 0.5)
    assert out.dtype == torch.bfloat16
    assert 300 < int((out == 0).sum()) < 700

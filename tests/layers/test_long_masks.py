"""Masks computed along a band or by blocks equal the dense computation, in values and gradients, and make no tensor of all pairs."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from transformer_zoo.layers.attention.banded import band_of, banded, block_size
from transformer_zoo.layers.attention.bigbird import BigBirdMask
from transformer_zoo.layers.attention.kernels import ReferenceKernel, SDPAKernel
from transformer_zoo.layers.lowering import LoweredMask, MaskLowering
from transformer_zoo.layers.masks import Causal, Everything, GlobalTokens, Mask, MaskOperands, Nothing, Padding, Prefix, SameDocument, Window

E, ROWS = 8, 3
WINDOW = Window(5, 3)
BANDS: dict[str, Mask] = {
    "window": WINDOW,
    "causal": Causal() & Window(6, 6),
    "one side": Window(0, 9),
    "padded": Padding() & WINDOW,
    "documents": SameDocument() & Padding() & WINDOW,
    "global": Padding() & SameDocument() & (WINDOW | GlobalTokens()),
    "causal and global": Causal() & (Window(4, 4) | GlobalTokens()),
    "prefix": (Causal() | Prefix()) & Window(7, 7) & Padding(),
}


def operands(length: int, rows: int = ROWS) -> MaskOperands:
    """Ragged padding, documents, prefixes; none, one and several global tokens."""
    slots = torch.arange(length)
    valid = slots < torch.tensor([length, length - 7, 3]).unsqueeze(1)
    documents = (slots // torch.tensor([5, 11, 100]).unsqueeze(1)).long()
    is_global = torch.zeros(ROWS, length, dtype=torch.bool)
    is_global[1, length // 2] = True
    is_global[2, [0, 9, length - 1]] = True
    return MaskOperands(
        query_slots=slots,
        key_slots=slots,
        key_valid=valid[:rows],
        query_documents=documents[:rows],
        key_documents=documents[:rows],
        prefix_length=torch.tensor([0, 4, length])[:rows],
        query_global=is_global[:rows],
        key_global=is_global[:rows],
    )


def lowered(mask: Mask, given: MaskOperands) -> LoweredMask:
    return MaskLowering(given)(mask)


def heads(length: int, n_heads: int = 4, n_kv_heads: int = 4, rows: int = ROWS) -> list[Tensor]:
    return [torch.randn(rows, n, length, E) for n in (n_heads, n_kv_heads, n_kv_heads)]


def value_and_gradients(compute, tensors: list[Tensor]) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in tensors]
    out = compute(*leaves)
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    return [out, *torch.autograd.grad((out * weights).sum(), leaves)]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    for ours, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [64, 67, 83])
@pytest.mark.parametrize("block", [4, 8])
@pytest.mark.parametrize("name", list(BANDS))
def test_a_band_equals_the_dense_mask(name: str, block: int, length: int):
    mask = lowered(BANDS[name], operands(length))
    band = band_of(mask, block)
    assert band is not None
    tensors = heads(length)
    found = value_and_gradients(lambda q, k, v: banded(q, k, v, band, scale=0.4, dropout=0.0), tensors)
    expected = value_and_gradients(lambda q, k, v: ReferenceKernel()(q, k, v, mask=mask, bias=None, scale=0.4, dropout=0.0), tensors)
    assert_equal(found, expected)


def test_rows_that_see_nothing_are_zeros_along_a_band():
    given = operands(60)
    mask = lowered(Padding() & WINDOW, given)
    band = band_of(mask, 4)
    assert band is not None
    q, k, v = heads(60)
    out = banded(q, k, v, band, scale=0.4, dropout=0.0)
    blind = ~mask.dense.any(dim=-1).squeeze(1)  # [B,T]
    assert blind[2, 8:].all()
    assert torch.equal(out.transpose(1, 2)[blind], torch.zeros(int(blind.sum()), 4, E))


def test_a_batch_without_global_tokens_is_a_plain_window():
    given = operands(60)
    given = replace(given, query_global=given.query_global & False, key_global=given.key_global & False)
    band, plain = band_of(lowered(WINDOW | GlobalTokens(), given), 4), band_of(lowered(WINDOW, given), 4)
    assert band is not None
    assert plain is not None
    assert band.places is None
    assert torch.equal(band.allowed, plain.allowed.repeat(3, 1, 1, 1))
    with_global_tokens = band_of(lowered(WINDOW, operands(60)), 4)
    assert with_global_tokens is not None
    assert with_global_tokens.places is None, "the mask does not ask for them"


@pytest.mark.parametrize("mask", [Causal(), Padding(), Everything(), Nothing(), WINDOW | Prefix(), Causal() | WINDOW])
def test_a_mask_without_a_reach_has_no_band(mask: Mask):
    assert band_of(lowered(mask, operands(60)), 1) is None or mask == Nothing()


def test_reach_narrows_and_widens():
    infinity = math.inf
    assert (Causal() & Window(3, 4)).reach() == (3, 0)
    assert (Window(1, 5) | Window(3, 2)).reach() == (3, 5)
    assert (Window(1, 5) & Window(3, 2)).reach() == (1, 2)
    assert (Padding() & SameDocument()).reach() == (infinity, infinity)
    assert (Padding() & (Window(2, 2) | GlobalTokens())).reach() == (2, 2)
    assert (Causal() | Window(2, 2)).reach() == (infinity, 2)


def test_too_wide_too_many_or_cached_is_dense():
    given = operands(64)
    assert band_of(lowered(Window(16, 16), given), 16) is None, "the band would cost more than all pairs"
    everywhere = torch.ones(3, 64, dtype=torch.bool)
    many = replace(given, query_global=everywhere, key_global=everywhere)
    assert band_of(lowered(Window(2, 2) | GlobalTokens(), many), 4) is None
    cached = MaskOperands(query_slots=torch.arange(24, 64), key_slots=torch.arange(64))
    assert band_of(lowered(Window(2, 0), cached), 4) is None


def test_blocks_grow_with_the_window():
    assert [block_size(reach) for reach in (1, 64, 65, 200, 256, 4000)] == [64, 64, 128, 256, 256, 256]


class Largest(TorchDispatchMode):
    """Remembers the most elements that any operation's output had."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor):
                self.elements = max(self.elements, x.untyped_storage().nbytes() // x.element_size())
        return out


def largest(mask: Mask, length: int, dropout: float = 0.0) -> int:
    given = operands(length, rows=1)
    given = replace(given, key_valid=torch.ones(1, length, dtype=torch.bool), query_global=torch.arange(length).eq(5).unsqueeze(0))
    given.key_global = given.query_global
    with Largest() as seen:
        q, k, v = (x.requires_grad_() for x in heads(length, 2, 1, rows=1))
        SDPAKernel()(q, k, v, mask=lowered(mask, given), bias=None, scale=0.4, dropout=dropout).sum().backward()
    return seen.elements


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(
    "mask",
    [Padding() & (Window(20, 20) | GlobalTokens()), Causal() & Window(50, 50), Padding() & BigBirdMask(block_size=32, n_random=1, n_heads=2)],
    ids=["window", "causal", "bigbird"],
)
def test_no_tensor_grows_faster_than_the_length(mask: Mask, dropout: float):
    short, long = largest(mask, 2048, dropout), largest(mask, 4096, dropout)
    assert long <= 2.1 * short
    assert long < 4096 * 4096 / 2


def test_a_dense_computation_would_be_noticed():
    assert largest(Causal() & Padding(), 2048) >= 2048 * 2048


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
def test_the_kernel_takes_the_band_and_equals_itself_dense(n_kv_heads: int, monkeypatch: pytest.MonkeyPatch):
    """Grouped heads, at a length at which the kernel itself chooses the band."""
    mask = lowered(Padding() & (WINDOW | GlobalTokens()), operands(400))
    tensors = heads(400, n_kv_heads=n_kv_heads)

    def compute(kernel):
        return value_and_gradients(lambda q, k, v: kernel(q, k, v, mask=mask, bias=None, scale=0.4, dropout=0.0), tensors)

    assert_equal(compute(SDPAKernel()), compute(ReferenceKernel()))
    assert "dense" in mask._known, "the reference asked for it"
    again = lowered(Padding() & (WINDOW | GlobalTokens()), operands(400))
    SDPAKernel()(*tensors, mask=again, bias=None, scale=0.4, dropout=0.0)
    assert "dense" not in again._known, "nobody asked for it"


def test_a_bias_makes_it_dense_and_right():
    mask = lowered(WINDOW | GlobalTokens(), operands(400))
    tensors, bias = heads(400), torch.randn(1, 4, 400, 400)
    found, expected = (
        value_and_gradients(lambda q, k, v, kernel=kernel: kernel(q, k, v, mask=mask, bias=bias, scale=0.4, dropout=0.0), tensors)
        for kernel in (SDPAKernel(), ReferenceKernel())
    )
    assert_equal(found, expected)


def test_dropout_along_a_band_drops_weights_and_keeps_their_mean():
    mask = lowered(WINDOW | GlobalTokens(), operands(400, rows=2))
    q, k, _ = heads(400, rows=2)
    ones = torch.ones_like(q)
    out = SDPAKernel()(q, k, ones, mask=mask, bias=None, scale=0.4, dropout=0.3)  # [B,H,T,E]: each row the sum of kept weights
    assert abs(out[..., 0].mean().item() - 1) < 0.03
    assert out[..., 0].std() > 0.05

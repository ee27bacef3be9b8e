"""Packed weights multiply as the weights do, whatever the rows, and are shared only while the weights stay."""

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_zoo.layers import layouts
from transformer_zoo.layers import packing as module
from transformer_zoo.layers.activations import ACTIVATIONS, ONEDNN, same
from transformer_zoo.layers.layouts import CACHED, MOST_ROWS, Bags, Blocks, Columns
from transformer_zoo.layers.linear import has_onednn
from transformer_zoo.layers.packing import Packed, Packing, packing_of, weights_stay

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this PyTorch has no oneDNN")
needs_bags = pytest.mark.skipif(not Bags.gain(torch.zeros(1)), reason="this PyTorch makes no code for bags")
SHAPES = [(700, 400), (400, 700), (512, 192), (192, 512), (320, 320), (24, 40), (40, 3)]
"""Wide and high, large and middling; square; small, also with fewer columns than bags."""


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("high", "wide"), SHAPES)
@torch.no_grad()
def test_equals_the_product_with_the_weight_as_it_is(high: int, wide: int, bias: bool, threads: int):
    generator = torch.Generator().manual_seed(high)
    weight, shift = torch.randn(high, wide, generator=generator), torch.randn(high, generator=generator) if bias else None
    for order in ((16, 3, 1, MOST_ROWS, MOST_ROWS + 1), (1, 2, 4, 5, 1)):
        packed = Packed(weight, shift)
        for n_rows in order:
            x = torch.randn(n_rows, wide, generator=generator)
            torch.testing.assert_close(packed(x), F.linear(x, weight, shift), atol=1e-4, rtol=1e-5)


@needs_onednn
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
@torch.no_grad()
def test_an_activation_is_applied_whatever_multiplies(activation: Callable[[Tensor], Tensor]):
    for high, wide in ((300, 200), (24, 40)):
        weight, shift = torch.randn(high, wide) * 0.1, torch.randn(high)
        packed = Packed(weight, shift, activation)
        for n_rows in (1, 2, 16, MOST_ROWS + 1):
            x = torch.randn(n_rows, wide)
            torch.testing.assert_close(packed(x), activation(F.linear(x, weight, shift)), atol=2e-6, rtol=1e-5)


@needs_onednn
@torch.no_grad()
def test_an_activation_that_onednn_does_not_know_is_applied_after_it():
    weight, x = torch.randn(300, 200), torch.randn(5, 200)
    assert torch.square not in ONEDNN
    torch.testing.assert_close(Packed(weight, None, torch.square)(x), F.linear(x, weight).square(), atol=1e-3, rtol=1e-4)


@needs_bags
@pytest.mark.parametrize("wide", [1, 7, 8, 9, 200])
@torch.no_grad()
def test_bags_hold_every_column_once(wide: int):
    weight, x = torch.randn(33, wide), torch.randn(1, wide)
    torch.testing.assert_close(Bags(weight)(x), F.linear(x, weight), atol=1e-5, rtol=1e-5)


@needs_onednn
@needs_bags
@torch.no_grad()
def test_rows_and_size_choose_the_layout(monkeypatch: pytest.MonkeyPatch):
    def chosen(weight: Tensor, n_rows: int) -> set[type]:
        packed = Packed(weight, None)
        packed(torch.randn(n_rows, weight.shape[1]))
        return set(packed._laid_out)

    small, middling, large = (torch.zeros(high, 256) for high in (64, 512, CACHED // 256 + 1))
    assert [chosen(weight, 1) for weight in (small, middling, large)] == [{Columns}, {Bags}, {Blocks}]
    assert [chosen(weight, 2) for weight in (small, middling, large)] == [{Columns}, {Blocks}, {Blocks}]
    assert chosen(small, MOST_ROWS + 1) == set(), "many rows meet the weight as it is"
    monkeypatch.setattr(layouts.Bags, "gain", lambda weight: False)
    assert chosen(middling, 1) == {Blocks}


@needs_onednn
def test_a_weight_is_packed_once_and_its_rows_apart():
    packing, weight = Packing(), torch.randn(300, 300)
    assert packing.product(weight, None) is packing.product(weight, None, same)
    assert packing.product(weight, None, F.relu) is not packing.product(weight, None)
    assert packing.product(weight[:100], None) is not packing.product(weight, None)
    assert packing.product(weight[100:200], None) is not packing.product(weight[:100], None)


def test_other_types_go_to_pytorch():
    weight, x = torch.randn(300, 300, dtype=torch.float64), torch.randn(2, 300, dtype=torch.float64)
    product = Packing().product(weight, None)
    assert not isinstance(product, Packed)
    assert torch.equal(product(x), F.linear(x, weight))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not isinstance(Packing().product(weight.float(), None), Packed)


def test_what_is_packed_is_shared_while_the_weights_stay():
    model = nn.Linear(2, 2)
    assert packing_of(model) is not packing_of(model)
    with weights_stay(model):
        outer = packing_of(model)
        with weights_stay(model):
            assert packing_of(model) is outer
        assert packing_of(model) is outer
        assert packing_of(nn.Linear(2, 2)) is not outer
    assert packing_of(model) is not outer
    assert model not in module._KEPT

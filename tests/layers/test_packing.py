"""Packed weights multiply as the weights do, whatever the rows, and are shared only while the weights stay."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from transformer_zoo.layers import packing as module
from transformer_zoo.layers.linear import has_onednn
from transformer_zoo.layers.packing import ALONE, MOST_ROWS, Packed, Packing, packing_of, weights_stay

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this PyTorch has no oneDNN")
SHAPES = [(700, 400), (400, 700), (512, 192), (192, 512), (320, 320), (24, 40)]
"""Wide and high, large and middling; square; small."""


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
@torch.no_grad()
def test_lays_out_what_the_rows_need_and_no_more(threads: int):
    middling, large, few = (Packed(torch.randn(high, 256), None) for high in (512, 2 * ALONE // 256, 512))
    for packed in (middling, large):
        packed(torch.randn(1, 256))
    assert middling._columns is not None
    assert middling._blocks is None
    assert (large._columns is None) == (large._blocks is not None) == (threads == 2), "only a large weight is worth the other cores"
    few(torch.randn(8, 256))
    few(torch.randn(1, 256))
    assert few._columns is None, "rows became few: the layout that is there serves them"


@needs_onednn
def test_a_weight_is_packed_once_and_its_rows_apart():
    packing, weight = Packing(), torch.randn(300, 300)
    assert packing.product(weight, None) is packing.product(weight, None)
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

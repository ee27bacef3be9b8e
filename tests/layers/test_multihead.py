"""Multi-head attention as its parts say it."""

import pytest
import torch
from einops import rearrange

from contracts.builders import attention
from transformer_zoo.layers.attention.multihead import MultiheadAttention
from transformer_zoo.layers.lowering import LoweredMask
from transformer_zoo.layers.positions import PositionShape, RotaryConfig


@pytest.mark.parametrize("crossing", [False, True])
def test_queries_and_keys_are_turned_by_their_positions(crossing: bool):
    module = attention().build(d_model=24, n_heads=3)
    assert isinstance(module, MultiheadAttention)
    x, memory = torch.randn(2, 5, 24), torch.randn(2, 5, 24)
    shape = PositionShape(d_model=24, embedding_width=24, n_heads=3, head_width=8, max_length=9, causal=False)
    site = RotaryConfig().build(shape).site(0, torch.arange(5), torch.arange(5))
    q = module.qkv(x)[..., :24]
    k, v = module.qkv(memory if crossing else x)[..., 24:].chunk(2, dim=-1)
    q, k, v = (rearrange(part, "b t (h e) -> b h t e", h=3) for part in (q, k, v))
    q, k = site.rotate(q, k)
    expected = module.out(rearrange(torch.softmax(q @ k.mT * 8**-0.5, dim=-1) @ v, "b h t e -> b t (h e)"))
    torch.testing.assert_close(module(x, memory if crossing else None, mask=LoweredMask(), positions=site), expected)

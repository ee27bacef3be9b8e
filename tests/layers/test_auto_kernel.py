"""The kernel chosen for each mask."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from contracts.builders import attention, build, inputs, tokens
from layers.test_flex import MASKS, lowered
from transformer_zoo.layers.attention.auto import AutoConfig, AutoKernel, skips_blocks
from transformer_zoo.layers.attention.kernels import SDPAKernel
from transformer_zoo.layers.masks import Causal, Mask, Padding, SameDocument

SKIPPED = {"all": False, "causal": False, "padded": False, "packed": True, "prefix": True, "window": True, "blocks": True, "blocks twice": True}


@pytest.mark.parametrize("name", list(MASKS))
def test_what_has_blocks_to_skip(name: str):
    length = 1024 if name == "blocks twice" else 300  # shorter, its blocks would see all
    assert skips_blocks(lowered(MASKS[name], length), length) is SKIPPED[name]
    assert not skips_blocks(lowered(MASKS[name], 200), 200), "all is one block or two"


def chosen(mask: Mask, device: str, *, bias: torch.Tensor | None = None, dropout: float = 0.0) -> str:
    """Which of the two is called, on a device that need not be there."""
    kernel, called = AutoKernel(), []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name, self.took = name, "way"

        def __call__(self, *_: Any, **__: Any) -> None:
            called.append(self.name)

    kernel.flex, kernel.sdpa = Recorder("flex"), Recorder("sdpa")  # type: ignore[assignment]
    q: Any = SimpleNamespace(device=torch.device(device), shape=(2, 4, 300, 16))
    kernel(q, q, q, mask=lowered(mask, 300), bias=bias, scale=1.0, dropout=dropout)
    assert kernel.took == {"flex": "flex", "sdpa": "sdpa, way"}[called[0]]
    return called[0]


def test_flex_only_where_it_can_and_pays():
    packed = Padding() & SameDocument() & Causal()
    assert chosen(packed, "cuda") == "flex"
    assert chosen(packed, "cpu") == "sdpa"
    assert chosen(Causal(), "cuda") == "sdpa"
    assert chosen(packed, "cuda", dropout=0.1) == "sdpa"
    assert chosen(packed, "cuda", bias=torch.zeros(1)) == "sdpa"


def test_on_a_cpu_it_is_plain_attention_to_the_bit():
    choice = attention(window=3)
    plain = build("decoder", attention=choice)
    choice.kernel = AutoConfig()
    model = build("decoder", attention=choice)
    record = inputs("decoder", tokens())
    assert torch.equal(model(record).hidden, plain(record).hidden)
    assert isinstance(plain.stack.blocks[0].attention.kernel, SDPAKernel)
    assert model.stack.blocks[0].attention.kernel.took == "sdpa, dense mask"


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(MASKS))
def test_on_a_gpu_both_give_the_same(name: str):
    mask = lowered(MASKS[name], 512, device="cuda")
    q, k, v = (torch.randn(2, 4, 512, 64, device="cuda", requires_grad=True) for _ in range(3))
    seen = []
    for kernel in (AutoKernel(), SDPAKernel()):
        out = kernel(q, k, v, mask=mask, bias=None, scale=0.125, dropout=0.0)
        seen.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    for ours, theirs in zip(*seen, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=2e-3)

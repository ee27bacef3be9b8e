"""Turning features in one pass equals the formula, with its gradients, whatever the layout and however many features take part."""

import pytest
import torch
from torch import Tensor

from transformer_zoo.layers import rotation
from transformer_zoo.layers.rotation import rotate_half

B, H, T, E = 2, 3, 5, 8


def formula(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """(a + ib)(cos + i sin), feature by feature."""
    half = cosine.shape[-1]
    pairs = torch.complex(x[..., :half], x[..., half : 2 * half]) * torch.complex(cosine, sine)
    return torch.cat((pairs.real, pairs.imag, x[..., 2 * half :]), dim=-1)


def case(half: int, per_row: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(half)
    fused = torch.randn(B, T, 3 * H * E, generator=generator, requires_grad=True)
    x = fused[..., H * E : 2 * H * E].view(B, T, H, E).transpose(1, 2)
    angles = torch.randn(B if per_row else 1, 1, T, half, generator=generator)
    return fused, x, angles.cos(), angles.sin()


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("half", [4, 3, 1])
@pytest.mark.parametrize("fast", [True, False])
def test_equals_the_formula(half: int, per_row: bool, fast: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rotation, "is_plain", lambda *_: fast)
    fused, x, cosine, sine = case(half, per_row)
    found, wanted = rotate_half(x, cosine, sine), formula(x, cosine, sine)
    torch.testing.assert_close(found, wanted)
    slope = torch.randn(found.shape, generator=torch.Generator().manual_seed(9))
    first, second = (torch.autograd.grad(out, fused, slope)[0] for out in (found, wanted))
    torch.testing.assert_close(first, second)
    with torch.no_grad():
        torch.testing.assert_close(rotate_half(x, cosine, sine), wanted)


def test_has_a_second_gradient():
    _, x, cosine, sine = case(4, False)
    slope = torch.randn(x.shape, requires_grad=True)
    (first,) = torch.autograd.grad(rotate_half(x, cosine, sine), x, slope, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), slope)
    torch.testing.assert_close(second, 2 * slope)  # a rotation keeps lengths


def test_other_formats_go_by_the_formula():
    _, x, cosine, sine = case(4, False)
    wide = rotate_half(x.double(), cosine.double(), sine.double())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide, formula(x, cosine, sine).double(), atol=1e-6, rtol=1e-6)

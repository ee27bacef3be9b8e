"""The kernel chosen for each mask and device."""

from dataclasses import dataclass

from torch import Tensor

from transformer_zoo.layers.attention.flex import FlexKernel
from transformer_zoo.layers.attention.kernels import Kernel, KernelConfig, SDPAKernel
from transformer_zoo.layers.lowering import LoweredMask
from transformer_zoo.layers.masks import Everything, Padding

SHORTEST = 256
"""Keys from which FlexAttention has blocks to skip: it works on blocks of 128."""


@dataclass(kw_only=True)
class AutoConfig(KernelConfig):
    """On a CUDA device FlexAttention where a mask is more than causal or padding (packed documents, windows, blocks, prefixes), nothing is added to
    the scores and no weights are dropped; PyTorch's fused attention everywhere else."""

    def build(self) -> "AutoKernel":
        return AutoKernel()


class AutoKernel(Kernel):
    """Asks a mask what it is made of."""

    name = "auto"

    def __init__(self) -> None:
        self.flex, self.sdpa = FlexKernel(), SDPAKernel()

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, mask: LoweredMask, bias: Tensor | None, scale: float, dropout: float) -> Tensor:
        skips = q.device.type == "cuda" and bias is None and not dropout and skips_blocks(mask, k.shape[2])
        if skips:
            out = self.flex(q, k, v, mask=mask, bias=bias, scale=scale, dropout=dropout)
            self.took = self.flex.name
        else:
            out = self.sdpa(q, k, v, mask=mask, bias=bias, scale=scale, dropout=dropout)
            self.took = f"{self.sdpa.name}, {self.sdpa.took}"
        return out


def skips_blocks(mask: LoweredMask, n_keys: int) -> bool:
    """Whether a mask forbids whole blocks of pairs that a plain kernel would compute: padding of keys alone does not, and a causal mask is a flag."""
    return n_keys >= SHORTEST and mask.operands is not None and mask.expression not in (Everything(), Padding())

"""The contract of an attention module."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from transformer_zoo.layers.cache import AttentionCache
from transformer_zoo.layers.lowering import LoweredMask
from transformer_zoo.layers.masks import EVERYTHING, Mask
from transformer_zoo.layers.positions import Site
from transformer_zoo.settings import Config


@dataclass(kw_only=True)
class AttentionConfig(Config):
    """How tokens look at each other."""

    slot: ClassVar[str | None] = "model/attention"

    def build(self, *, d_model: int, n_heads: int, layer: int = 0) -> "Attention":
        """The module; `layer` is the number of its block in the stack, for what differs from layer to layer."""
        raise NotImplementedError("abstract")

    def build_cross(self, *, d_model: int, n_heads: int, layer: int = 0) -> "Attention":
        """The module that looks at a memory; it has no mask of its own."""
        return self.build(d_model=d_model, n_heads=n_heads, layer=layer)

    def causal_problems(self) -> list[str]:
        """Why it cannot look back only, as in a decoder; empty where it can."""
        return []

    def resolved_head_width(self, d_model: int, n_heads: int) -> int:
        """Features per head."""
        return d_model // n_heads

    def shape_problems(self, d_model: int, n_heads: int) -> list[str]:
        """What does not divide, with the numbers; the paths are the caller's."""
        return []


class Attention(nn.Module):
    """`forward` maps queries [B,T,D] to [B,T,D]. `key_input` None is self-attention; a tensor [B,S,D] is what else is looked at (a memory). While
    one token is decoded at a time a filled cache of a memory may have fewer rows: F neighbouring queries then look at the same one. With `at`, flat
    positions [N] in B·T, only what comes out there is returned: [1,N,D]."""

    own_mask: Mask = EVERYTHING
    """What this attention forbids by itself (a window); the block ANDs it to the mask of the stack."""
    n_cached_heads: int
    """Heads and features a cache must hold per token."""
    head_width: int
    adds_bias: bool = True
    """Whether the attention can add a score bias (ALiBi, T5)."""

    def forward(
        self,
        query_input: Tensor,
        key_input: Tensor | None = None,
        *,
        mask: LoweredMask,
        positions: Site,
        cache: AttentionCache | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        raise NotImplementedError("abstract")

"""Multi-head attention: project → heads → kernel → merge."""

import math
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from transformer_zoo.layers.attention.base import Attention, AttentionConfig
from transformer_zoo.layers.attention.kernels import KernelConfig
from transformer_zoo.layers.cache import AttentionCache
from transformer_zoo.layers.initialization import InitializationConfig
from transformer_zoo.layers.linear import Linear, linear
from transformer_zoo.layers.lowering import LoweredMask
from transformer_zoo.layers.masks import EVERYTHING, GlobalTokens, Mask, Window
from transformer_zoo.layers.norms import NormConfig
from transformer_zoo.layers.places import at_places
from transformer_zoo.layers.positions import Site
from transformer_zoo.settings import OneOf, PositiveInt, Probability


@dataclass(kw_only=True)
class HeadsConfig(AttentionConfig):
    """What every attention with heads has: projections, kernel, norms of queries and keys."""

    kernel: KernelConfig
    """What computes the weighted sum."""
    qk_norm: NormConfig
    """Normalises each head's queries and keys before positions are applied (Henry et al. 2020, https://arxiv.org/abs/2010.04245)."""
    n_kv_heads: PositiveInt | None = None
    """Heads of keys and values; each is shared by n_heads / n_kv_heads query heads. null: as many as n_heads."""
    head_width: PositiveInt | None = None
    """Features per head; null: d_model / n_heads."""
    bias: bool = True
    """Whether the four projections have a bias."""
    out_bias: bool | None = None
    """Whether the last of them has one, where that differs; null: as `bias`."""
    scale: Annotated[str, OneOf("head_width", "none")] = "head_width"
    """Scores are divided by the root of `head_width`, or left as they are (T5)."""
    dropout: Probability = 0.0
    """Of the attention weights. On a CPU any value above 0 costs the fused kernel."""

    def resolved_head_width(self, d_model: int, n_heads: int) -> int:
        return self.head_width or d_model // n_heads

    def shape_problems(self, d_model: int, n_heads: int) -> list[str]:
        problems = []
        if self.head_width is None and d_model % n_heads:
            below, above = d_model // n_heads * n_heads, -(-d_model // n_heads) * n_heads
            problems.append(f"d_model={d_model} is not divisible by n_heads={n_heads}; the nearest widths are {below or above} and {above}")
        if self.n_kv_heads is not None and n_heads % self.n_kv_heads:
            fitting = [str(n) for n in range(1, n_heads + 1) if n_heads % n == 0]
            problems.append(f"n_heads={n_heads} is not divisible by attention.n_kv_heads={self.n_kv_heads}; choose one of {', '.join(fitting)}")
        if self.dropout and not self.kernel.drops:
            problems.append(f"attention.dropout={self.dropout} with a kernel that drops nothing: set it to 0, or choose model/attention/kernel=sdpa")
        return problems

    def build_cross(self, *, d_model: int, n_heads: int, layer: int = 0) -> "MultiheadAttention":
        return MultiheadAttention(self, d_model=d_model, n_heads=n_heads)


@dataclass(kw_only=True)
class MultiheadConfig(HeadsConfig):
    """Multi-head attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762); with fewer key/value heads it is multi-query (Shazeer 2019,
    https://arxiv.org/abs/1911.02150) or grouped-query attention (Ainslie et al. 2023, https://arxiv.org/abs/2305.13245)."""

    window: PositiveInt | None = None
    """Tokens visible on each side, which costs time and memory in proportion to the length; null: all."""

    def build(self, *, d_model: int, n_heads: int, layer: int = 0) -> "MultiheadAttention":
        own_mask = EVERYTHING if self.window is None else Window(self.window, self.window) | GlobalTokens()
        return MultiheadAttention(self, d_model=d_model, n_heads=n_heads, own_mask=own_mask)


class MultiheadAttention(Attention):
    """Queries, keys and values are one fused projection where all three come from the same input, two where keys come from a memory."""

    def __init__(self, config: HeadsConfig, *, d_model: int, n_heads: int, own_mask: Mask = EVERYTHING) -> None:
        super().__init__()
        self.n_heads, self.n_cached_heads = n_heads, config.n_kv_heads or n_heads
        self.head_width = config.resolved_head_width(d_model, n_heads)
        self.scale = 1 / math.sqrt(self.head_width) if config.scale == "head_width" else 1.0
        self.attention_dropout = config.dropout
        self.query_width, self.key_width = n_heads * self.head_width, self.n_cached_heads * self.head_width
        self.qkv = Linear(d_model, self.query_width + 2 * self.key_width, bias=config.bias)
        self.out = Linear(self.query_width, d_model, bias=config.bias if config.out_bias is None else config.out_bias)
        self.query_norm, self.key_norm = config.qk_norm.build(self.head_width), config.qk_norm.build(self.head_width)
        self.kernel = config.kernel.build()
        self.own_mask = own_mask

    def initialize(self, law: InitializationConfig, residual_factor: float) -> None:
        self.draw_projection(self.qkv, law)
        self.out.weight.mul_(residual_factor)

    def draw_projection(self, fused: nn.Linear, law: InitializationConfig) -> None:
        """A fused projection is drawn part by part, so that its law does not depend on the fusing."""
        query, *key_and_value = fused.weight.split((self.query_width, self.key_width, self.key_width))
        law.query(query, self.head_width)
        for part in key_and_value:
            law.matrix(part)

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
        return self.merge(self.mix(query_input, key_input, mask=mask, positions=positions, cache=cache), at)

    def mix(self, query_input: Tensor, key_input: Tensor | None, *, mask: LoweredMask, positions: Site, cache: AttentionCache | None) -> Tensor:
        """The weighted sums of values, head by head: [B,H,T,E]."""
        q, k, v = self._project(query_input, key_input, positions, cache)
        dropout = self.attention_dropout if self.training else 0.0
        fan = 1 if cache is None else len(q) // len(k)
        if fan > 1:  # rows that look at one memory are its queries: it is read once for all of them
            q = q.view(len(k), fan, self.n_heads, self.head_width).transpose(1, 2)  # [B·F,H,1,E] -> [B,H,F,E]
        mixed = self.kernel(q, k, v, mask=mask, bias=positions.bias, scale=self.scale, dropout=dropout)
        return mixed if fan == 1 else mixed.transpose(1, 2).reshape(-1, self.n_heads, 1, self.head_width)  # [B,H,F,E] -> [B·F,H,1,E]

    def merge(self, mixed: Tensor, at: Tensor | None) -> Tensor:
        """[B,H,T,E] -> [B,T,D], or [1,N,D] at flat positions [N]."""
        heads = mixed.transpose(1, 2).flatten(2)  # [B,H,T,E] -> [B,T,H·E]
        return self.out(heads if at is None else at_places(heads, at))

    def split(self, fused: Tensor, positions: Site) -> tuple[Tensor, Tensor, Tensor]:
        """A fused projection [B,T,·] as queries [B,H,T,E], keys and values [B,Hk,T,E], normalised and turned by position."""
        q, k, v = fused.split((self.query_width, self.key_width, self.key_width), dim=-1)
        q, k = positions.rotate(self.query_norm(self._heads(q)), self.key_norm(self._heads(k)))
        return q, k, self._heads(v)

    def _project(self, query_input: Tensor, key_input: Tensor | None, positions: Site, cache: AttentionCache | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [B,H,T,E], keys and values [B,Hk,S,E], those of a cache included."""
        if cache is not None and cache.filled:
            q = self._heads(self._part(query_input, 0, self.query_width))
            return self.query_norm(q), *cache.read()
        if key_input is None:
            q, k, v = self.split(self.qkv(query_input), positions)
        else:
            q = self._heads(self._part(query_input, 0, self.query_width))
            k, v = self._part(key_input, self.query_width, self.query_width + 2 * self.key_width).chunk(2, dim=-1)
            q, k = positions.rotate(self.query_norm(q), self.key_norm(self._heads(k)))
            v = self._heads(v)
        k, v = (k, v) if cache is None else cache.append(k, v)
        return q, k, v

    def _part(self, x: Tensor, start: int, end: int) -> Tensor:
        """Rows start to end of the fused projection."""
        bias = None if self.qkv.bias is None else self.qkv.bias[start:end]
        return linear(x, self.qkv.weight[start:end], bias)

    def _heads(self, x: Tensor) -> Tensor:
        # einops would take as long as the attention of a single token does
        return x.view(*x.shape[:2], -1, self.head_width).transpose(1, 2)  # [B,T,H·E] -> [B,H,T,E]

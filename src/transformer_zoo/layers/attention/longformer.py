"""Longformer: a window for all tokens, and projections of their own for the few that see all."""

from dataclasses import dataclass

from torch import Tensor

from transformer_zoo.layers.attention.multihead import HeadsConfig, MultiheadAttention
from transformer_zoo.layers.cache import AttentionCache
from transformer_zoo.layers.initialization import InitializationConfig
from transformer_zoo.layers.linear import Linear
from transformer_zoo.layers.lowering import GlobalPlaces, LoweredMask, given, global_places
from transformer_zoo.layers.masks import GlobalTokens, Window
from transformer_zoo.layers.positions import Site
from transformer_zoo.settings import PositiveInt


@dataclass(kw_only=True)
class LongformerConfig(HeadsConfig):
    """Sliding-window attention with global tokens (Beltagy et al. 2020, https://arxiv.org/abs/2004.05150). Unlike `multihead` with a window, a
    global token looks at all others through queries, keys and values of its own projections; the others see it through the common ones.

    Which tokens are global comes with the batch (`global_positions`); without any it is a window. To a memory it is plain multi-head attention.
    """

    window: PositiveInt = 256
    """Tokens visible on each side."""

    def build(self, *, d_model: int, n_heads: int, layer: int = 0) -> "LongformerAttention":
        return LongformerAttention(self, d_model=d_model, n_heads=n_heads)


class LongformerAttention(MultiheadAttention):
    """Multi-head attention along a window, after which the rows of global tokens are replaced by those of the second projections."""

    def __init__(self, config: LongformerConfig, *, d_model: int, n_heads: int) -> None:
        super().__init__(config, d_model=d_model, n_heads=n_heads, own_mask=Window(config.window, config.window) | GlobalTokens())
        self.qkv_global = Linear(d_model, self.query_width + 2 * self.key_width, bias=config.bias)
        self.kernel_global = config.kernel.build()  # so that `kernel` tells the way of all other tokens

    def initialize(self, law: InitializationConfig, residual_factor: float) -> None:
        super().initialize(law, residual_factor)
        self.draw_projection(self.qkv_global, law)

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
        mixed = self.mix(query_input, key_input, mask=mask, positions=positions, cache=cache)  # [B,H,T,E]
        places = global_places(mask)
        if places is None:
            # Training on several devices wants every parameter in every forward.
            mixed = mixed + 0 * self.qkv_global(query_input[:, :1]).sum()
        else:
            mixed = places.put(mixed, self._rows(query_input, places, mask, positions))
        return self.merge(mixed, at)

    def _rows(self, x: Tensor, places: GlobalPlaces, mask: LoweredMask, positions: Site) -> Tensor:
        """What the global tokens of `x` [B,T,D] see: [B,H,G,E]."""
        q, k, v = self.split(self.qkv_global(x), positions)
        bias = None if positions.bias is None else places.gather(positions.bias.expand(len(x), -1, -1, -1))  # [B,H,G,T]
        allowed = mask.once("global rows", lambda: places.rows_allowed(mask))
        dropout = self.attention_dropout if self.training else 0.0
        return self.kernel_global(places.gather(q), k, v, mask=given(allowed), bias=bias, scale=self.scale, dropout=dropout)

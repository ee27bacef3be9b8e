"""Transformer blocks: residual branches, with normalisation placed by slots."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from transformer_zoo.layers.attention.base import Attention
from transformer_zoo.layers.cache import AttentionCache
from transformer_zoo.layers.dropout import Dropout
from transformer_zoo.layers.lowering import LoweredMask, MaskLowering
from transformer_zoo.layers.masks import Mask
from transformer_zoo.layers.norms import NormConfig
from transformer_zoo.layers.places import at_places
from transformer_zoo.layers.positions import Site
from transformer_zoo.settings import Config


@dataclass(kw_only=True)
class NormPlacementConfig(Config):
    """Where a block normalises. Each residual branch has three places, identity unless filled:
    x -> outer(x + dropout(after(body(before(x))))).
    """

    slot: ClassVar[str | None] = "model/norm_placement"
    final: ClassVar[bool]
    """Whether the stack ends with one more norm, because the last block's output is not normalised."""

    def branch(self, norm: NormConfig, d_model: int, *, first: bool) -> tuple[nn.Module, nn.Module, nn.Module]:
        """The modules for `before`, `after` and `outer`; `first` is the branch that meets the embeddings."""
        raise NotImplementedError("abstract")

    def after_stack(self, norm: NormConfig, d_model: int, dropout: float) -> nn.Module:
        """What the last block's output passes."""
        return norm.build(d_model) if self.final else nn.Identity()


@dataclass(kw_only=True)
class PreNormConfig(NormPlacementConfig):
    """Norm at the branch's entry (Xiong et al. 2020, https://arxiv.org/abs/2002.04745; GPT-2)."""

    final: ClassVar[bool] = True

    skip_first: bool = False
    """Whether the stack's very first branch goes without, since its input, the embeddings, is normalised already (ModernBERT)."""
    final_dropout: bool = False
    """Whether dropout follows the final norm (T5)."""

    def branch(self, norm: NormConfig, d_model: int, *, first: bool) -> tuple[nn.Module, nn.Module, nn.Module]:
        before = nn.Identity() if first and self.skip_first else norm.build(d_model)
        return before, nn.Identity(), nn.Identity()

    def after_stack(self, norm: NormConfig, d_model: int, dropout: float) -> nn.Module:
        final = super().after_stack(norm, d_model, dropout)
        return nn.Sequential(OrderedDict(norm=final, dropout=Dropout(dropout))) if self.final_dropout else final


@dataclass(kw_only=True)
class PostNormConfig(NormPlacementConfig):
    """Norm of the sum of branch and residual (Vaswani et al. 2017; BERT)."""

    final: ClassVar[bool] = False

    def branch(self, norm: NormConfig, d_model: int, *, first: bool) -> tuple[nn.Module, nn.Module, nn.Module]:
        return nn.Identity(), nn.Identity(), norm.build(d_model)


@dataclass(kw_only=True)
class SandwichNormConfig(NormPlacementConfig):
    """Norm at the branch's entry and at its exit (Ding et al. 2021, https://arxiv.org/abs/2105.13290)."""

    final: ClassVar[bool] = True

    def branch(self, norm: NormConfig, d_model: int, *, first: bool) -> tuple[nn.Module, nn.Module, nn.Module]:
        return norm.build(d_model), norm.build(d_model), nn.Identity()


class Residual(nn.Module):
    """What stands around a branch's body: `leave(x, body(enter(x)))`."""

    def __init__(self, before: nn.Module, after: nn.Module, outer: nn.Module, *, dropout: float) -> None:
        super().__init__()
        self.before, self.after, self.outer = before, after, outer
        self.dropout = Dropout(dropout)

    def enter(self, x: Tensor) -> Tensor:
        return self.before(x)

    def leave(self, x: Tensor, y: Tensor) -> Tensor:
        return self.outer(self.dropout.add(x, self.after(y)))


SiteKey = tuple[str, int]
"""Which position scheme (a kind of layer, or "" for the stack's own), and which of its sites."""


@dataclass
class Scene:
    """What every block of a stack sees in one forward."""

    lower: MaskLowering
    sites: dict[SiteKey, Site]
    memory: Tensor | None = None  # [B, S, D]
    memory_mask: LoweredMask | None = None


@dataclass
class BlockCache:
    """One layer's caches: growing for self-attention, fixed for the memory."""

    own: AttentionCache
    memory: AttentionCache


class Block(nn.Module):
    """Self-attention, cross-attention where there is a memory, feed-forward; each a residual branch."""

    def __init__(
        self,
        *,
        attention: Attention,
        cross_attention: Attention | None,
        feedforward: nn.Module,
        placement: NormPlacementConfig,
        norm: NormConfig,
        d_model: int,
        dropout: float,
        mask: Mask,
        first: bool,
    ) -> None:
        super().__init__()
        self.attention, self.cross_attention, self.feedforward = attention, cross_attention, feedforward

        def around(first: bool = False) -> Residual:
            return Residual(*placement.branch(norm, d_model, first=first), dropout=dropout)

        self.around_attention = around(first)
        self.around_cross = around() if cross_attention is not None else None
        self.around_feedforward = around()
        self.mask = mask & attention.own_mask

    def forward(self, x: Tensor, scene: Scene, site_key: SiteKey, cache: BlockCache | None = None, at: Tensor | None = None) -> Tensor:
        """[B,T,D] -> [B,T,D]; with `at`, flat positions [N] in B·T, of a block that looks at no memory: only what comes out there, [1,N,D]."""
        y = self.attention(
            self.around_attention.enter(x),
            mask=scene.lower(self.mask),
            positions=scene.sites[site_key],
            cache=None if cache is None else cache.own,
            at=at,
        )
        x = self.around_attention.leave(x if at is None else at_places(x, at), y)
        if self.cross_attention is not None and self.around_cross is not None:
            assert scene.memory_mask is not None
            assert at is None
            y = self.cross_attention(
                self.around_cross.enter(x),
                scene.memory,
                mask=scene.memory_mask,
                positions=Site(),
                cache=None if cache is None else cache.memory,
            )
            x = self.around_cross.leave(x, y)
        return self.around_feedforward.leave(x, self.feedforward(self.around_feedforward.enter(x)))

"""The slots one stack is built from, and settings that replace some of them: for one side of a model, for one kind of layer."""

from dataclasses import dataclass, fields, replace

from transformer_zoo.layers.attention.base import AttentionConfig
from transformer_zoo.layers.blocks import NormPlacementConfig
from transformer_zoo.layers.feedforward import FeedforwardConfig
from transformer_zoo.layers.norms import NormConfig
from transformer_zoo.layers.positions import PositionsConfig
from transformer_zoo.settings import Config, PositiveInt


@dataclass(kw_only=True)
class Parts:
    """What a stack, or one kind of its layers, is made of."""

    n_layers: int
    n_heads: int
    d_ff: int
    positions: PositionsConfig
    attention: AttentionConfig
    norm: NormConfig
    norm_placement: NormPlacementConfig
    feedforward: FeedforwardConfig

    def head_width(self, d_model: int) -> int:
        return self.attention.resolved_head_width(d_model, self.n_heads)

    def kinds(self, pattern: list[str]) -> list[str]:
        """For each layer the kind it is of: the pattern again and again; "" throughout where there is none."""
        return [pattern[layer % len(pattern)] if pattern else "" for layer in range(self.n_layers)]

    def problems(self, d_model: int) -> list[str]:
        """Sizes that do not fit each other, all at once."""
        return self.attention.shape_problems(d_model, self.n_heads) or self.positions.head_problems(self.head_width(d_model))


@dataclass(kw_only=True)
class LayerConfig(Config):
    """Where one kind of layer differs from the model; null: as the model."""

    positions: PositionsConfig | None = None
    """How its tokens know order, beyond what is added to the embeddings."""
    attention: AttentionConfig | None = None
    """How its tokens look at each other (and, in a decoder, at the source)."""
    norm: NormConfig | None = None
    """What normalises it."""
    norm_placement: NormPlacementConfig | None = None
    """Where it normalises."""
    feedforward: FeedforwardConfig | None = None
    """What follows attention."""

    def resolve(self, model: Parts) -> Parts:
        """The model's parts with these choices put in."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(model, **{name: value for name, value in own.items() if value is not None})


@dataclass(kw_only=True)
class SideConfig(LayerConfig):
    """Where one side of an encoder-decoder differs from the model; null: as the model."""

    n_layers: PositiveInt | None = None
    """Blocks of this side."""
    n_heads: PositiveInt | None = None
    """Attention heads of this side."""
    d_ff: PositiveInt | None = None
    """Features inside this side's feed-forward networks."""

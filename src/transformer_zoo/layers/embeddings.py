"""Token embeddings."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor, nn

from transformer_zoo.layers.dropout import Dropout
from transformer_zoo.layers.linear import Linear
from transformer_zoo.layers.norms import NormConfig
from transformer_zoo.layers.positions import Positions
from transformer_zoo.settings import Config, NaturalInt, PositiveInt


@dataclass(kw_only=True)
class EmbeddingsConfig(Config):
    """How token ids become vectors."""

    slot: ClassVar[str | None] = "model/embeddings"

    def resolved_width(self, d_model: int) -> int:
        """Features of the embedding table."""
        return d_model

    def at_width(self, width: int) -> "EmbeddingsConfig":
        """The same settings with a table of `width` features, whatever d_model is."""
        raise NotImplementedError("abstract")

    def build(self, *, vocab_size: int, d_model: int, norm: NormConfig, dropout: float) -> "TokenEmbeddings":
        raise NotImplementedError("abstract")


@dataclass(kw_only=True)
class TokenEmbeddingsConfig(EmbeddingsConfig):
    """A learned vector per token, with positions and segments added; then norm, dropout, and a projection where factorised."""

    width: PositiveInt | None = None
    """Features of the table; null: d_model. Smaller factorises it (ALBERT, https://arxiv.org/abs/1909.11942)."""
    always_project: bool = False
    """Whether a projection leads to d_model even where the table is as wide (ALBERT)."""
    scale: bool = False
    """Whether vectors are multiplied by the root of their width (Vaswani et al. 2017, section 3.4)."""
    n_segments: NaturalInt = 0
    """Kinds of segment that get a vector of their own (BERT: 2); 0: segments are invisible."""
    normalize: bool = False
    """Whether the sum is normalised (BERT)."""

    def resolved_width(self, d_model: int) -> int:
        return self.width or d_model

    def at_width(self, width: int) -> "TokenEmbeddingsConfig":
        return replace(self, width=width)

    def build(self, *, vocab_size: int, d_model: int, norm: NormConfig, dropout: float) -> "TokenEmbeddings":
        return TokenEmbeddings(self, vocab_size=vocab_size, d_model=d_model, norm=norm, dropout=dropout)


class TokenEmbeddings(nn.Module):
    """Table [V,W]; W = d_model unless factorised."""

    def __init__(self, config: TokenEmbeddingsConfig, *, vocab_size: int, d_model: int, norm: NormConfig, dropout: float) -> None:
        super().__init__()
        self.width = config.resolved_width(d_model)
        self.token = nn.Embedding(vocab_size, self.width)
        self.segment = nn.Embedding(config.n_segments, self.width) if config.n_segments else None
        self.scale = math.sqrt(self.width) if config.scale else 1.0
        self.norm = norm.build(self.width) if config.normalize else nn.Identity()
        self.dropout = Dropout(dropout)
        self.projection = Linear(self.width, d_model) if config.always_project or self.width != d_model else nn.Identity()

    def share(self, other: "TokenEmbeddings") -> None:
        """Uses the tables and the norm of `other`; the projection to d_model stays its own."""
        self.token, self.segment, self.norm = other.token, other.segment, other.norm

    def forward(self, token_ids: Tensor, segment_ids: Tensor | None, index: Tensor, positions: Positions) -> Tensor:
        """Ids [B,T] at positions `index` [T] or [B,T] -> [B,T,D]. Without `segment_ids` all belong to segment 0."""
        x = self.token(token_ids)  # [B,T,W]
        x = x if self.scale == 1.0 else x * self.scale
        if self.segment is not None:
            x = x + (self.segment.weight[0] if segment_ids is None else self.segment(segment_ids))
        x = positions.embed(x, index)
        return self.projection(self.dropout(self.norm(x)))  # [B,T,W] -> [B,T,D]

"""Heads: what an objective puts on top of a model.

All share one forward: hidden states [B,T,D], `valid` [B,T] (False on padding; None: no padding), `predict_at` [N] (flat positions at which a
vocabulary head runs; None: all), `last_at` [B] (the token that `pooling=last` takes; None: the last that is no padding). Each uses what concerns it.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from transformer_zoo.layers.activations import ACTIVATIONS, Activation
from transformer_zoo.layers.dropout import Dropout
from transformer_zoo.layers.initialization import InitializationConfig
from transformer_zoo.layers.linear import Linear
from transformer_zoo.layers.norms import NormConfig
from transformer_zoo.layers.vocabulary_scores import VocabularyScores
from transformer_zoo.settings import Config, OneOf, Probability

Pooling = Annotated[str, OneOf("first", "mean", "last")]


@dataclass(kw_only=True)
class VocabularyHeadConfig(Config):
    """What turns hidden states into scores over the vocabulary."""

    slot: ClassVar[str | None] = "model/vocabulary_head"

    def build(self, *, d_model: int, vocab_size: int, embedding: nn.Embedding, norm: NormConfig) -> "VocabularyHead":
        raise NotImplementedError("abstract")


class VocabularyHead(nn.Module):
    """transform(hidden) · matrixᵀ + bias, where the matrix is the embedding table when tied (Press & Wolf 2017, https://arxiv.org/abs/1608.05859)."""

    def __init__(self, *, transform: nn.Module, vocab_size: int, width: int, tied_to: nn.Embedding | None, bias: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.transform, self.scale = transform, scale
        self.weight = nn.Parameter(torch.empty(vocab_size, width)) if tied_to is None else tied_to.weight
        self.bias = nn.Parameter(torch.zeros(vocab_size)) if bias else None
        self.is_tied = tied_to is not None

    def initialize(self, law: InitializationConfig, residual_factor: float) -> None:
        if not self.is_tied:
            law.matrix(self.weight)

    def forward(self, hidden: Tensor, *, valid: Tensor | None, predict_at: Tensor | None, last_at: Tensor | None = None) -> VocabularyScores:
        """Hidden [B,T,D] at the flat positions `predict_at` [N] in B·T (None: all) -> scores of [N,V]."""
        rows = rearrange(hidden, "b t d -> (b t) d")
        rows = rows if predict_at is None else rows.index_select(0, predict_at)
        rows = self.transform(rows)
        return VocabularyScores(hidden=rows if self.scale == 1.0 else rows * self.scale, weight=self.weight, bias=self.bias)


@dataclass(kw_only=True)
class LMHeadConfig(VocabularyHeadConfig):
    """The hidden state as it is (GPT-2, the 2017 Transformer); projected where embeddings are factorised."""

    tied: bool = True
    """Whether the vocabulary matrix is the embedding table."""
    bias: bool = False
    """Whether every token has a bias."""
    scale: Annotated[str, OneOf("none", "d_model")] = "none"
    """`d_model`: hidden states are divided by the root of d_model (T5, whose tied embeddings have deviation 1)."""

    def build(self, *, d_model: int, vocab_size: int, embedding: nn.Embedding, norm: NormConfig) -> VocabularyHead:
        width = embedding.embedding_dim if self.tied else d_model
        transform = Linear(d_model, width, bias=False) if width != d_model else nn.Identity()
        tied_to = embedding if self.tied else None
        scale = d_model**-0.5 if self.scale == "d_model" else 1.0
        return VocabularyHead(transform=transform, vocab_size=vocab_size, width=width, tied_to=tied_to, bias=self.bias, scale=scale)


@dataclass(kw_only=True)
class MLMHeadConfig(VocabularyHeadConfig):
    """Projection, activation and norm before the scores (BERT, Devlin et al. 2019, https://arxiv.org/abs/1810.04805)."""

    activation: Activation = "gelu"
    """After the projection."""
    transform_bias: bool = True
    """Whether the projection has a bias."""
    tied: bool = True
    """Whether the vocabulary matrix is the embedding table."""
    narrow: bool = False
    """Whether the projection leads to the embedding table's width also where the matrix is another one (ALBERT)."""
    bias: bool = True
    """Whether every token has a bias."""

    def build(self, *, d_model: int, vocab_size: int, embedding: nn.Embedding, norm: NormConfig) -> VocabularyHead:
        width = embedding.embedding_dim if self.tied or self.narrow else d_model
        transform = Transform(d_model, width, self.activation, norm, bias=self.transform_bias)
        tied_to = embedding if self.tied else None
        return VocabularyHead(transform=transform, vocab_size=vocab_size, width=width, tied_to=tied_to, bias=self.bias)


class Transform(nn.Module):
    """norm(activation(dense(x)))."""

    def __init__(self, d_model: int, width: int, activation: str, norm: NormConfig, *, bias: bool) -> None:
        super().__init__()
        self.dense = Linear(d_model, width, bias=bias)
        self.activation = ACTIVATIONS[activation]
        self.norm = norm.build(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(x)))


@dataclass(kw_only=True)
class ClassifierConfig(Config):
    """Settings of the heads that give classes: of a pair, of a sequence, of every token; and of the one that detects tokens."""

    pooling: Pooling = "first"
    """What stands for a whole sequence: its first token's state, the mean over tokens, or its last token's state (for causal models)."""
    transform: bool = True
    """Whether the pooled state passes a projection and an activation first (BERT's pooler)."""
    activation: Activation = "tanh"
    """After that projection."""
    pair_activation: Activation | None = None
    """After that of poolers and of heads of pairs, where it differs (BigBird); null: as `activation`."""
    transform_bias: bool = True
    """Whether that projection has a bias."""
    normalize: bool = False
    """Whether the model's norm follows that activation (ModernBERT)."""
    transform_tokens: bool = False
    """Whether every token's state passes such a projection before it is tagged (ModernBERT)."""
    input_dropout: Probability = 0.0
    """Of the pooled state, before that projection (RoBERTa)."""
    dropout: Probability = 0.1
    """Before the classifier."""
    bias: bool = True
    """Whether every class has a bias."""

    def for_pairs(self) -> "ClassifierConfig":
        """These settings as poolers and heads of pairs have them."""
        return replace(self, activation=self.pair_activation or self.activation)

    def build_pair(self, *, d_model: int, n_classes: int, norm: NormConfig) -> "SequenceClassifier":
        return SequenceClassifier(self.for_pairs(), d_model=d_model, n_classes=n_classes, norm=norm)

    def build_sequence(self, *, d_model: int, n_classes: int, norm: NormConfig) -> "SequenceClassifier":
        return SequenceClassifier(self, d_model=d_model, n_classes=n_classes, norm=norm)

    def build_token(self, *, d_model: int, n_classes: int, norm: NormConfig) -> "TokenClassifier":
        return TokenClassifier(self, d_model=d_model, n_classes=n_classes, norm=norm)

    def build_pooler(self, *, d_model: int, norm: NormConfig) -> "Pooler":
        return Pooler(self.for_pairs(), d_model=d_model, norm=norm)

    def build_detector(self, *, d_model: int, norm: NormConfig) -> "TokenDetector":
        return TokenDetector(self, d_model=d_model, norm=norm)

    def build_transform(self, d_model: int, norm: NormConfig) -> nn.Sequential:
        """[..., D] -> [..., D]: projection, activation and, where wanted, norm."""
        last = [norm.build(d_model)] if self.normalize else []
        return nn.Sequential(Linear(d_model, d_model, bias=self.transform_bias), ActivationLayer(self.activation), *last)


class ActivationLayer(nn.Module):
    """An activation as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = ACTIVATIONS[name]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Pooler(nn.Module):
    """Hidden [B,T,D] -> [B,D]: one vector a sequence, what a classifier of sequences would look at."""

    def __init__(self, config: ClassifierConfig, *, d_model: int, norm: NormConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.pooler = config.build_transform(d_model, norm) if config.transform else nn.Identity()

    def forward(self, hidden: Tensor, *, valid: Tensor | None, predict_at: Tensor | None, last_at: Tensor | None = None) -> Tensor:
        return self.pooler(pool(hidden, valid, self.pooling, last_at))


class SequenceClassifier(nn.Module):
    """Hidden [B,T,D] -> logits [B,C]; with two classes it is the pair head of next-sentence prediction."""

    def __init__(self, config: ClassifierConfig, *, d_model: int, n_classes: int, norm: NormConfig) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.input_dropout = Dropout(config.input_dropout)
        self.pooler = config.build_transform(d_model, norm) if config.transform else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.classifier = Linear(d_model, n_classes, bias=config.bias)

    def forward(self, hidden: Tensor, *, valid: Tensor | None, predict_at: Tensor | None, last_at: Tensor | None = None) -> Tensor:
        pooled = self.pooler(self.input_dropout(pool(hidden, valid, self.pooling, last_at)))  # [B,T,D] -> [B,D]
        return self.classifier(self.dropout(pooled))  # [B,D] -> [B,C]


class TokenClassifier(nn.Module):
    """Hidden [B,T,D] -> logits [B,T,C]."""

    def __init__(self, config: ClassifierConfig, *, d_model: int, n_classes: int, norm: NormConfig) -> None:
        super().__init__()
        self.transform = config.build_transform(d_model, norm) if config.transform_tokens else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.classifier = Linear(d_model, n_classes, bias=config.bias)

    def forward(self, hidden: Tensor, *, valid: Tensor | None, predict_at: Tensor | None, last_at: Tensor | None = None) -> Tensor:
        return self.classifier(self.dropout(self.transform(hidden)))


class TokenDetector(nn.Module):
    """Hidden [B,T,D] -> one logit for every token [B,T]: projection, activation, and the weights of a yes or no (Clark et al. 2020,
    https://arxiv.org/abs/2003.10555). Dropout has no part in it."""

    def __init__(self, config: ClassifierConfig, *, d_model: int, norm: NormConfig) -> None:
        super().__init__()
        self.transform = config.build_transform(d_model, norm)
        self.detector = Linear(d_model, 1)

    def forward(self, hidden: Tensor, *, valid: Tensor | None, predict_at: Tensor | None, last_at: Tensor | None = None) -> Tensor:
        return self.detector(self.transform(hidden)).squeeze(-1)  # [B,T,D] -> [B,T]


def pool(hidden: Tensor, valid: Tensor | None, pooling: str, last_at: Tensor | None = None) -> Tensor:
    """[B,T,D] -> [B,D]; padding [B,T] (False) takes no part. `last_at` [B]: which token counts as the last."""
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "last" and last_at is not None:
        return hidden[torch.arange(len(hidden), device=hidden.device), last_at]
    if valid is None:
        return hidden.mean(dim=1) if pooling == "mean" else hidden[:, -1]
    if pooling == "mean":
        weights = valid.unsqueeze(-1).to(hidden.dtype)  # [B,T,1]
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
    last = valid.shape[1] - 1 - valid.flip(1).int().argmax(dim=1)  # [B]
    return hidden[torch.arange(len(hidden), device=hidden.device), last]

"""How the shapes make their parts from settings: stacks, heads, initial values."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from transformer_zoo.layers.attention.base import AttentionConfig
from transformer_zoo.layers.blocks import Block, NormPlacementConfig
from transformer_zoo.layers.embeddings import TokenEmbeddings
from transformer_zoo.layers.feedforward import FeedforwardConfig
from transformer_zoo.layers.masks import Mask
from transformer_zoo.layers.norms import NormConfig
from transformer_zoo.layers.positions import PositionsConfig, PositionShape
from transformer_zoo.layers.stacks import Stack
from transformer_zoo.models.base import TransformerConfig
from transformer_zoo.records import HeadNeed


@dataclass(kw_only=True)
class Parts:
    """The slots one stack is built from."""

    n_layers: int
    positions: PositionsConfig
    attention: AttentionConfig
    norm: NormConfig
    norm_placement: NormPlacementConfig
    feedforward: FeedforwardConfig


def shared_parts(config: TransformerConfig) -> Parts:
    """The slots as they stand on the model."""
    return Parts(
        n_layers=config.n_layers,
        positions=config.positions,
        attention=config.attention,
        norm=config.norm,
        norm_placement=config.norm_placement,
        feedforward=config.feedforward,
    )


def build_embeddings(config: TransformerConfig, vocab_size: int) -> TokenEmbeddings:
    return config.embeddings.build(vocab_size=vocab_size, d_model=config.d_model, norm=config.norm, dropout=config.dropout)


def build_stack(config: TransformerConfig, parts: Parts, *, mask: Mask, causal: bool, cross: bool = False) -> Stack:
    """A stack of `parts` in the shape of `config`; `mask` is what every layer's self-attention obeys; `cross` adds attention to a memory."""
    attention = parts.attention
    shape = PositionShape(
        embedding_width=config.embeddings.resolved_width(config.d_model),
        n_heads=config.n_heads,
        head_width=attention.resolved_head_width(config.d_model, config.n_heads),
        max_length=config.max_length,
        causal=causal,
    )

    def build_block() -> Block:
        return Block(
            attention=attention.build(d_model=config.d_model, n_heads=config.n_heads),
            cross_attention=attention.build(d_model=config.d_model, n_heads=config.n_heads) if cross else None,
            feedforward=parts.feedforward.build(d_model=config.d_model, d_ff=config.d_ff),
            placement=parts.norm_placement,
            norm=parts.norm,
            d_model=config.d_model,
            dropout=config.dropout,
            mask=mask,
        )

    return Stack(
        schedule=config.stack.schedule(parts.n_layers),
        build_block=build_block,
        positions=parts.positions.build(shape),
        final_norm=parts.norm.build(config.d_model) if parts.norm_placement.final else nn.Identity(),
    )


def build_heads(config: TransformerConfig, heads: Mapping[str, HeadNeed], vocab_size: int, embedding: nn.Embedding) -> nn.ModuleDict:
    """The heads an objective asks for, by its names."""

    def build(need: HeadNeed) -> nn.Module:
        if need.kind == "vocabulary":
            return config.vocabulary_head.build(d_model=config.d_model, vocab_size=vocab_size, embedding=embedding, norm=config.norm)
        assert need.n_classes is not None, f"a head of kind {need.kind} needs a number of classes"
        builders = {
            "pair": config.classifier.build_sequence,
            "sequence": config.classifier.build_sequence,
            "token": config.classifier.build_token,
        }
        return builders[need.kind](d_model=config.d_model, n_classes=need.n_classes)

    return nn.ModuleDict({name: build(need) for name, need in heads.items()})

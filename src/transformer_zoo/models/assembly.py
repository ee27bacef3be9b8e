"""How the shapes make their parts from settings: stacks, heads, initial values."""

from collections.abc import Mapping

from torch import nn

from transformer_zoo.errors import ConfigError
from transformer_zoo.layers.blocks import Block
from transformer_zoo.layers.embeddings import TokenEmbeddings
from transformer_zoo.layers.masks import Mask
from transformer_zoo.layers.positions import Positions, PositionShape
from transformer_zoo.layers.stacks import Stack
from transformer_zoo.models.base import TransformerConfig
from transformer_zoo.models.parts import Parts
from transformer_zoo.records import HeadNeed


def build_embeddings(config: TransformerConfig, vocab_size: int, parts: Parts) -> TokenEmbeddings:
    return config.embeddings.build(vocab_size=vocab_size, d_model=config.d_model, norm=parts.norm, dropout=config.dropout)


def build_stack(config: TransformerConfig, parts: Parts, *, mask: Mask, causal: bool, cross: bool = False) -> Stack:
    """A stack of `parts` in the shape of `config`; `mask` is what every layer's self-attention obeys; `cross` adds attention to a memory."""
    kinds = parts.kinds(config.pattern)
    sharing = list(zip(config.stack.schedule(parts.n_layers), kinds, strict=True))  # layers of one kind share, of different kinds never
    schedule = [list(dict.fromkeys(sharing)).index(pair) for pair in sharing]
    parts_of = {kind: config.layers[kind].resolve(parts) if kind else parts for kind in dict.fromkeys(kinds)}
    if causal and (problems := [problem for own in parts_of.values() for problem in own.attention.causal_problems()]):
        raise ConfigError(*dict.fromkeys(problems))

    def build_positions(own: Parts) -> Positions:
        shape = PositionShape(
            d_model=config.d_model,
            embedding_width=config.embeddings.resolved_width(config.d_model),
            n_heads=own.n_heads,
            head_width=own.head_width(config.d_model),
            max_length=config.max_length,
            causal=causal,
        )
        return own.positions.build(shape)

    def build_block(number: int) -> Block:
        layer = schedule.index(number)
        own = parts_of[kinds[layer]]
        return Block(
            attention=own.attention.build(d_model=config.d_model, n_heads=own.n_heads, layer=layer),
            cross_attention=own.attention.build_cross(d_model=config.d_model, n_heads=own.n_heads, layer=layer) if cross else None,
            feedforward=own.feedforward.build(d_model=config.d_model, d_ff=own.d_ff),
            placement=own.norm_placement,
            norm=own.norm,
            d_model=config.d_model,
            dropout=config.dropout,
            mask=mask,
            first=layer == 0,
        )

    return Stack(
        schedule=schedule,
        build_block=build_block,
        kinds=kinds,
        positions=build_positions(parts),
        positions_of={kind: build_positions(own) for kind, own in parts_of.items() if own.positions is not parts.positions},
        final_norm=parts.norm_placement.after_stack(parts.norm, config.d_model, config.dropout),
    )


def build_heads(config: TransformerConfig, heads: Mapping[str, HeadNeed], vocab_size: int, embedding: nn.Embedding, parts: Parts) -> nn.ModuleDict:
    """The heads an objective asks for, by its names; `parts` are those of the stack below them."""

    def build(need: HeadNeed) -> nn.Module:
        if need.kind == "vocabulary":
            return config.vocabulary_head.build(d_model=config.d_model, vocab_size=vocab_size, embedding=embedding, norm=parts.norm)
        if need.kind == "pooler":
            return config.classifier.build_pooler(d_model=config.d_model, norm=parts.norm)
        if need.kind == "detector":
            return config.classifier.build_detector(d_model=config.d_model, norm=parts.norm)
        assert need.n_classes is not None, f"a head of kind {need.kind} needs a number of classes"
        builders = {
            "pair": config.classifier.build_pair,
            "sequence": config.classifier.build_sequence,
            "token": config.classifier.build_token,
        }
        return builders[need.kind](d_model=config.d_model, n_classes=need.n_classes, norm=parts.norm)

    return nn.ModuleDict({name: build(need) for name, need in heads.items()})

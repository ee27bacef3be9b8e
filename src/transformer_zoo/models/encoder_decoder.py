"""The encoder-decoder: a decoder that also looks at an encoded source (the 2017 Transformer)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from transformer_zoo.layers.blocks import BlockCache
from transformer_zoo.layers.cache import AttentionCache
from transformer_zoo.layers.initialization import initialize
from transformer_zoo.layers.lowering import LoweredMask, MaskLowering
from transformer_zoo.layers.masks import Causal, MaskOperands, Padding, SameDocument
from transformer_zoo.layers.packing import packing_of
from transformer_zoo.layers.stacks import Stack
from transformer_zoo.models.assembly import build_embeddings, build_heads, build_stack
from transformer_zoo.models.base import DecodingState, TransformerConfig, Writer, slots
from transformer_zoo.models.decoder import prompt_positions
from transformer_zoo.models.parts import Parts, SideConfig
from transformer_zoo.records import HeadNeed, Inputs, ModelOutput, SequenceInputs, TranslationInputs


@dataclass(kw_only=True)
class EncoderDecoderConfig(TransformerConfig):
    """Two stacks joined by cross-attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762)."""

    accepts: ClassVar[type[Inputs]] = TranslationInputs
    causal: ClassVar[bool] = True

    share_embeddings: bool = True
    """Whether source and target use one embedding table."""
    encoder: SideConfig = field(default_factory=SideConfig)
    """The source side, where it differs."""
    decoder: SideConfig = field(default_factory=SideConfig)
    """The target side, where it differs."""

    def sides(self) -> dict[str, Parts]:
        return {"encoder": self.encoder.resolve(self.parts()), "decoder": self.decoder.resolve(self.parts())}

    def problems(self) -> list[str]:
        """What does not fit on the model, and on a side that differs from it."""
        found = super().problems()
        for name, parts in self.sides().items():
            known = {f"{name}: {problem}" for problem in found}
            found += [problem for problem in self.part_problems(name, parts) if problem not in known]
        return found

    def build(self, *, vocab_size: int, heads: Mapping[str, HeadNeed]) -> "EncoderDecoder":
        return EncoderDecoder(self, vocab_size=vocab_size, heads=heads)


class EncoderDecoder(Writer):
    """Source ids [B,S] and target ids [B,T] -> target hidden states [B,T,D]. Heads run on the target."""

    def __init__(self, config: EncoderDecoderConfig, *, vocab_size: int, heads: Mapping[str, HeadNeed]) -> None:
        super().__init__()
        encoder, decoder = config.sides().values()
        self.embeddings = build_embeddings(config, vocab_size, encoder)
        self.target_embeddings = build_embeddings(config, vocab_size, decoder)
        if config.share_embeddings:
            self.target_embeddings.token = self.embeddings.token
        self.encoder = build_stack(config, encoder, mask=Padding() & SameDocument(), causal=False)
        self.decoder = build_stack(config, decoder, mask=Causal() & Padding(), causal=True, cross=True)
        self.heads = build_heads(config, heads, vocab_size, self.target_embeddings.token, decoder)
        initialize(self, config.initialization, n_branches=2 * encoder.n_layers + 3 * decoder.n_layers)

    def stacks(self) -> Iterator[Stack]:
        yield self.encoder
        yield self.decoder

    def read(self, text: SequenceInputs) -> Tensor:
        return self.encode(text)

    def encode(self, source: SequenceInputs) -> Tensor:
        """[B,S] -> memory [B,S,D]."""
        places = slots(0, source.token_ids.shape[1], source.token_ids)  # [S]
        index = places if source.positions is None else source.positions  # [S] or [B,S]
        x = self.embeddings(source.token_ids, source.segment_ids, index, self.encoder.positions)  # [B,S,D]
        operands = MaskOperands(
            query_slots=places,
            key_slots=places,
            key_valid=source.valid,
            query_documents=source.document_ids,
            key_documents=source.document_ids,
            query_global=source.global_positions,
            key_global=source.global_positions,
        )
        return self.encoder(x, operands=operands, query_index=index, key_index=index)

    def forward(self, inputs: TranslationInputs) -> ModelOutput:
        memory, target = self.encode(inputs.source), inputs.target
        index = slots(0, target.token_ids.shape[1], target.token_ids)  # [T]
        x = self.target_embeddings(target.token_ids, target.segment_ids, index, self.decoder.positions)  # [B,T,D]
        x = self.decoder(
            x,
            # Target rows are padded at the end, where no earlier position looks.
            operands=MaskOperands(query_slots=index, key_slots=index),
            query_index=index,
            key_index=index,
            memory=memory,
            memory_mask=memory_mask(index, inputs.source.valid),
        )
        return ModelOutput(hidden=x, heads=self.run_heads(x, valid=target.valid, predict_at=inputs.predict_at))

    @torch.no_grad()
    def start(self, inputs: TranslationInputs, *, capacity: int) -> tuple[Tensor, DecodingState]:
        """Encodes sources and reads target prefixes [B,P] (padded on the left); next token's logits [B,V] and the state for at most
        `capacity` target slots."""
        memory, prefix, valid_source = self.encode(inputs.source), inputs.target, inputs.source.valid
        caches = [BlockCache(AttentionCache(capacity=capacity), AttentionCache(fixed=True)) for _ in self.decoder.order]
        positions, valid = prompt_positions(prefix.token_ids, prefix.valid, capacity)
        state = DecodingState(
            caches=caches,
            packing=packing_of(self),
            capacity=capacity,
            length=0,
            positions=positions,
            valid=valid,
            memory_valid=None if valid_source is None or bool(valid_source.all()) else valid_source,
        )
        return self._logits(self._read(prefix.token_ids, state, memory)), state

    def _read(self, token_ids: Tensor, state: DecodingState, memory: Tensor | None = None) -> Tensor:
        """`memory` is given once; after that its keys and values are in the caches."""
        start, end = state.length, state.length + token_ids.shape[1]
        query_index, key_index = state.positions[:, start:end], state.positions[:, :end]
        x = self.target_embeddings(token_ids, None, query_index, self.decoder.positions)  # [B,t,D]
        queries = slots(start, end, token_ids)
        if state.memory_mask is None:
            state.memory_mask = memory_mask(queries, state.memory_valid)
        operands = MaskOperands(
            query_slots=queries,
            key_slots=slots(0, end, token_ids),
            key_valid=None if state.valid is None else state.valid[:, :end],
        )
        scene = self.decoder.scene(operands, query_index, key_index, memory=memory, memory_mask=state.memory_mask)
        state.length = end
        if memory is not None:
            return self.decoder.run(x, scene, caches=state.caches)[:, -1]
        return self._through(self.decoder, x.squeeze(1), scene, state)


def memory_mask(queries: Tensor, source_valid: Tensor | None) -> LoweredMask:
    """What target queries may see of the source: everything but padding."""
    n_keys = 0 if source_valid is None else source_valid.shape[1]
    return MaskLowering(MaskOperands(query_slots=queries, key_slots=slots(0, n_keys, queries), key_valid=source_valid))(Padding())

"""The decoder: every position sees what stands before it (GPT)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transformer_zoo.layers.blocks import BlockCache
from transformer_zoo.layers.cache import AttentionCache
from transformer_zoo.layers.initialization import initialize
from transformer_zoo.layers.masks import Causal, MaskOperands, Padding, Prefix, SameDocument
from transformer_zoo.layers.packing import packing_of
from transformer_zoo.layers.stacks import Stack
from transformer_zoo.models.assembly import build_embeddings, build_heads, build_stack
from transformer_zoo.models.base import DecodingState, TransformerConfig, Writer, slots
from transformer_zoo.models.parts import Parts
from transformer_zoo.records import HeadNeed, Inputs, ModelOutput, SequenceInputs


@dataclass(kw_only=True)
class DecoderConfig(TransformerConfig):
    """A causal stack (Radford et al. 2019, https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)."""

    accepts: ClassVar[type[Inputs]] = SequenceInputs
    causal: ClassVar[bool] = True

    def sides(self) -> dict[str, Parts]:
        return {"decoder": self.parts()}

    def build(self, *, vocab_size: int, heads: Mapping[str, HeadNeed]) -> "Decoder":
        return Decoder(self, vocab_size=vocab_size, heads=heads)


class Decoder(Writer):
    """Token ids [B,T] -> hidden states [B,T,D] that look back; a prefix, where a batch has one, is seen by all."""

    def __init__(self, config: DecoderConfig, *, vocab_size: int, heads: Mapping[str, HeadNeed]) -> None:
        super().__init__()
        parts = config.parts()
        self.embeddings = build_embeddings(config, vocab_size, parts)
        mask = (Causal() | Prefix()) & SameDocument() & Padding()
        self.stack = build_stack(config, parts, mask=mask, causal=True)
        self.heads = build_heads(config, heads, vocab_size, self.embeddings.token, parts)
        initialize(self, config.initialization, n_branches=2 * config.n_layers)

    def stacks(self) -> Iterator[Stack]:
        yield self.stack

    def forward(self, inputs: SequenceInputs) -> ModelOutput:
        places = slots(0, inputs.token_ids.shape[1], inputs.token_ids)  # [T]
        index = places if inputs.positions is None else inputs.positions  # [T] or [B,T]
        x = self.embeddings(inputs.token_ids, inputs.segment_ids, index, self.stack.positions)  # [B,T,D]
        operands = MaskOperands(
            query_slots=places,
            key_slots=places,
            # At the end of a row, where no earlier position looks, padding needs no mask.
            key_valid=inputs.valid if inputs.any_padding or inputs.prefix_length is not None else None,
            query_documents=inputs.document_ids,
            key_documents=inputs.document_ids,
            prefix_length=inputs.prefix_length,
            query_global=inputs.global_positions,
            key_global=inputs.global_positions,
        )
        x = self.stack(x, operands=operands, query_index=index, key_index=index)
        return ModelOutput(hidden=x, heads=self.run_heads(x, valid=inputs.valid, predict_at=inputs.predict_at, last_at=inputs.last_at))

    @torch.no_grad()
    def start(self, inputs: SequenceInputs, *, capacity: int) -> tuple[Tensor, DecodingState]:
        """Reads prompts [B,P], padded on the **left**; returns the next token's logits [B,V] and the state for at most `capacity` slots. A prefix
        counts slots, padding included."""
        caches = [BlockCache(AttentionCache(capacity=capacity), AttentionCache()) for _ in self.stack.order]
        positions, valid = prompt_positions(inputs.token_ids, inputs.valid, capacity)
        state = DecodingState(caches=caches, packing=packing_of(self), capacity=capacity, length=0, positions=positions, valid=valid)
        return self._logits(self._read(inputs.token_ids, state, inputs.prefix_length)), state

    def _read(self, token_ids: Tensor, state: DecodingState, prefix_length: Tensor | None = None) -> Tensor:
        """The prefix is given once: what comes later sees all that stands before it anyway."""
        start, end = state.length, state.length + token_ids.shape[1]
        query_index, key_index = state.positions[:, start:end], state.positions[:, :end]
        x = self.embeddings(token_ids, None, query_index, self.stack.positions)  # [B,t,D]
        operands = MaskOperands(
            query_slots=slots(start, end, token_ids),
            key_slots=slots(0, end, token_ids),
            key_valid=None if state.valid is None else state.valid[:, :end],
            prefix_length=prefix_length,
        )
        scene = self.stack.scene(operands, query_index, key_index)
        state.length = end
        if start == 0:
            return self.stack.run(x, scene, caches=state.caches)[:, -1]
        return self._through(self.stack, x.squeeze(1), scene, state)


def prompt_positions(token_ids: Tensor, valid: Tensor | None, capacity: int) -> tuple[Tensor, Tensor | None]:
    """Positions [B,capacity] of all slots, counted from each row's first real token, and which slots may be seen (None: all)."""
    batch, length = token_ids.shape
    padding = token_ids.new_zeros(batch) if valid is None else (~valid).sum(dim=1)  # [B]
    positions = (slots(0, capacity, token_ids) - padding.unsqueeze(1)).clamp(min=0)
    if valid is None or bool(valid.all()):
        return positions, None
    return positions, torch.cat((valid, valid.new_ones(batch, capacity - length)), dim=1)

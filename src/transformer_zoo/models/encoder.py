"""The encoder: every position sees every other (BERT)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from transformer_zoo.layers.heads import VocabularyHead
from transformer_zoo.layers.initialization import initialize
from transformer_zoo.layers.masks import MaskOperands, Padding, SameDocument
from transformer_zoo.layers.stacks import Stack
from transformer_zoo.models.assembly import build_embeddings, build_heads, build_stack
from transformer_zoo.models.base import Model, TransformerConfig, slots
from transformer_zoo.models.parts import Parts
from transformer_zoo.records import HeadNeed, Inputs, ModelOutput, SequenceInputs


@dataclass(kw_only=True)
class EncoderConfig(TransformerConfig):
    """A bidirectional stack (Devlin et al. 2019, https://arxiv.org/abs/1810.04805)."""

    accepts: ClassVar[type[Inputs]] = SequenceInputs
    causal: ClassVar[bool] = False

    def sides(self) -> dict[str, Parts]:
        return {"encoder": self.parts()}

    def build(self, *, vocab_size: int, heads: Mapping[str, HeadNeed]) -> "Encoder":
        return Encoder(self, vocab_size=vocab_size, heads=heads)


class Encoder(Model):
    """Token ids [B,T] -> hidden states [B,T,D] that look both ways."""

    def __init__(self, config: TransformerConfig, *, vocab_size: int, heads: Mapping[str, HeadNeed], shares_with: "Encoder | None" = None) -> None:
        """`shares_with` is another encoder whose embeddings of tokens, positions and segments are used."""
        super().__init__()
        parts = config.parts()
        self.embeddings = build_embeddings(config, vocab_size, parts)
        self.stack = build_stack(config, parts, mask=Padding() & SameDocument(), causal=False)
        if shares_with is not None:
            self.embeddings.share(shares_with.embeddings)
            self.stack.positions.share(shares_with.stack.positions)
        self.heads = build_heads(config, heads, vocab_size, self.embeddings.token, parts)
        initialize(self, config.initialization, n_branches=2 * config.n_layers)

    @property
    def only_predicts(self) -> bool:
        """Whether every head scores the vocabulary."""
        return all(isinstance(head, VocabularyHead) for head in self.heads.values())

    def stacks(self) -> Iterator[Stack]:
        yield self.stack

    def forward(self, inputs: SequenceInputs) -> ModelOutput:
        places = slots(0, inputs.token_ids.shape[1], inputs.token_ids)  # [T]
        index = places if inputs.positions is None else inputs.positions  # [T] or [B,T]
        x = self.embeddings(inputs.token_ids, inputs.segment_ids, index, self.stack.positions)  # [B,T,D]
        operands = MaskOperands(
            query_slots=places,
            key_slots=places,
            key_valid=inputs.valid,
            query_documents=inputs.document_ids,
            key_documents=inputs.document_ids,
            query_global=inputs.global_positions,
            key_global=inputs.global_positions,
        )
        at = inputs.predict_at
        if at is not None and inputs.only_predicted and self.only_predicts:
            x = self.stack(x, operands=operands, query_index=index, key_index=index, at=at)  # [1,N,D]
            return ModelOutput(hidden=x, heads=self.run_heads(x, valid=None, predict_at=None))
        x = self.stack(x, operands=operands, query_index=index, key_index=index)
        return ModelOutput(hidden=x, heads=self.run_heads(x, valid=inputs.valid, predict_at=at, last_at=inputs.last_at))

"""Causal language modelling: predict the next token."""

from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_zoo.objectives.base import Objective, ObjectiveConfig, chosen
from transformer_zoo.objectives.token_prediction import HEADS, TokenPrediction
from transformer_zoo.records import (
    IGNORED,
    Batch,
    Example,
    Needs,
    SequenceInputs,
    TextBatch,
    TokenBatch,
    Vocabulary,
)


@dataclass(kw_only=True)
class CausalLMConfig(ObjectiveConfig):
    """Predict every next token (Radford et al. 2018, GPT)."""

    def needs(self) -> Needs:
        return Needs(batch=TextBatch, inputs=SequenceInputs, causal=True, heads=HEADS, lookahead=1)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return CausalLM(self.needs(), vocabulary)


class CausalLM(TokenPrediction):
    """Term `clm`. Across a border between masked documents nothing is predicted. Nor is the token that begins every document: where documents are
    joined it always follows the end token, so predicting it says nothing and would flatter the loss."""

    def __init__(self, needs: Needs, vocabulary: Vocabulary) -> None:
        super().__init__("clm", needs)
        self._vocabulary = vocabulary

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        return next_tokens(batch, self._vocabulary, self.term)


def next_tokens(batch: TokenBatch, vocabulary: Vocabulary, term: str) -> Example:
    """Of rows of T+1 tokens, the first T to read and every next token to predict that may be."""
    scored = predicted(batch, vocabulary)  # [B,T]
    targets = batch.token_ids[:, 1:].where(scored, torch.tensor(IGNORED))
    valid, documents = batch.valid[:, :-1], batch.document_ids
    everything = bool(scored.all())
    predict_at, flat_targets = (None, targets.reshape(-1)) if everything else chosen(targets)
    inputs = SequenceInputs(
        token_ids=batch.token_ids[:, :-1].contiguous(),
        valid=None if bool(valid.all()) else valid,
        document_ids=None if documents is None else documents[:, :-1],
        predict_at=predict_at,
    )
    return Example(inputs=inputs, targets={term: flat_targets}, counts={term: int(scored.sum())}, tokens=int(valid.sum()))


def predicted(batch: TokenBatch, vocabulary: Vocabulary) -> Tensor:
    """[B,T] bool: of rows of T+1 tokens, which of the last T may be predicted from what stands before. The token that begins a document may be
    where it ends documents too."""
    scored, specials, documents = batch.valid[:, 1:], vocabulary.specials, batch.document_ids
    if documents is not None:
        scored = scored & (documents[:, 1:] == documents[:, :-1])
    if specials.begin is not None and specials.begin != specials.end:
        scored = scored & (batch.token_ids[:, 1:] != specials.begin)
    return scored

"""Causal language modelling: predict the next token."""

from dataclasses import dataclass

import torch

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
        specials = vocabulary.specials
        return CausalLM(self.needs(), begin=specials.begin if specials.begin != specials.end else None)


class CausalLM(TokenPrediction):
    """Term `clm`. Across a border between masked documents nothing is predicted. Nor is `begin`, the token that begins every document:
    where documents are joined it always follows the end token, so predicting it says nothing and would flatter the loss."""

    def __init__(self, needs: Needs, *, begin: int | None) -> None:
        super().__init__("clm", needs)
        self._begin = begin

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        scored = batch.valid[:, 1:]  # [B,T] of rows of T+1 tokens
        documents = batch.document_ids
        if documents is not None:
            scored = scored & (documents[:, 1:] == documents[:, :-1])
        if self._begin is not None:
            scored = scored & (batch.token_ids[:, 1:] != self._begin)
        targets = batch.token_ids[:, 1:].where(scored, torch.tensor(IGNORED))
        valid = batch.valid[:, :-1]
        everything = bool(scored.all())
        predict_at, flat_targets = (None, targets.reshape(-1)) if everything else chosen(targets)
        inputs = SequenceInputs(
            token_ids=batch.token_ids[:, :-1].contiguous(),
            valid=None if bool(valid.all()) else valid,
            document_ids=None if documents is None else documents[:, :-1],
            predict_at=predict_at,
        )
        return Example(inputs=inputs, targets={"clm": flat_targets}, counts={"clm": int(scored.sum())}, tokens=int(valid.sum()))

"""Masked language modelling."""

import math
from dataclasses import dataclass

from transformer_zoo.objectives.base import Objective, ObjectiveConfig, chosen
from transformer_zoo.objectives.masking import MaskSampler, Split
from transformer_zoo.objectives.token_prediction import HEADS, TokenPrediction
from transformer_zoo.records import (
    Batch,
    Example,
    Needs,
    SequenceInputs,
    TextBatch,
    TokenBatch,
    Vocabulary,
)
from transformer_zoo.settings import Ratio, Share


@dataclass(kw_only=True)
class MaskedLMConfig(ObjectiveConfig):
    """Predict hidden tokens from both sides (Devlin et al. 2019, https://arxiv.org/abs/1810.04805)."""

    mask_ratio: Ratio = 0.15
    """Share of a row's ordinary tokens that is predicted."""
    mask_share: Share = 0.8
    """Of the chosen tokens, the share shown as [MASK]."""
    random_share: Share = 0.1
    """Of the chosen tokens, the share shown as a random ordinary token."""
    keep_share: Share = 0.1
    """Of the chosen tokens, the share shown as they are."""

    def problems(self) -> list[str]:
        """The three shares must sum to one."""
        total = self.mask_share + self.random_share + self.keep_share
        if math.isclose(total, 1.0, abs_tol=1e-9):
            return []
        return [f"mask_share={self.mask_share} + random_share={self.random_share} + keep_share={self.keep_share} is {total:g}; they must sum to 1"]

    def needs(self) -> Needs:
        return Needs(batch=TextBatch, inputs=SequenceInputs, causal=False, heads=HEADS, framed=True)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return MaskedLM(self, vocabulary)


class MaskedLM(TokenPrediction):
    """Term `mlm`."""

    rewrites_tokens = True

    def __init__(self, config: MaskedLMConfig, vocabulary: Vocabulary) -> None:
        super().__init__("mlm", MaskedLMConfig.needs(config))
        self.sampler = MaskSampler(vocabulary, config.mask_ratio, Split(config.mask_share, config.random_share, config.keep_share))

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        hidden = self.sampler.choose(batch)
        seen, targets = self.sampler.hide(batch, hidden, training=training)  # [B,T] each
        inputs = batch.sequence(seen)
        inputs.predict_at, flat_targets = chosen(targets)
        return Example(inputs=inputs, targets={"mlm": flat_targets}, counts={"mlm": int(hidden.sum())}, tokens=int(batch.valid.sum()))

"""Masked language modelling."""

from dataclasses import dataclass

from transformer_zoo.objectives.base import Objective, chosen
from transformer_zoo.objectives.masking.config import MaskingConfig
from transformer_zoo.objectives.masking.ledger import LEDGER
from transformer_zoo.objectives.masking.sampler import MaskSampler
from transformer_zoo.objectives.token_prediction import HEADS, TokenPrediction
from transformer_zoo.records import (
    Batch,
    Example,
    Needs,
    SequenceInputs,
    TokenBatch,
    Vocabulary,
)


@dataclass(kw_only=True)
class MaskedLMConfig(MaskingConfig):
    """Predict hidden tokens from both sides (Devlin et al. 2019, https://arxiv.org/abs/1810.04805)."""

    def needs(self) -> Needs:
        return self.text_needs(SequenceInputs, HEADS)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return MaskedLM(self, vocabulary)


class MaskedLM(TokenPrediction):
    """Term `mlm`."""

    rewrites_tokens = True
    ledger = LEDGER

    def __init__(self, config: MaskedLMConfig, vocabulary: Vocabulary) -> None:
        super().__init__("mlm", MaskedLMConfig.needs(config))
        self.sampler = MaskSampler(config, vocabulary)

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        masked = self.sampler(batch, training=training)
        inputs = batch.sequence(masked.seen)
        inputs.predict_at, flat_targets = chosen(masked.targets)
        inputs.only_predicted = True
        return Example(
            inputs=inputs,
            targets={"mlm": flat_targets},
            counts={"mlm": masked.n_predicted},
            tokens=int(batch.valid.sum()),
            ledger=masked.ledger,
        )

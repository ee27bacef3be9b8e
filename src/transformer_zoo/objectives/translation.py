"""Translation: predict the target sentence from the source."""

from dataclasses import dataclass

from transformer_zoo.objectives.base import Objective, ObjectiveConfig, chosen
from transformer_zoo.objectives.token_prediction import HEADS, TokenPrediction
from transformer_zoo.records import (
    IGNORED,
    Batch,
    Example,
    Needs,
    SequenceInputs,
    TranslationBatch,
    TranslationInputs,
    Vocabulary,
)
from transformer_zoo.settings import Probability


@dataclass(kw_only=True)
class TranslationConfig(ObjectiveConfig):
    """Predict every next target token from the source and the target so far (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762)."""

    label_smoothing: Probability = 0.1
    """Share of the target's probability spread evenly over the vocabulary (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567)."""

    def needs(self) -> Needs:
        return Needs(batch=TranslationBatch, inputs=TranslationInputs, causal=True, heads=HEADS)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return Translation("translation", self.needs(), label_smoothing=self.label_smoothing)


class Translation(TokenPrediction):
    """Term `translation`; smoothing counts in training only."""

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TranslationBatch)
        scored = batch.target_valid[:, 1:]  # [B,T] of rows of T+1 tokens
        predict_at, targets = chosen(batch.target_ids[:, 1:].masked_fill(~scored, IGNORED))
        source_valid = None if bool(batch.source_valid.all()) else batch.source_valid
        inputs = TranslationInputs(
            source=SequenceInputs(token_ids=batch.source_ids, valid=source_valid),
            target=SequenceInputs(token_ids=batch.target_ids[:, :-1].contiguous(), valid=batch.target_valid[:, :-1]),
            predict_at=predict_at,
        )
        count = int(scored.sum())
        tokens = int(batch.source_valid.sum()) + count
        return Example(inputs=inputs, targets={"translation": targets}, counts={"translation": count}, tokens=tokens)

"""The settings that all objectives share which hide tokens of a text and ask for them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from transformer_zoo.objectives.base import ObjectiveConfig
from transformer_zoo.objectives.masking.ratio_schedules import ConstantRatioConfig, RatioScheduleConfig
from transformer_zoo.objectives.masking.units import TokenUnitConfig, UnitConfig
from transformer_zoo.records import HeadNeed, Inputs, Needs, Vocabulary
from transformer_zoo.settings import OneOf, PositiveInt, Ratio, Share


@dataclass(kw_only=True)
class MaskingConfig(ObjectiveConfig):
    """What is hidden, how much of it, and how it is shown."""

    mask_ratio: Ratio = 0.15
    """Share of a row's ordinary tokens that is hidden and predicted. Special tokens and padding never are."""
    corruption_rate: Ratio | None = None
    """Share that is hidden, where it differs from the share that is predicted (Wettig et al. 2023, https://arxiv.org/abs/2202.08005); null:
    mask_ratio."""
    prediction_rate: Ratio | None = None
    """Share that is predicted, a part of what is hidden; null: mask_ratio."""
    mask_share: Share = 0.8
    """Of the hidden tokens, the share shown as [MASK]."""
    random_share: Share = 0.1
    """Of the hidden tokens, the share shown as a random ordinary token."""
    keep_share: Share = 0.1
    """Of the hidden tokens, the share shown as they are."""
    unit: UnitConfig = field(default_factory=TokenUnitConfig)
    """What is hidden at once."""
    count: Annotated[str, OneOf("exact", "bernoulli")] = "exact"
    """exact: the share of each row, rounded; bernoulli: each unit by a coin of its own. Either way at least one token, where there is one. With
    units that are not cut a row has up to one unit more or less, the share on average."""
    max_predictions: PositiveInt | None = None
    """Most tokens of a row that are predicted; where the two rates are the same no more are hidden, either (BERT: 20 of 128). null: no limit."""
    epoch_cycle: PositiveInt | None = None
    """Epochs after which masks repeat. null: new masks in every epoch (dynamic, RoBERTa); 1: the same in every epoch (static); 10: BERT's
    dupe_factor."""
    ratio_schedule: RatioScheduleConfig = field(default_factory=ConstantRatioConfig)
    """How mask_ratio moves over training; it is the ratio at the end, and that of held-out losses."""

    def problems(self) -> list[str]:
        """Shares that do not sum to one, predictions of what is not hidden."""
        return [*self._share_problems(), *self._rate_problems()]

    def _share_problems(self) -> Iterator[str]:
        total = self.mask_share + self.random_share + self.keep_share
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            yield f"mask_share={self.mask_share} + random_share={self.random_share} + keep_share={self.keep_share} is {total:g}; they must sum to 1"

    def _rate_problems(self) -> Iterator[str]:
        low, high = self.ratio_schedule.bounds(self.mask_ratio)
        corruption, prediction = self.corruption_rate, self.prediction_rate
        if corruption is not None and prediction is not None and low != high:
            yield "corruption_rate and prediction_rate are both given, so that ratio_schedule moves nothing: leave one of them null"
        hidden, asked = low if corruption is None else corruption, high if prediction is None else prediction
        if (corruption is not None or prediction is not None) and asked > hidden:
            what = f"prediction_rate={asked:g}" if prediction is not None else f"the mask_ratio of {asked:g}"
            than = f"corruption_rate={hidden:g}" if corruption is not None else f"the mask_ratio of {hidden:g}"
            yield f"{what} is above {than}, but only what is hidden can be predicted: choose a prediction_rate of at most corruption_rate"

    def text_needs(self, inputs: type[Inputs], heads: Mapping[str, HeadNeed]) -> Needs:
        """Rows of framed text, and what unit and schedule ask for."""
        return Needs(
            batch=self.unit.batch,
            inputs=inputs,
            causal=False,
            heads=heads,
            framed=True,
            collocations=self.unit.collocation_need(),
            progress=self.ratio_schedule.follows_budget,
        )

    def row_problems(self, sequence_length: int) -> list[str]:
        return self.unit.row_problems(sequence_length)

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        return self.unit.vocabulary_problems(vocabulary)

"""Batches of any record made of random tokens, and any objective with any model, for tests that need no data."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from transformer_zoo.experiments import compose
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.models.base import Model
from transformer_zoo.objectives.base import Objective
from transformer_zoo.records import (
    IGNORED,
    Batch,
    LabelledBatch,
    PairBatch,
    Rows,
    SpecialTokens,
    TaggedBatch,
    TextBatch,
    TranslationBatch,
    Vocabulary,
)

B, T, N_CLASSES = 4, 48, 3
VOCABULARY = Vocabulary(
    size=300,
    specials=SpecialTokens(pad=0, unknown=1, begin=2, end=3, cls=4, sep=5, mask=6),
    sentinels=tuple(range(150, 300)),
    full_stops=(20, 21),
)
SETTINGS: dict[str, list[str]] = {
    "bigbird": ["model.attention.block_size=4", "model.attention.n_random=1"],
    "longformer": ["model.attention.window=4"],
    "combined": ["+objective@objective.parts.a=mlm", "+objective@objective.parts.b=nsp"],
    "mixture": ["+objective@objective.parts.a=clm", "+objective@objective.parts.b=prefix_lm", "+objective@objective.parts.c=fill_in_the_middle"],
}
"""What some choices need: attention that does not see all of so short a row, parts."""


def batch(objective: Objective, number: int, *, ragged: bool) -> Batch:
    """Another one for every number; ragged: rows of other lengths, in batches of other widths."""
    needs, draws = objective.needs(), torch.Generator().manual_seed(number)
    width = T + needs.lookahead
    rows = Rows(seed=0, epoch=torch.zeros(B, dtype=torch.int64), index=torch.arange(B) + number * B)

    def text() -> tuple[Tensor, Tensor]:
        lengths = torch.randint(width // 2, width, (B, 1), generator=draws) if ragged else torch.full((B, 1), width)
        return shorter(torch.randint(7, 150, (B, width), generator=draws), torch.arange(width) < lengths)

    ids, valid = text()
    common: dict[str, Any] = {"rows": rows, "token_ids": ids, "valid": valid}
    if needs.batch is TranslationBatch:
        target, target_valid = text()
        return TranslationBatch(rows=rows, source_ids=ids, source_valid=valid, target_ids=target, target_valid=target_valid)
    if needs.batch is PairBatch:
        segments = (torch.arange(ids.shape[1]) > 20).long().expand(B, -1).contiguous()
        return PairBatch(**common, segment_ids=segments, is_next=torch.randint(0, 2, (B,), generator=draws))
    if needs.batch is LabelledBatch:
        return LabelledBatch(**common, labels=torch.randint(0, N_CLASSES, (B,), generator=draws))
    if needs.batch is TaggedBatch:
        return TaggedBatch(**common, tags=torch.randint(0, N_CLASSES, ids.shape, generator=draws).masked_fill(~valid, IGNORED))
    assert needs.batch is TextBatch
    return TextBatch(**common)


def shorter(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Cut to the longest row, padding as 0."""
    width = int(valid.sum(1).max())
    return x[:, :width].masked_fill(~valid[:, :width], 0), valid[:, :width]


def configured(objective: str, recipe: str) -> ExperimentConfig:
    layers = 2 if recipe in ("modernbert", "gpt3") else 1  # these have two kinds of layers
    more = [*SETTINGS.get(recipe, []), *SETTINGS.get(objective, [])]
    overrides = [f"model={recipe}", f"objective={objective}", "model/size=tiny", f"model.n_layers={layers}", *more]
    return compose.experiment([*overrides, "data=pocket"])


def built(config: ExperimentConfig) -> tuple[Model, Objective]:
    made = config.objective.build(vocabulary=VOCABULARY, n_classes=N_CLASSES)
    heads = {name: replace(need, n_classes=N_CLASSES) if need.waits_for_classes else need for name, need in made.needs().heads.items()}
    return config.model.build(vocab_size=VOCABULARY.size, heads=heads).train(), made


def without_dropout(model: Model) -> Model:
    for module in model.modules():
        for name in ("p", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model

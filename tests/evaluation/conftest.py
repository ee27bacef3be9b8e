"""A pocket data set small enough for tests, and contexts on it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from transformer_zoo.data.module import DataModule, build_data
from transformer_zoo.data.pocket_data import PocketDataConfig
from transformer_zoo.data.tokenizers import TokenizerConfig, WordTokenizerConfig
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.layers.vocabulary_scores import VocabularyScores
from transformer_zoo.objectives.base import ObjectiveConfig
from transformer_zoo.records import ModelOutput

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DataModule]:
    """Opens the built-in language, with what an objective needs."""
    cache: Path = tmp_path_factory.mktemp("cache")
    opened: dict[str, DataModule] = {}

    def open_pocket(objective: ObjectiveConfig, tokenizer: TokenizerConfig | None = None, **settings: Any) -> DataModule:
        config = PocketDataConfig(**{"n_documents": 30, "n_held_out": 8, "sequence_length": 48, **settings})
        tokenizer = tokenizer or WordTokenizerConfig()
        key = f"{config} {tokenizer} {objective.needs()}"
        if key not in opened:
            opened[key] = build_data(config, tokenizer, needs=objective.needs(), cache_dir=cache)
        return opened[key]

    return open_pocket


@pytest.fixture(scope="session")
def context(pocket: Callable[..., DataModule]) -> Callable[..., EvaluationContext]:
    """An evaluation context on the built-in language."""

    def make(objective: ObjectiveConfig, tokenizer: TokenizerConfig | None = None, **settings: Any) -> EvaluationContext:
        data = pocket(objective, tokenizer, **settings)
        return EvaluationContext(data=data, objective=objective.build(vocabulary=data.vocabulary))

    return make


class UniformModel(nn.Module):
    """Says that every token, and every class, is equally likely; `favourite` is said to be twice as likely as the others."""

    def __init__(self, vocabulary: int, favourite: int | None = None) -> None:
        super().__init__()
        self.bias = torch.zeros(vocabulary)
        if favourite is not None:
            self.bias[favourite] = math.log(2)
        self.modes: list[bool] = []

    @property
    def scorer(self) -> "UniformModel":
        return self

    def forward(self, inputs: Any) -> ModelOutput:
        self.modes.append(self.training)
        target = getattr(inputs, "target", inputs)
        rows, columns = target.token_ids.shape
        n = rows * columns if inputs.predict_at is None else len(inputs.predict_at)
        scores = VocabularyScores(hidden=torch.zeros(n, 1), weight=torch.zeros(len(self.bias), 1), bias=self.bias)
        return ModelOutput(hidden=torch.zeros(rows, columns, 1), heads={"vocabulary": scores, "nsp": torch.zeros(rows, 2)})


@pytest.fixture
def uniform() -> type[UniformModel]:
    return UniformModel

"""`n_tokens` of a reader is what an objective that scores everything counts, so that bits per byte are exact."""

from pathlib import Path

import numpy as np
import pytest
from tiny_data import some

from transformer_zoo.data.module import build_data
from transformer_zoo.data.pocket_data import PocketDataConfig
from transformer_zoo.data.tokenizers import WordTokenizerConfig
from transformer_zoo.objectives.base import ObjectiveConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.translation import TranslationConfig


@pytest.mark.parametrize("packing", ["separate", "concatenate", "document_mask"])
@pytest.mark.parametrize("objective", [CausalLMConfig(), TranslationConfig()], ids=["clm", "translation"])
def test_everything_is_counted_once(tmp_path: Path, packing: str, objective: ObjectiveConfig) -> None:
    config = PocketDataConfig(n_documents=12, n_held_out=3, sequence_length=24, packing=packing)
    data = build_data(config, WordTokenizerConfig(), needs=objective.needs(), cache_dir=tmp_path)
    reader = data.reader("validation", objective.needs())
    made = objective.build(vocabulary=data.vocabulary)
    parts = np.array_split(np.arange(len(reader)), 3)
    assert sum(sum(made.prepare(some(reader, part)).counts.values()) for part in parts) == reader.n_tokens

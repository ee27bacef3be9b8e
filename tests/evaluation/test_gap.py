"""How far a loss is from the best possible one."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from transformer_zoo.data.tokenizers import CharTokenizerConfig
from transformer_zoo.errors import ConfigError
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.floor import best_possible
from transformer_zoo.evaluation.gap import GapConfig
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig

Make = Callable[..., EvaluationContext]


@pytest.mark.parametrize("objective", [CausalLMConfig(), MaskedLMConfig(mask_ratio=0.3)], ids=["clm", "mlm"])
def test_the_gap_is_the_loss_less_the_floor(context: Make, uniform: Callable[..., Any], objective: Any) -> None:
    here = context(objective, sequence_length=24)
    size = here.data.vocabulary.size
    floor = (best_possible(LossConfig(), here) or {})["validation/loss"]
    assert GapConfig().build(here)(uniform(size)) == {
        "validation/gap/loss": pytest.approx(math.log(size) - floor, rel=1e-6),
        "validation/gap/floor": pytest.approx(floor, rel=1e-9),
        "validation/gap/relative": pytest.approx(math.log(size) / floor, rel=1e-6),
    }


def test_where_no_floor_is_known_that_is_said(context: Make) -> None:
    with pytest.raises(ConfigError, match="evaluation=gap: no best possible loss is known here: it needs data=pocket, tokenizer=word"):
        GapConfig().build(context(CausalLMConfig(), CharTokenizerConfig(), sequence_length=24))

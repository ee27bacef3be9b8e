import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from transformer_zoo.data.tokenizers import ByteTokenizerConfig
from transformer_zoo.errors import DataError, NumericError
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.classes import NextSentenceConfig
from transformer_zoo.objectives.combined import MaskedPairsConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.translation import TranslationConfig

OBJECTIVES = [CausalLMConfig(), MaskedLMConfig(), NextSentenceConfig(), MaskedPairsConfig(nsp_weight=0.5), TranslationConfig()]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_a_model_that_knows_nothing_loses_the_logarithm_of_its_choices(
    context: Callable[..., EvaluationContext], uniform: Callable[..., Any], objective: Any
) -> None:
    here = context(objective)
    size = here.data.vocabulary.size
    metrics = LossConfig().build(here)(uniform(size))
    expected = {term: math.log(2 if term == "nsp" else size) for term in here.objective.weights}
    wanted = sum(weight * expected[term] for term, weight in here.objective.weights.items())
    assert metrics["validation/loss"] == pytest.approx(wanted, rel=1e-6), "label smoothing plays no part"
    if len(expected) > 1:
        assert {term: metrics[f"validation/loss/{term}"] for term in expected} == pytest.approx(expected, rel=1e-6)
    else:
        assert not any(name.startswith("validation/loss/") for name in metrics)
    assert {f"validation/{term}_accuracy" for term in expected} <= set(metrics)
    language = here.objective.language_term
    assert ("validation/perplexity" in metrics) == ("validation/bits_per_byte" in metrics) == (language is not None)
    if language is not None:
        assert metrics["validation/perplexity"] == pytest.approx(size, rel=1e-5)


@pytest.mark.parametrize("objective", [CausalLMConfig(), TranslationConfig()], ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("tokenizer", [None, ByteTokenizerConfig()], ids=["word", "byte"])
def test_bits_per_byte_is_the_loss_over_the_bytes_of_the_text(
    context: Callable[..., EvaluationContext], uniform: Callable[..., Any], objective: Any, tokenizer: Any
) -> None:
    here = context(objective, tokenizer, sequence_length=512)
    evaluation = LossConfig().build(here)
    model = uniform(here.data.vocabulary.size)
    source = here.data.source
    if isinstance(objective, TranslationConfig):
        texts = [target for _, target in source.parallel("validation")]
    else:
        texts = [text for text in source.documents("validation") if text is not None]
    # every token of every text is predicted once, and its end
    n_predicted = sum(len(ids) + 1 for ids in here.data.tokenizer.encode_batch(texts, specials=False))
    n_bytes = sum(len(text.encode()) for text in texts)
    wanted = n_predicted * math.log2(here.data.vocabulary.size) / n_bytes
    assert evaluation(model)["validation/bits_per_byte"] == pytest.approx(wanted, rel=1e-6)


def test_masked_tokens_count_their_share_of_the_bytes(context: Callable[..., EvaluationContext], uniform: Callable[..., Any]) -> None:
    values = []
    for ratio in (0.1, 0.5):
        here = context(MaskedLMConfig(mask_ratio=ratio))
        values.append(LossConfig().build(here)(uniform(here.data.vocabulary.size))["validation/bits_per_byte"])
        reader = here.data.reader("validation", here.objective.needs())
        bits = math.log2(here.data.vocabulary.size)
        assert values[-1] == pytest.approx(bits * reader.n_tokens / reader.n_bytes, rel=1e-6)
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_the_same_twice_in_any_batch_size_and_over_processes(
    context: Callable[..., EvaluationContext], uniform: Callable[..., Any], objective: Any
) -> None:
    here = context(objective)
    model = uniform(here.data.vocabulary.size, favourite=9)
    first = LossConfig(batch_size=5).build(here)(model)
    assert first == LossConfig(batch_size=5).build(here)(model)
    assert first == pytest.approx(LossConfig(batch_size=64).build(here)(model), rel=1e-9)

    parts: list[torch.Tensor] = []
    for rank in (0, 1):
        alone = replace(here, rank=rank, world_size=2, total=lambda values: parts.append(values) or values)
        LossConfig(batch_size=5).build(alone)(model)
    together = replace(here, rank=0, world_size=2, total=lambda values: parts[0] + parts[1])
    assert first == pytest.approx(LossConfig(batch_size=5).build(together)(model), rel=1e-9)


def test_accuracy_counts_the_likeliest(context: Callable[..., EvaluationContext], uniform: Callable[..., Any]) -> None:
    here = context(CausalLMConfig())
    stop = here.data.tokenizer.id(".")
    metrics = LossConfig().build(here)(uniform(here.data.vocabulary.size, favourite=stop))
    ids = [token for text in here.data.source.documents("validation") if text for token in [*here.data.tokenizer.encode(text), -1]]
    assert metrics["validation/clm_accuracy"] == pytest.approx(ids.count(stop) / len(ids))


def test_splits_samples_and_modes(context: Callable[..., EvaluationContext], uniform: Callable[..., Any]) -> None:
    here = context(CausalLMConfig())
    model = uniform(here.data.vocabulary.size, favourite=9).train()
    seen: list[int] = []

    def counted(examples: Any) -> Any:
        for example in examples:
            seen.append(len(example.inputs.token_ids))
            yield example

    report = LossConfig(split="test", max_samples=5, batch_size=2).build(replace(here, guard=counted)).report(model)
    assert all(name.startswith("test/") for name in report.metrics)
    assert sum(seen) == 5
    assert set(model.modes) == {False}
    assert model.training
    with pytest.raises(DataError, match="there is no split 'nowhere'"):
        LossConfig(split="nowhere").build(here)


def test_a_loss_that_is_no_number_is_an_error(context: Callable[..., EvaluationContext], uniform: Callable[..., Any]) -> None:
    here = context(CausalLMConfig())
    model = uniform(here.data.vocabulary.size)
    model.bias[0] = float("nan")
    with pytest.raises(NumericError, match="the validation loss is nan: the model diverged"):
        LossConfig().build(here)(model)

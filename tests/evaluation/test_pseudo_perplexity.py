import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from contracts import builders
from transformer_zoo.data.tokenizers import ByteTokenizerConfig
from transformer_zoo.errors import ConfigError
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.evaluation.pseudo_perplexity import PseudoPerplexity, PseudoPerplexityConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.combined import MaskedPairsConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.records import HeadNeed, SequenceInputs

Make = Callable[..., EvaluationContext]


def evaluation(here: EvaluationContext, **settings: Any) -> PseudoPerplexity:
    made = PseudoPerplexityConfig(**settings).build(here)
    assert isinstance(made, PseudoPerplexity)
    return made


def small_encoder(vocab_size: int) -> Any:
    torch.manual_seed(1)
    return builders.config("encoder", max_length=64).build(vocab_size=vocab_size, heads={"vocabulary": HeadNeed(kind="vocabulary")}).eval()


def one_at_a_time(here: EvaluationContext, model: Any, max_samples: int) -> tuple[list[float], list[bool]]:
    """A plain loop: one forward for each ordinary token."""
    specials, losses, right = here.data.vocabulary.specials, [], []
    for batch in evaluation(here, max_samples=max_samples).text.batches():
        documents = batch.document_ids
        for row, (ids, valid) in enumerate(zip(batch.token_ids, batch.valid, strict=True)):
            length = int(valid.sum())
            for place in range(length):
                if int(ids[place]) in specials.ids():
                    continue
                shown = ids[None, :length].clone()
                shown[0, place] = int(specials.mask or -1)
                with torch.no_grad():
                    inputs = SequenceInputs(token_ids=shown, document_ids=None if documents is None else documents[row : row + 1, :length])
                    logits = model(inputs).heads["vocabulary"].logits()[place]
                losses.append(float(torch.nn.functional.cross_entropy(logits, ids[place])))
                right.append(int(logits.argmax()) == int(ids[place]))
    return losses, right


@pytest.mark.parametrize("tokenizer", [None, ByteTokenizerConfig()], ids=["word", "byte"])
def test_knowing_nothing_costs_the_vocabulary_for_each_token(context: Make, uniform: Callable[..., Any], tokenizer: Any) -> None:
    here = context(MaskedLMConfig(), tokenizer, sequence_length=40)
    size = here.data.vocabulary.size
    texts = [text for text in here.data.source.documents("validation") if text is not None]
    n_tokens = sum(map(len, here.data.tokenizer.encode_batch(texts, specials=False)))
    report = evaluation(here, max_samples=None).report(uniform(size))
    wanted = math.log2(size) * n_tokens / sum(len(text.encode()) for text in texts)
    assert report.metrics["validation/pseudo_bits_per_byte"] == pytest.approx(wanted, rel=1e-6)
    assert report.metrics["validation/pseudo_loss"] == pytest.approx(math.log(size), rel=1e-6)
    assert report.metrics["validation/pseudo_perplexity"] == pytest.approx(size, rel=1e-5)
    n_rows = len(evaluation(here).reader)
    assert report.notes == {"pseudo_perplexity": f"{n_tokens} tokens of {n_rows} samples, each hidden alone"}


def test_bits_per_byte_are_of_the_text_that_a_decoder_is_measured_on(context: Make, uniform: Callable[..., Any]) -> None:
    """Both know nothing; the decoder says the ends of documents besides."""
    encoder, decoder = context(MaskedLMConfig(), sequence_length=512), context(CausalLMConfig(), sequence_length=512)
    size = encoder.data.vocabulary.size
    both = [evaluation(encoder, max_samples=None)(uniform(size))["validation/pseudo_bits_per_byte"]]
    both.append(LossConfig().build(decoder)(uniform(size))["validation/bits_per_byte"])
    n_tokens = evaluation(encoder).reader.n_tokens
    assert both[0] * (n_tokens + 8) / n_tokens == pytest.approx(both[1], rel=1e-6)


@pytest.mark.parametrize("packing", ["separate", "document_mask"])
def test_equal_to_one_forward_for_each_token(context: Make, packing: str) -> None:
    here = context(MaskedLMConfig(), sequence_length=18, packing=packing)
    model = small_encoder(here.data.vocabulary.size)
    losses, right = one_at_a_time(here, model, 5)
    for batch_size in (4, 64):
        metrics = evaluation(here, max_samples=5, batch_size=batch_size)(model)
        assert metrics["validation/pseudo_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
        assert metrics["validation/pseudo_accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-12)


def test_no_forward_is_larger_than_asked_and_each_hides_one_token_a_row(context: Make, uniform: Callable[..., Any]) -> None:
    here = context(MaskedPairsConfig(), sequence_length=20)
    model, shown = uniform(here.data.vocabulary.size), []
    model.register_forward_pre_hook(lambda _, arguments: shown.append(arguments[0]))
    evaluation(here, max_samples=3, batch_size=7).report(model)
    assert max(len(inputs.token_ids) for inputs in shown) == 7
    assert all(((inputs.token_ids == here.data.vocabulary.specials.mask).sum(dim=1) == 1).all() for inputs in shown)
    assert all(inputs.valid is None for inputs in shown)


def test_several_processes_and_the_same_twice(context: Make) -> None:
    here = context(MaskedLMConfig(), sequence_length=16)
    model = small_encoder(here.data.vocabulary.size)
    alone = evaluation(here, max_samples=6).report(model)
    assert evaluation(here, max_samples=6).report(model) == alone
    parts: list[torch.Tensor] = []
    for rank in (0, 1):
        evaluation(replace(here, rank=rank, world_size=2, total=lambda values: parts.append(values) or values), max_samples=6).report(model)
    together = evaluation(replace(here, world_size=2, total=lambda values: parts[0] + parts[1]), max_samples=6).report(model)
    assert together.notes == alone.notes
    assert together.metrics == pytest.approx(alone.metrics, rel=1e-9)


def test_a_decoder_is_refused(context: Make) -> None:
    with pytest.raises(ConfigError, match=r"^evaluation=pseudo_perplexity hides tokens, and this model was not trained to .*: use evaluation=loss$"):
        PseudoPerplexityConfig().build(context(CausalLMConfig()))

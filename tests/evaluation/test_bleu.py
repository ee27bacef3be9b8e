from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from sacrebleu.metrics import BLEU
from torch import Tensor, nn

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.bleu import BleuConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.translation import TranslationConfig
from transformer_zoo.records import TranslationInputs

Make = Callable[..., EvaluationContext]


class KnowItAll(nn.Module):
    """Has learnt one translation by heart for every source; of every third one it forgets the second half."""

    max_length = None

    def __init__(self, tokenizer: Tokenizer, pairs: list[tuple[str, str]]) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.known = {source: self.remembered(i, target) for i, (source, target) in enumerate(pairs)}
        self.batches: list[int] = []

    @staticmethod
    def remembered(number: int, target: str) -> str:
        words = target.split()
        return " ".join(words[: len(words) // 2] if number % 3 == 0 else words)

    def start(self, inputs: TranslationInputs, *, capacity: int) -> tuple[Tensor, "KnowItAllState"]:
        assert not self.training
        assert inputs.source.valid is not None
        specials = self.tokenizer.vocabulary.specials
        assert inputs.target.token_ids.tolist() == [[specials.begin]] * len(inputs.target.token_ids)
        answers = []
        for ids, valid in zip(inputs.source.token_ids, inputs.source.valid, strict=True):
            assert int(ids[valid][-1]) == specials.end
            answers.append([*self.tokenizer.encode(self.known[self.tokenizer.decode(ids[valid].tolist())]), specials.end])
        self.batches.append(len(answers))
        width = max(map(len, answers))
        state = KnowItAllState(torch.tensor([row + [specials.end] * (width - len(row)) for row in answers]))
        return self.step(torch.zeros(len(answers)), state), state

    def step(self, token_ids: Tensor, state: "KnowItAllState") -> Tensor:
        logits = torch.full((len(state.answers), self.tokenizer.vocabulary.size), -20.0)
        column = min(state.length, state.answers.shape[1] - 1)
        logits.scatter_(1, state.answers[:, column : column + 1], 20.0)
        state.length += 1
        return logits


class KnowItAllState:
    def __init__(self, answers: Tensor) -> None:
        self.answers, self.length = answers, 0

    def select(self, rows: Tensor) -> None:
        self.answers = self.answers[rows]

    def spread(self, fan: int) -> None:
        self.answers = self.answers.repeat_interleave(fan, dim=0)


@pytest.fixture(scope="module")
def here(context: Make) -> EvaluationContext:
    return context(TranslationConfig())


@pytest.fixture
def pairs(here: EvaluationContext) -> list[tuple[str, str]]:
    return list(here.data.source.parallel("validation"))


def expected(model: KnowItAll, pairs: list[tuple[str, str]]) -> Any:
    return BLEU(force=True).corpus_score([model.known[source] for source, _ in pairs], [[target for _, target in pairs]]).score


def test_translations_are_scored_as_sacrebleu_scores_them(here: EvaluationContext, pairs: list[tuple[str, str]]) -> None:
    model = KnowItAll(here.data.tokenizer, pairs).train()
    report = BleuConfig(batch_size=7).build(here).report(model)
    assert report.metrics == {"validation/bleu": pytest.approx(expected(model, pairs), abs=1e-9)}
    assert 20 < report.metrics["validation/bleu"] < 95
    assert report.notes["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert model.training
    assert max(model.batches) == 7


def test_beam_and_greedy_and_the_same_twice(here: EvaluationContext, pairs: list[tuple[str, str]]) -> None:
    model = KnowItAll(here.data.tokenizer, pairs)
    values = [BleuConfig(beam_size=k, batch_size=size).build(here)(model) for k, size in ((1, 64), (4, 64), (4, 5))]
    assert values[0] == values[1] == values[2]


def test_a_sample_of_the_split(here: EvaluationContext, pairs: list[tuple[str, str]]) -> None:
    model = KnowItAll(here.data.tokenizer, pairs)
    found = BleuConfig(max_samples=3, lowercase=True).build(here).report(model)
    chosen = [pairs[0], pairs[(len(pairs) - 1) // 2], pairs[-1]]
    assert found.metrics == {"validation/bleu": pytest.approx(expected(model, chosen), abs=1e-9)}
    assert "case:lc" in found.notes["bleu"]
    assert sum(model.batches) == 3


def test_several_processes_add_up_their_counts(here: EvaluationContext, pairs: list[tuple[str, str]]) -> None:
    model = KnowItAll(here.data.tokenizer, pairs)
    parts: list[Tensor] = []
    for rank in (0, 1):
        BleuConfig().build(replace(here, rank=rank, world_size=2, total=lambda v: parts.append(v) or v))(model)
    together = replace(here, world_size=2, total=lambda values: parts[0] + parts[1])
    assert BleuConfig().build(together)(model) == {"validation/bleu": pytest.approx(expected(model, pairs), abs=1e-9)}
    # a process without a share
    report = BleuConfig(max_samples=1).build(replace(here, rank=1, world_size=2)).report(model)
    assert report.metrics == {"validation/bleu": 0.0}


def test_what_cannot_be_translated_is_refused(context: Make, here: EvaluationContext) -> None:
    with pytest.raises(ConfigError, match="evaluation=bleu needs a model trained with objective=translation"):
        BleuConfig().build(context(CausalLMConfig()))
    with pytest.raises(DataError, match="there is no split 'nowhere'"):
        BleuConfig(split="nowhere").build(here)

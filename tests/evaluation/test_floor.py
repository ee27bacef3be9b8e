import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from transformer_zoo.data.batching import make_rows
from transformer_zoo.data.pocket import PocketLanguage
from transformer_zoo.data.pocket.floors import HIDDEN, Floors
from transformer_zoo.data.tokenizers import CharTokenizerConfig
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.floor import best_possible
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.classes import ClassificationConfig, NextSentenceConfig
from transformer_zoo.objectives.combined import MaskedOrderConfig, MaskedPairsConfig
from transformer_zoo.objectives.denoising import DenoisingConfig
from transformer_zoo.objectives.fill_in_the_middle import FillInTheMiddleConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.mixture import MixtureConfig
from transformer_zoo.objectives.prefix_lm import PrefixLMConfig
from transformer_zoo.objectives.replaced_token import ReplacedTokenConfig
from transformer_zoo.objectives.span_corruption import SpanCorruptionConfig
from transformer_zoo.objectives.translation import TranslationConfig
from transformer_zoo.records import IGNORED

Make = Callable[..., EvaluationContext]


@pytest.fixture(scope="module")
def floors() -> Floors:
    return Floors(PocketLanguage())


def rows_of(here: EvaluationContext) -> list[tuple[Any, Any]]:
    """(batch, example) of every held-out sample, one at a time."""
    reader = here.data.reader("validation", here.objective.needs())
    batches = [reader.batch(np.array([i]), make_rows(0, np.array([0]), np.array([i]))) for i in range(len(reader))]
    return [(batch, here.objective.prepare(batch, training=False)) for batch in batches]


def spelled(here: EvaluationContext, ids: Any) -> list[str]:
    return [here.data.tokenizer.token(int(i)) for i in ids]


def test_whole_documents_cost_their_own_log_probability(context: Make, floors: Floors) -> None:
    here = context(CausalLMConfig(), sequence_length=512)
    total = count = 0.0
    for text in here.data.source.documents("validation"):
        if text is not None:
            symbols = np.append(floors.language.symbols(text.split()), floors.language.end_symbol)
            total += floors.next_word(symbols[None], np.array([0])).sum()
            count += len(symbols)
    assert best_possible(LossConfig(), here) == {"validation/loss": pytest.approx(total / count, rel=1e-9)}


def test_windows_of_next_words(context: Make, floors: Floors) -> None:
    here = context(CausalLMConfig(), sequence_length=16)
    total = count = 0.0
    for batch, _ in rows_of(here):
        words = spelled(here, batch.token_ids[0])
        begins = words[0] == "[BOS]"
        words = words[1:] if begins else words
        ends = words[-1] == "[EOS]"
        symbols = floors.language.symbols(words[: len(words) - ends])
        symbols = np.append(symbols, floors.language.end_symbol) if ends else symbols
        losses = floors.next_word(symbols[None], batch.offset.numpy())[0]
        losses = losses if begins else losses[1:]  # the first word of a later window is given
        total, count = total + losses.sum(), count + len(losses)
    for batch_size in (3, 64):
        assert best_possible(LossConfig(batch_size=batch_size), here) == {"validation/loss": pytest.approx(total / count, rel=1e-9)}


@pytest.mark.parametrize("form", ["one_sequence", "source_and_target"])
def test_what_follows_a_prefix(context: Make, floors: Floors, form: str) -> None:
    here = context(PrefixLMConfig(form=form), sequence_length=16)
    full = 17 if form == "one_sequence" else 16
    total = count = 0.0
    for batch, example in rows_of(here):
        words = spelled(here, batch.token_ids[0])
        n = len(words)
        begins = words[0] == "[BOS]"
        if form == "one_sequence":
            n_read = int(example.inputs.prefix_length[0])
        else:
            n_read = example.inputs.source.token_ids.shape[1] - 1
            words += ["[EOS]"] if n < full else []  # in a row that is full the end is where it must be
            assert bool(batch.ends_document[0]) or n == full
            count += n == full
        symbols = floors.language.symbols([word for word in words if word not in ("[BOS]", "[EOS]")])
        symbols = np.append(symbols, floors.language.end_symbol) if words[-1] == "[EOS]" else symbols
        losses = floors.next_word(symbols[None], batch.offset.numpy())[0][n_read - begins :]
        total, count = total + losses.sum(), count + len(losses)
    for batch_size in (3, 64):
        assert best_possible(LossConfig(batch_size=batch_size), here) == {"validation/loss": pytest.approx(total / count, rel=1e-9)}
    assert count == sum(example.counts["prefix_lm"] for _, example in rows_of(here))


def test_parts_of_a_mixture_have_their_own(context: Make) -> None:
    parts = {"a": CausalLMConfig(), "b": PrefixLMConfig()}
    found = best_possible(LossConfig(), context(MixtureConfig(parts=parts, part_weights={"a": 3.0}), sequence_length=16))
    alone = [best_possible(LossConfig(), context(part, sequence_length=16)) or {} for part in parts.values()]
    assert found == {
        "validation/loss": pytest.approx(0.75 * alone[0]["validation/loss"] + 0.25 * alone[1]["validation/loss"], rel=1e-12),
        "validation/loss/a/clm": alone[0]["validation/loss"],
        "validation/loss/b/prefix_lm": alone[1]["validation/loss"],
    }


def test_hidden_words(context: Make, floors: Floors) -> None:
    here = context(MaskedLMConfig(mask_ratio=0.3), sequence_length=24)
    total = count = 0.0
    for batch, example in rows_of(here):
        truth = floors.language.symbols(spelled(here, batch.token_ids[0, 1:-1]))
        hidden = np.zeros(len(truth) + 2, dtype=bool)
        hidden[example.inputs.predict_at[example.targets["mlm"] != IGNORED].numpy()] = True
        shown = np.where(hidden[1:-1], HIDDEN, truth)
        losses = floors.masked_words(shown[None], truth[None], batch.offset.numpy(), batch.ends_document.numpy())[0]
        total, count = total + losses[hidden[1:-1]].sum(), count + hidden.sum()
    assert best_possible(LossConfig(batch_size=7), here) == {"validation/loss": pytest.approx(total / count, rel=1e-9)}


def test_pairs(context: Make, floors: Floors) -> None:
    here = context(MaskedPairsConfig(nsp_weight=0.5), sequence_length=32)
    words = answers = n_words = n_answers = 0.0
    for batch, example in rows_of(here):
        hidden = np.zeros(batch.token_ids.shape[1], dtype=bool)
        hidden[example.inputs.predict_at[example.targets["mlm"] != IGNORED].numpy()] = True
        stop = spelled(here, batch.token_ids[0]).index("[SEP]")
        places = [np.arange(1, stop), np.arange(stop + 1, batch.token_ids.shape[1] - 1)]
        truth = [floors.language.symbols(spelled(here, batch.token_ids[0, place]))[None] for place in places]
        shown = [np.where(hidden[place], HIDDEN, t) for place, t in zip(places, truth, strict=True)]
        floor = floors.pair(*shown, *truth, batch.origin[:, 0].numpy(), batch.origin[:, 1].numpy())
        words, n_words = words + floor.first.sum() + floor.second.sum(), n_words + hidden.sum()
        answers, n_answers = answers + floor.is_next[0, int(batch.is_next[0])], n_answers + 1
    found = best_possible(LossConfig(batch_size=5), here)
    assert found == {
        "validation/loss": pytest.approx(words / n_words + 0.5 * answers / n_answers, rel=1e-9),
        "validation/loss/mlm": pytest.approx(words / n_words, rel=1e-9),
        "validation/loss/nsp": pytest.approx(answers / n_answers, rel=1e-9),
    }


def test_next_sentence_alone_sees_every_word(context: Make) -> None:
    [alone] = (best_possible(LossConfig(), context(NextSentenceConfig(), sequence_length=32)) or {}).values()
    both = best_possible(LossConfig(), context(MaskedPairsConfig(mask_ratio=0.5), sequence_length=32))
    assert both is not None
    assert 0 < alone < both["validation/loss/nsp"] < math.log(2)


def test_translations(context: Make, floors: Floors) -> None:
    here = context(TranslationConfig())
    losses = [
        floors.translation(floors.language.symbols(source.split()), floors.language.target_symbols(target.split()))
        for source, target in here.data.source.parallel("validation")
    ]
    wanted = sum(row.sum() for row in losses) / sum(len(row) for row in losses)
    assert best_possible(LossConfig(), here) == {"validation/loss": pytest.approx(wanted, rel=1e-9)}


def test_the_same_samples_as_the_loss(context: Make, uniform: Callable[..., Any]) -> None:
    here = context(CausalLMConfig(), sequence_length=16)
    config = LossConfig(max_samples=6, split="test")
    floor = best_possible(config, here)
    assert floor is not None
    assert set(floor) <= set(config.build(here)(uniform(here.data.vocabulary.size)))
    assert floor != best_possible(LossConfig(split="test"), here)
    whole = best_possible(LossConfig(split="test"), here)
    assert whole is not None
    assert whole["test/loss"] < math.log(here.data.vocabulary.size)


@pytest.mark.parametrize("tokenizer", [CharTokenizerConfig()], ids=["char"])
@pytest.mark.parametrize("objective", [CausalLMConfig(), MaskedPairsConfig(), TranslationConfig()], ids=lambda o: type(o).__name__)
def test_no_floor_where_words_are_split(context: Make, tokenizer: Any, objective: Any) -> None:
    assert best_possible(LossConfig(), context(objective, tokenizer)) is None


def test_no_floor_across_documents_or_for_other_objectives(context: Make, pocket: Callable[..., Any]) -> None:
    assert best_possible(LossConfig(), context(CausalLMConfig(), packing="concatenate")) is None
    assert best_possible(LossConfig(), context(MaskedOrderConfig())) is None
    assert best_possible(LossConfig(), context(SpanCorruptionConfig())) is None
    assert best_possible(LossConfig(), context(ReplacedTokenConfig())) is None
    assert best_possible(LossConfig(), context(DenoisingConfig(), packing="separate")) is None
    assert best_possible(LossConfig(), context(FillInTheMiddleConfig(), packing="separate")) is None
    assert best_possible(LossConfig(), context(MixtureConfig(parts={"a": CausalLMConfig(), "b": FillInTheMiddleConfig()}))) is None
    config = ClassificationConfig()
    data = pocket(config)
    assert best_possible(LossConfig(), EvaluationContext(data=data, objective=config.build(vocabulary=data.vocabulary, n_classes=8))) is None

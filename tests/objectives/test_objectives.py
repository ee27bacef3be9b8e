"""Objectives: inputs and targets rebuild the text, sums are sums, and parts combine."""

import math

import pytest
import torch
import torch.nn.functional as F

from transformer_zoo.layers.vocabulary_scores import VocabularyScores
from transformer_zoo.objectives.base import chosen
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.classes import ClassificationConfig, NextSentenceConfig, SentenceOrderConfig, TaggingConfig
from transformer_zoo.objectives.combined import CombinedConfig, MaskedOrderConfig, MaskedPairsConfig
from transformer_zoo.objectives.fill_in_the_middle import FillInTheMiddleConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.mixture import MixtureConfig
from transformer_zoo.objectives.prefix_lm import PrefixLMConfig
from transformer_zoo.objectives.translation import TranslationConfig
from transformer_zoo.records import (
    IGNORED,
    Example,
    LabelledBatch,
    ModelOutput,
    PairBatch,
    Rows,
    SequenceInputs,
    SpecialTokens,
    TaggedBatch,
    TextBatch,
    TranslationBatch,
    TranslationInputs,
    Vocabulary,
)

VOCABULARY = Vocabulary(size=30, specials=SpecialTokens(pad=0, unknown=1, begin=2, end=3, cls=4, sep=5, mask=6))
ROWS = Rows(seed=0, epoch=torch.zeros(2, dtype=torch.int64), index=torch.arange(2))


def text(lengths: tuple[int, int] = (9, 9), documents: torch.Tensor | None = None) -> TextBatch:
    token_ids = torch.randint(7, 30, (2, 9))
    valid = torch.arange(9) < torch.tensor(lengths).unsqueeze(1)
    return TextBatch(rows=ROWS, token_ids=token_ids.masked_fill(~valid, 0), valid=valid, document_ids=documents)


def output(example: Example, rows: int) -> ModelOutput:
    hidden = torch.randn(rows, 4)
    return ModelOutput(hidden=hidden, heads={"vocabulary": VocabularyScores(hidden=hidden, weight=torch.randn(30, 4))})


@pytest.mark.parametrize("n", [0, 1, 63, 64, 65])
def test_chosen_positions_are_padded_to_a_multiple_of_64_and_never_empty(n: int):
    targets = torch.full((10, 10), IGNORED)
    targets.view(-1)[:n] = 3
    predict_at, filled = chosen(targets)
    assert len(predict_at) == len(filled) == max(1, math.ceil(n / 64)) * 64
    assert predict_at[:n].tolist() == list(range(n))
    assert (filled[:n] == 3).all()
    assert (filled[n:] == IGNORED).all()


def test_causal_targets_are_the_next_tokens():
    batch = text()
    example = CausalLMConfig().build(vocabulary=VOCABULARY).prepare(batch)
    assert torch.equal(example.inputs.token_ids, batch.token_ids[:, :-1])
    assert example.inputs.predict_at is None  # everywhere
    assert torch.equal(example.targets["clm"].view(2, 8), batch.token_ids[:, 1:])
    assert example.counts == {"clm": 16}
    assert example.tokens == 16
    assert example.inputs.valid is None


def test_causal_padding_is_not_predicted():
    batch = text(lengths=(9, 4))
    example = CausalLMConfig().build(vocabulary=VOCABULARY).prepare(batch)
    assert example.counts == {"clm": 8 + 3}
    scored = example.targets["clm"] != IGNORED
    assert example.inputs.predict_at[scored].tolist() == [*range(8), 8, 9, 10]
    assert torch.equal(example.targets["clm"][scored][8:], batch.token_ids[1, 1:4])


def test_causal_predicts_nothing_across_masked_documents():
    documents = torch.tensor([[0] * 4 + [1] * 5, [0] * 9])
    example = CausalLMConfig().build(vocabulary=VOCABULARY).prepare(text(documents=documents))
    assert example.counts == {"clm": 15}
    assert 3 not in example.inputs.predict_at[example.targets["clm"] != IGNORED].tolist()


def test_masked_inputs_and_targets_rebuild_the_text():
    batch = text(lengths=(9, 5))
    example = MaskedLMConfig(mask_ratio=0.5, mask_share=1.0, random_share=0.0, keep_share=0.0).build(vocabulary=VOCABULARY).prepare(batch)
    rebuilt = example.inputs.token_ids.flatten().clone()
    scored = example.targets["mlm"] != IGNORED
    assert (rebuilt[example.inputs.predict_at[scored]] == 6).all()
    rebuilt[example.inputs.predict_at[scored]] = example.targets["mlm"][scored]
    assert torch.equal(rebuilt.view(2, 9), batch.token_ids)
    assert example.counts["mlm"] == int(scored.sum())
    assert torch.equal(example.inputs.valid, batch.valid)


def translation_batch() -> TranslationBatch:
    source, target = torch.randint(7, 30, (2, 6)), torch.randint(7, 30, (2, 7))
    target_valid = torch.arange(7) < torch.tensor([[7], [5]])
    return TranslationBatch(
        rows=ROWS, source_ids=source, source_valid=torch.arange(6) < torch.tensor([[6], [2]]), target_ids=target, target_valid=target_valid
    )


def test_translation_shifts_the_target():
    batch = translation_batch()
    example = TranslationConfig().build(vocabulary=VOCABULARY).prepare(batch)
    assert isinstance(example.inputs, TranslationInputs)
    assert torch.equal(example.inputs.target.token_ids, batch.target_ids[:, :-1])
    assert example.counts == {"translation": 6 + 4}
    assert example.tokens == 8 + 10
    scored = example.targets["translation"] != IGNORED
    assert torch.equal(example.targets["translation"][scored], batch.target_ids[:, 1:][batch.target_valid[:, 1:]])


def test_translation_smooths_in_training_only():
    objective = TranslationConfig(label_smoothing=0.2).build(vocabulary=VOCABULARY)
    example = objective.prepare(translation_batch())
    made = output(example, len(example.targets["translation"]))
    logits, targets = made.heads["vocabulary"].logits(), example.targets["translation"]
    smoothed = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=0.2, ignore_index=IGNORED)
    plain = F.cross_entropy(logits, targets, reduction="sum", ignore_index=IGNORED)
    torch.testing.assert_close(objective.loss(made, example).sums["translation"], smoothed)
    total, count = objective.evaluate(made, example).sums["loss/translation"].tolist()
    assert total == pytest.approx(plain.item(), rel=1e-6)
    assert count == 10


def pairs() -> PairBatch:
    batch = text()
    segments = (torch.arange(9) > 4).long().expand(2, 9)
    return PairBatch(rows=ROWS, token_ids=batch.token_ids, valid=batch.valid, segment_ids=segments, is_next=torch.tensor([1, 0]))


def test_bert_is_masking_and_next_sentence_side_by_side():
    objective = MaskedPairsConfig(mask_ratio=0.4, nsp_weight=0.5).build(vocabulary=VOCABULARY)
    assert objective.weights == {"mlm": 1.0, "nsp": 0.5}
    assert objective.needs().batch is PairBatch
    assert set(objective.needs().heads) == {"vocabulary", "nsp"}
    assert objective.language_term == "mlm"
    example = objective.prepare(pairs())
    assert example.counts == {"mlm": 2 * round(0.4 * 9), "nsp": 2}
    assert torch.equal(example.inputs.segment_ids[0], torch.tensor([0] * 5 + [1] * 4))
    made = output(example, len(example.targets["mlm"]))
    made.heads["nsp"] = torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    report = objective.loss(made, example)
    assert set(report.sums) == {"mlm", "nsp"}
    expected = F.cross_entropy(made.heads["nsp"], torch.tensor([1, 0]), reduction="sum")
    torch.testing.assert_close(report.sums["nsp"], expected)
    assert objective.evaluate(made, example).sums["nsp_accuracy"].tolist() == [1.0, 2.0]


def test_albert_is_masking_and_sentence_order_side_by_side():
    objective = MaskedOrderConfig(mask_ratio=0.4, sop_weight=0.5).build(vocabulary=VOCABULARY)
    assert objective.weights == {"mlm": 1.0, "sop": 0.5}
    assert (objective.needs().batch, objective.needs().consecutive) == (PairBatch, True)
    assert set(objective.needs().heads) == {"vocabulary", "sop"}
    example = objective.prepare(pairs())
    assert example.counts == {"mlm": 2 * round(0.4 * 9), "sop": 2}
    assert example.targets["sop"].tolist() == [1, 0]
    assert not MaskedPairsConfig().needs().consecutive


def test_sentence_order_and_next_sentence_cannot_share_pairs():
    (problem,) = CombinedConfig(parts={"a": SentenceOrderConfig(), "b": NextSentenceConfig()}).problems()
    assert "read pairs that are swapped = different kinds (a: True, b: False)" in problem
    assert CombinedConfig(parts={"a": SentenceOrderConfig(), "b": MaskedLMConfig()}).problems() == []


def test_a_combination_equals_its_parts():
    combined = CombinedConfig(parts={"a": MaskedLMConfig(mask_ratio=0.4), "b": NextSentenceConfig()}, part_weights={"b": 0.5})
    assert combined.problems() == []
    ours = combined.build(vocabulary=VOCABULARY)
    bert = MaskedPairsConfig(mask_ratio=0.4, nsp_weight=0.5).build(vocabulary=VOCABULARY)
    assert ours.weights == bert.weights
    batch = pairs()
    assert torch.equal(ours.prepare(batch).inputs.token_ids, bert.prepare(batch).inputs.token_ids)


def test_parts_that_cannot_share_a_forward_are_told():
    made = CombinedConfig(parts={"mlm": MaskedLMConfig(), "clm": CausalLMConfig()}, part_weights={"nsp": 1.0})
    problems = "\n".join(made.problems())
    assert "part_weights names 'nsp', which is no part; parts are mlm, clm" in problems
    assert "need models with causal = different kinds (mlm: False, clm: True)" in problems


def test_parts_that_each_choose_what_is_predicted_are_told_to_take_turns():
    for parts in (
        {"low": MaskedLMConfig(), "high": MaskedLMConfig()},
        {"low": CausalLMConfig(), "high": PrefixLMConfig()},
        {"low": CausalLMConfig(), "high": FillInTheMiddleConfig()},
    ):
        (problem,) = CombinedConfig(parts=parts).problems()
        assert problem.startswith("parts cannot be combined, since low and high each choose which tokens are seen and which are predicted")
    (mixed,) = CombinedConfig(parts={"turns": MixtureConfig(parts={"a": CausalLMConfig()})}).problems()
    assert mixed.startswith("the part 'turns' is a mixture, which has forwards of its own and cannot be combined")


def test_classes_of_texts_and_words():
    base = text(lengths=(9, 4))
    labelled = LabelledBatch(rows=ROWS, token_ids=base.token_ids, valid=base.valid, labels=torch.tensor([2, 0]))
    objective = ClassificationConfig().build(vocabulary=VOCABULARY, n_classes=3)
    assert objective.needs().heads["classification"].n_classes == 3
    example = objective.prepare(labelled)
    assert isinstance(example.inputs, SequenceInputs)
    assert example.inputs.global_positions is not None  # the first token stands for the text
    assert example.inputs.global_positions.nonzero().tolist() == [[0, 0], [1, 0]]
    logits = torch.eye(3)[[2, 1]] * 5
    report = objective.evaluate(ModelOutput(hidden=logits, heads={"classification": logits}), example)
    assert report.sums["classification_accuracy"].tolist() == [1.0, 2.0]

    tags = torch.full((2, 9), IGNORED)
    tags[0, 1], tags[1, 2] = 1, 0
    tagged = TaggedBatch(rows=ROWS, token_ids=base.token_ids, valid=base.valid, tags=tags)
    tagging = TaggingConfig().build(vocabulary=VOCABULARY, n_classes=2)
    example = tagging.prepare(tagged)
    assert example.counts == {"tagging": 2}
    assert example.inputs.global_positions is None
    flat = torch.zeros(2, 9, 2)
    loss = tagging.loss(ModelOutput(hidden=flat, heads={"tagging": flat}), example).sums["tagging"]
    assert loss.item() == pytest.approx(2 * math.log(2))


def test_causal_does_not_predict_that_a_document_begins():
    batch = text()
    batch.token_ids[0, 4] = VOCABULARY.specials.begin
    example = CausalLMConfig().build(vocabulary=VOCABULARY).prepare(batch)
    assert example.counts == {"clm": 15}
    assert VOCABULARY.specials.begin not in example.targets["clm"].tolist()
    assert VOCABULARY.specials.begin in example.inputs.token_ids[0].tolist()

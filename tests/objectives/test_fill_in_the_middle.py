"""Filling in the middle: every row can be put together again, and half of them were never taken apart."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_zoo.layers.vocabulary_scores import VocabularyScores
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.fill_in_the_middle import FillInTheMiddle, FillInTheMiddleConfig
from transformer_zoo.records import IGNORED, Example, ModelOutput, Rows, SpecialTokens, TextBatch, Vocabulary

PAD, BEGIN, END = 0, 2, 3
PRE, SUF, MID = 990, 991, 992
VOCABULARY = Vocabulary(size=1000, specials=SpecialTokens(pad=PAD, unknown=1, begin=BEGIN, end=END), sentinels=tuple(range(990, 1000)))


def text(lengths: list[int], first_index: int = 0, width: int | None = None, begins: bool = False) -> TextBatch:
    """Rows whose tokens are all different; where they begin documents, the first is the begin token."""
    width = width or max(lengths)
    valid = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    token_ids = (7 + torch.arange(width)).repeat(len(lengths), 1).masked_fill(~valid, PAD)
    if begins:
        token_ids[:, 0] = BEGIN
    rows = Rows(seed=1, epoch=torch.zeros(len(lengths), dtype=torch.int64), index=torch.arange(len(lengths)) + first_index)
    return TextBatch(rows=rows, token_ids=token_ids, valid=valid)


def prepared(batch: TextBatch, **config: float) -> Example:
    return FillInTheMiddleConfig(**config).build(vocabulary=VOCABULARY).prepare(batch)


def rows_of(example: Example) -> list[list[int]]:
    """Each row as it is read and predicted: its first token, then every target."""
    inputs, targets = example.inputs, example.targets["fill_in_the_middle"]
    found = torch.full(inputs.token_ids.shape, IGNORED).flatten()
    at = torch.arange(len(found)) if inputs.predict_at is None else inputs.predict_at
    found[at[targets != IGNORED]] = targets[targets != IGNORED]
    wanted = found.view(inputs.token_ids.shape)
    rows = []
    for read, row in zip(inputs.token_ids.tolist(), wanted.tolist(), strict=True):
        n = sum(one != IGNORED for one in row)
        assert all(one != IGNORED for one in row[:n])  # every token is predicted
        assert read[1:n] == row[: n - 1]
        rows.append([read[0], *row[:n]])
    return rows


def undone(row: list[int]) -> tuple[list[int], str]:
    """The text of a row, and how it was told."""
    head, row = ([row[0]], row[1:]) if row[0] == BEGIN else ([], row)
    if PRE not in row:
        return head + row, "plain"
    assert row[0] == PRE and row[-1] == END
    assert sorted(token for token in row if token >= PRE) == [PRE, SUF, MID]
    suf, mid = row.index(SUF), row.index(MID)
    prefix, suffix, middle = row[1:suf], row[suf + 1 : mid], row[mid + 1 : -1]
    if suf > 1 or not middle:
        return head + prefix + middle + suffix, "psm"
    # <PRE> <SUF>: the suffix comes first and prefix and middle are one piece, or the prefix is empty; both give the same text
    return head + middle + suffix, "spm"


@settings(deadline=None)
@given(st.lists(st.integers(2, 60), min_size=1, max_size=6), st.floats(0.01, 1), st.floats(0, 1), st.booleans())
def test_every_row_can_be_put_together_again(lengths: list[int], fim_rate: float, spm_share: float, begins: bool):
    batch = text(lengths, begins=begins)
    example = prepared(batch, fim_rate=fim_rate, spm_share=spm_share)
    rows = rows_of(example)
    for row, ids, n in zip(rows, batch.token_ids.tolist(), lengths, strict=True):
        found, kind = undone(row)
        assert found == ids[:n]
        assert len(row) == n + (0 if kind == "plain" else 4)
    assert example.counts == {"fill_in_the_middle": sum(len(row) - 1 for row in rows)}
    assert example.inputs.token_ids.shape[1] <= FillInTheMiddleConfig().longest(max(lengths) - 1)


def test_the_orders_are_the_papers():
    batch = text([8] * 60)
    for spm_share, order in ((0.0, "psm"), (1.0, "spm")):
        objective = FillInTheMiddleConfig(fim_rate=1.0, spm_share=spm_share).build(vocabulary=VOCABULARY)
        assert isinstance(objective, FillInTheMiddle)
        ids, valid, sections = objective.rearranged(batch)
        for row, ok, names in zip(ids.tolist(), valid, sections.tolist(), strict=True):
            assert ok.all()
            prefix, middle, suffix = ([token for token, name in zip(row, names, strict=True) if name == section] for section in (1, 2, 3))
            assert middle.pop() == END
            assert prefix + middle + suffix == list(range(7, 15))
            told = [PRE, *prefix, SUF, *suffix, MID, *middle, END] if order == "psm" else [PRE, SUF, *suffix, MID, *prefix, *middle, END]
            assert row == told


def test_half_of_the_rows_stay_as_they_are_and_half_of_the_others_have_the_suffix_first():
    config = FillInTheMiddleConfig()
    assert (config.fim_rate, config.spm_share) == (0.5, 0.5)
    n = 4000
    rows = rows_of(prepared(text([30] * n)))
    cut = sum(PRE in row for row in rows)
    assert abs(cut - n / 2) < 3.3 * (n / 4) ** 0.5
    objective = FillInTheMiddleConfig(fim_rate=1.0).build(vocabulary=VOCABULARY)
    assert isinstance(objective, FillInTheMiddle)
    ids, _, sections = objective.rearranged(text([30] * n))
    begun = (sections == 1).any(axis=1)  # an empty prefix looks the same in both orders
    first = int((ids[begun, 1] == SUF).sum())
    assert abs(first - begun.sum() / 2) < 3.3 * (begun.sum() / 4) ** 0.5


def test_both_cuts_fall_everywhere():
    """Two uniform places: every place of a row is in the middle as often as two of them enclose it."""
    n, length = 6000, 5
    objective = FillInTheMiddleConfig(fim_rate=1.0, spm_share=0.0).build(vocabulary=VOCABULARY)
    assert isinstance(objective, FillInTheMiddle)
    ids, _, sections = objective.rearranged(text([length] * n))
    for place in range(length):
        found = int((sections[ids == 7 + place] == 2).sum())
        below, above = place + 1, length - place  # of the length + 1 places to cut at
        share = 2 * below * above / (length + 1) ** 2
        assert abs(found - n * share) < 3.5 * (n * share * (1 - share)) ** 0.5


def test_a_row_is_cut_the_same_in_any_batch_and_in_evaluation():
    together = rows_of(prepared(text([50, 50, 90])))
    assert rows_of(prepared(text([50], first_index=1, width=70)))[0] == together[1]
    objective = FillInTheMiddleConfig().build(vocabulary=VOCABULARY)
    assert rows_of(objective.prepare(text([50, 50, 90]), training=False)) == together


def test_rows_that_are_not_cut_are_those_of_causal_language_modelling():
    batch = text([20, 20, 12, 20, 20, 20, 9, 20], begins=True)
    ours, plain = prepared(batch, fim_rate=0.5), CausalLMConfig().build(vocabulary=VOCABULARY).prepare(batch)
    left = [place for place, row in enumerate(rows_of(ours)) if PRE not in row]
    assert 0 < len(left) < 8
    width = plain.inputs.token_ids.shape[1]
    assert torch.equal(ours.inputs.token_ids[left, :width], plain.inputs.token_ids[left])
    assert torch.equal(ours.inputs.valid[left, :width], plain.inputs.valid[left])


def test_nothing_leaks():
    """A middle is read only behind what tells where it belongs."""
    for row in rows_of(prepared(text([30] * 50), fim_rate=1.0)):
        assert len(set(row)) == len(row)
        assert row.index(MID) > row.index(SUF) > row.index(PRE)


def test_losses_of_middles_and_of_whole_rows_are_told_apart():
    objective = FillInTheMiddleConfig().build(vocabulary=VOCABULARY)
    example = objective.prepare(text([20] * 12))
    targets = example.targets["fill_in_the_middle"]
    scores = VocabularyScores(hidden=torch.randn(len(targets), 4), weight=torch.randn(1000, 4))
    report = objective.evaluate(ModelOutput(hidden=torch.zeros(1), heads={"vocabulary": scores}), example)
    losses = torch.nn.functional.cross_entropy(scores.logits(), targets, reduction="none", ignore_index=IGNORED).double()
    rows = rows_of(example)
    plain = sum(len(row) - 1 for row in rows if PRE not in row)
    middle = sum(len(row) - 1 - row.index(MID) for row in rows if PRE in row and row[1] != SUF)
    assert report.sums["left_to_right_loss"][1] == plain
    assert report.sums["middle_loss"][1] >= middle > 0
    assert float(report.sums["loss/fill_in_the_middle"][0]) == pytest.approx(float(losses.sum()))
    only = FillInTheMiddleConfig(fim_rate=1.0).build(vocabulary=VOCABULARY)
    example = only.prepare(text([20] * 12))
    scores = VocabularyScores(hidden=torch.randn(len(example.targets["fill_in_the_middle"]), 4), weight=torch.randn(1000, 4))
    assert "left_to_right_loss" not in only.evaluate(ModelOutput(hidden=torch.zeros(1), heads={"vocabulary": scores}), example).sums


def test_no_perplexity_is_told_of_marks():
    assert FillInTheMiddleConfig().build(vocabulary=VOCABULARY).language_term is None


def test_what_a_tokenizer_lacks_is_told():
    bare = Vocabulary(size=10, specials=SpecialTokens(pad=0), sentinels=(8, 9))
    marks, end = FillInTheMiddleConfig().vocabulary_problems(bare)
    assert marks.startswith("marks prefix, suffix and middle by 3 sentinel tokens (<extra_id_0>, <extra_id_1>, <extra_id_2>), of which")
    assert "the tokenizer has 2: train a tokenizer" in marks
    assert end.startswith("ends what is written by the end token, which the tokenizer lacks")
    assert FillInTheMiddleConfig().vocabulary_problems(VOCABULARY) == []

"""Units of several tokens: never cut where they must not be, lengths and places as asked for."""

import numpy as np
import pytest
from scipy import stats

from objectives.masking.rows import VOCABULARY, batch, chosen, runs, sampler, words_of
from transformer_zoo.objectives.masking.lengths import FixedLengthsConfig, GeometricLengthsConfig, HarmonicLengthsConfig
from transformer_zoo.objectives.masking.spans import SpanUnitConfig
from transformer_zoo.objectives.masking.units import WholeWordUnitConfig
from transformer_zoo.records import SpecialTokens, Vocabulary

BARE = Vocabulary(size=10, specials=SpecialTokens(pad=0, mask=6))


def test_words_are_hidden_whole():
    made = words_of(20, 3, 50)
    hidden = chosen(made, unit=WholeWordUnitConfig(), mask_ratio=0.3).hidden[:, 1:-1].reshape(50, 20, 3)
    assert (hidden.all(axis=2) == hidden.any(axis=2)).all()
    assert hidden.sum(axis=(1, 2)).tolist() == [18] * 50


def test_a_row_that_begins_inside_a_word_begins_with_one():
    made = words_of(2, 3, 300)
    made.token_ids[:, 1] = 49  # the first word has lost its beginning
    hidden = chosen(made, unit=WholeWordUnitConfig(), mask_ratio=0.5).hidden[:, 1:-1].reshape(300, 2, 3)
    assert (hidden.all(axis=2) == hidden.any(axis=2)).all()
    assert set(map(tuple, hidden.all(axis=2).tolist())) == {(True, False), (False, True)}


def test_words_of_one_token_are_hidden_as_tokens_are():
    made = words_of(80, 1, 5)
    assert (chosen(made, unit=WholeWordUnitConfig()).hidden == chosen(made).hidden).all()


def test_spans_of_one_token_are_hidden_as_tokens_are():
    made = batch([90, 31, 1])
    single = SpanUnitConfig(of="token", lengths=FixedLengthsConfig(length=1))
    for ratio in (0.15, 0.6):
        assert (chosen(made, unit=single, mask_ratio=ratio).hidden == chosen(made, mask_ratio=ratio).hidden).all()


def test_spans_have_the_lengths_asked_for():
    """A single span of each row is taken, so that spans do not touch."""
    n, longest = 300, 10
    unit = SpanUnitConfig(of="token", lengths=GeometricLengthsConfig())
    found: list[int] = []
    for start in range(0, 4000, 400):
        pieces = sampler(unit=unit).unit.pieces(
            batch([n] * 400, first_index=start), batch([n] * 400, first_index=start).rows, np.ones((400, n), bool)
        )
        first = pieces.keys.min(axis=1)
        found += (pieces.keys == first[:, None]).sum(axis=1).tolist()
    counts = np.bincount(found, minlength=longest + 1)[1:]
    assert stats.chisquare(counts, len(found) * GeometricLengthsConfig().probabilities()).pvalue > 1e-4


def test_spans_are_exact_and_run_together():
    hidden = chosen(batch([300] * 20), unit=SpanUnitConfig(of="token", lengths=FixedLengthsConfig(length=5)), mask_ratio=0.1).hidden
    assert hidden.sum(axis=1).tolist() == [30] * 20
    lengths = [length for row in hidden for length in runs(row)]
    assert np.mean([length % 5 == 0 for length in lengths]) > 0.8  # but for those cut by the end of the row, or at the ring's cut
    assert np.mean(lengths) > 4


def test_spans_of_words_cut_no_word():
    made = words_of(40, 3, 50)
    hidden = chosen(made, unit=SpanUnitConfig(lengths=FixedLengthsConfig(length=4)), mask_ratio=0.21).hidden[:, 1:-1].reshape(50, 40, 3)
    assert (hidden.all(axis=2) == hidden.any(axis=2)).all()
    assert set(hidden.sum(axis=(1, 2)).tolist()) == {24, 27}  # 25 would cut a word
    assert np.mean([length for row in hidden.all(axis=2) for length in runs(row)]) > 3


@pytest.mark.parametrize(
    "unit",
    [
        SpanUnitConfig(of="token", lengths=FixedLengthsConfig(length=4)),
        SpanUnitConfig(of="token"),
        SpanUnitConfig(of="token", lengths=HarmonicLengthsConfig(max_length=5), context=3),
    ],
    ids=repr,
)
def test_every_place_is_equally_likely_to_be_in_a_span(unit: SpanUnitConfig):
    """One token of each row counts, as places of a row hang together: the one at a place that no draw of the row knows of."""
    n, counts, seen = 12, np.zeros(12), 0
    for start in range(0, 24_000, 2000):
        hidden = chosen(batch([n] * 2000, first_index=start), unit=unit, mask_ratio=0.25).hidden[:, 1 : n + 1]
        own = np.arange(2000) % n
        counts += np.bincount(own[hidden[np.arange(2000), own]], minlength=n)
        seen += 2000
    assert counts.sum() == pytest.approx(seen / 4, rel=0.05)
    assert stats.chisquare(counts).pvalue > 0.001


def test_a_context_keeps_spans_apart():
    """Of an n-gram and five times its length around it the n-gram alone is hidden: a sixth of the row."""
    unit = SpanUnitConfig(of="token", lengths=HarmonicLengthsConfig(max_length=5), context=6)
    made = batch([504] * 40)
    hidden = chosen(made, unit=unit, mask_ratio=1 / 6).hidden
    assert hidden.sum(axis=1).tolist() == [84] * 40
    free = chosen(made, unit=SpanUnitConfig(of="token", lengths=HarmonicLengthsConfig(max_length=5)), mask_ratio=1 / 6).hidden
    longest = [max(length for row in part for length in runs(row)) for part in (hidden, free)]
    assert longest[0] <= 10 < longest[1]  # at most two n-grams touch, at the border of their stretches
    fixed = chosen(made, unit=SpanUnitConfig(of="token", lengths=FixedLengthsConfig(length=3), context=6), mask_ratio=1 / 6).hidden
    found = [length for row in fixed for length in runs(row)]
    assert np.mean([length in (3, 6) for length in found]) > 0.95  # whole spans, and hardly a piece of one
    gaps = {length for row in fixed for length in runs(~row)[1:-1]}
    assert len(gaps) > 20  # each at its own place of its stretch
    coins = chosen(made, unit=unit, mask_ratio=0.15, count="bernoulli").hidden.mean() * 506 / 504
    assert coins == pytest.approx(0.15, abs=0.01)
    much = chosen(made, unit=unit, mask_ratio=0.5, count="bernoulli").hidden.mean() * 506 / 504
    assert much == pytest.approx(0.5, abs=0.02)


def test_spans_go_on_behind_a_special_token():
    made = batch([40] * 30)
    made.token_ids[:, 20] = 5
    hidden = chosen(made, unit=SpanUnitConfig(of="token", lengths=FixedLengthsConfig(length=3)), mask_ratio=0.3).hidden
    assert not hidden[:, [0, 20, 41]].any()
    assert hidden.sum(axis=1).tolist() == [round(39 * 0.3)] * 30


def test_rows_without_words_have_no_spans():
    hidden = chosen(batch([0, 1, 2]), unit=SpanUnitConfig()).hidden
    assert hidden.sum(axis=1).tolist()[:2] == [0, 1]


def test_what_does_not_fit_is_told():
    (words,) = WholeWordUnitConfig().vocabulary_problems(BARE)
    assert words.startswith("hides whole words, but the tokenizer's spelling does not tell where words begin (there is no ##, Ġ, ▁ or </w>): choose")
    (spans,) = SpanUnitConfig().vocabulary_problems(BARE)
    assert spans == words + "; objective.unit.of=token makes spans of tokens"
    assert SpanUnitConfig(of="token").vocabulary_problems(BARE) == WholeWordUnitConfig().vocabulary_problems(VOCABULARY) == []
    (long,) = SpanUnitConfig(lengths=FixedLengthsConfig(length=200)).row_problems(128)
    assert long == (
        "objective.unit hides spans of up to 200 words, longer than data.sequence_length=128: choose longer rows, or shorter spans by "
        "objective.unit.lengths"
    )
    (apart,) = SpanUnitConfig(of="token", context=20).row_problems(128)
    assert apart.startswith("objective.unit hides spans of up to 10 tokens in stretches of up to 200, longer than")
    assert SpanUnitConfig().row_problems(128) == []

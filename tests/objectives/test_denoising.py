"""Denoising: the whole text is written, and what is read of it is spoilt exactly as asked."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from transformer_zoo.objectives.corruption import infilled, poisson, poisson_spans, rotated, sentence_order
from transformer_zoo.objectives.denoising import Denoising, DenoisingConfig
from transformer_zoo.records import IGNORED, Example, Rows, SpecialTokens, TextBatch, TranslationInputs, Vocabulary

PAD, END, MASK, STOP, FIRST = 0, 3, 6, 7, 8
VOCABULARY = Vocabulary(size=1000, specials=SpecialTokens(pad=PAD, unknown=1, begin=2, end=END, mask=MASK), full_stops=(STOP,))
NOTHING = {"mask_ratio": 0.0, "permuted_share": 0.0}


def text(lengths: list[int], stops: tuple[int, ...] = (), first_index: int = 0, width: int | None = None) -> TextBatch:
    """Rows whose tokens are all different, but for full stops at `stops`."""
    width = width or max(lengths)
    valid = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    token_ids = (FIRST + torch.arange(width)).expand(len(lengths), width).clone()
    token_ids[:, [stop for stop in stops if stop < width]] = STOP
    rows = Rows(seed=1, epoch=torch.zeros(len(lengths), dtype=torch.int64), index=torch.arange(len(lengths)) + first_index)
    return TextBatch(rows=rows, token_ids=token_ids.masked_fill(~valid, PAD), valid=valid)


def prepared(batch: TextBatch, *, training: bool = True, **settings: float) -> Example:
    objective = DenoisingConfig(**settings).build(vocabulary=VOCABULARY)
    assert isinstance(objective, Denoising)
    return objective.prepare(batch, training=training)


def read(example: Example) -> list[list[int]]:
    """Of each row the tokens read, without the end token."""
    assert isinstance(example.inputs, TranslationInputs)
    source = example.inputs.source
    valid = torch.ones_like(source.token_ids, dtype=torch.bool) if source.valid is None else source.valid
    found = [ids[ok].tolist() for ids, ok in zip(source.token_ids, valid, strict=True)]
    assert all(row[-1] == END for row in found)
    return [row[:-1] for row in found]


def sentences(tokens: list[int]) -> list[tuple[int, ...]]:
    """Pieces that end with full stops."""
    found: list[list[int]] = [[]]
    for i, token in enumerate(tokens):
        found[-1].append(token)
        if token == STOP and tokens[i + 1 : i + 2] != [STOP]:
            found.append([])
    return [tuple(one) for one in found if one]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.floats(0, 0.9),
    st.floats(1, 6),
    st.floats(0, 1),
    st.floats(0, 0.9),
    st.floats(0.01, 1),
)
def test_the_whole_text_is_written_whatever_the_noise(
    lengths: list[int], mask_ratio: float, mean_span: float, permuted: float, deleted: float, turned: float
):
    batch = text(lengths, stops=tuple(range(3, max(lengths), 5)))
    noise = {"mask_ratio": mask_ratio, "mean_span": mean_span, "permuted_share": permuted, "deleted_share": deleted, "rotated_share": turned}
    example = prepared(batch, **noise)
    inputs = example.inputs
    assert isinstance(inputs, TranslationInputs)
    wanted = torch.full(inputs.target.token_ids.shape, IGNORED).flatten()
    scored = example.targets["denoising"] != IGNORED
    wanted[inputs.predict_at[scored]] = example.targets["denoising"][scored]
    for row, seen, ids, length, spoilt in zip(
        wanted.view(inputs.target.token_ids.shape), inputs.target.token_ids, batch.token_ids.tolist(), lengths, read(example), strict=True
    ):
        assert row[row != IGNORED].tolist() == [*ids[:length], END]
        assert seen.tolist()[: length + 1] == [END, *ids[:length]]
        n_deleted = min(round(length * deleted), length - 1)
        n_hidden = min(max(round((length - n_deleted) * mask_ratio), 1), length - n_deleted) if mask_ratio else 0
        assert len([token for token in spoilt if token != MASK]) == length - n_deleted - n_hidden
        assert not set(spoilt) - {MASK} - set(ids[:length])
        assert len(spoilt) <= length <= DenoisingConfig().longest(length) - 1
        others = [token for token in spoilt if token not in (MASK, STOP)]
        assert len(set(others)) == len(others)  # nothing stands twice
    assert example.counts == {"denoising": sum(lengths) + len(lengths)}
    assert example.tokens == example.counts["denoising"] + sum(len(row) + 1 for row in read(example))


def test_hidden_spans_and_what_stays_rebuild_the_text():
    """Without other noise, what stays is in order; as many masks stand there as spans were drawn."""
    batch = text([50, 9])
    example = prepared(batch, permuted_share=0.0)
    lengths, n_spans = poisson_spans(batch.rows, np.array([15, 3]), 3.0)
    for row, (spoilt, length) in enumerate(zip(read(example), [50, 9], strict=True)):
        kept = [token for token in spoilt if token != MASK]
        assert kept == sorted(kept)
        assert spoilt.count(MASK) == n_spans[row]
        missing, place = [], FIRST
        spans = iter(lengths[row])
        for token in spoilt:
            if token == MASK:
                span = int(next(spans))
                missing += range(place, place + span)
                place += span
            else:
                assert token == place
                place += 1
        assert sorted(missing + kept) == list(range(FIRST, FIRST + length))


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.floats(1, 8))
def test_spans_hide_what_is_asked_for(n_hidden: list[int], mean: float):
    rows = Rows(seed=0, epoch=torch.zeros(len(n_hidden), dtype=torch.int64), index=torch.arange(len(n_hidden)))
    lengths, n_spans = poisson_spans(rows, np.array(n_hidden), mean)
    assert lengths.sum(axis=1).tolist() == n_hidden
    for row, n, hidden in zip(lengths, n_spans, n_hidden, strict=True):
        assert n <= hidden
        assert not row[n:].any()


def test_lengths_are_poissons():
    drawn = poisson(np.random.default_rng(0).random(20_000), 3.0)
    counts = np.bincount(np.minimum(drawn, 9), minlength=10)
    expected = stats.poisson(3.0).pmf(np.arange(9))
    assert stats.chisquare(counts, 20_000 * np.append(expected, 1 - expected.sum())).pvalue > 0.001
    assert poisson(np.array([0.0, 1 - 1e-16]), 3.0)[0] == 0


def test_empty_spans_put_a_mask_in():
    rows = Rows(seed=0, epoch=torch.zeros(400, dtype=torch.int64), index=torch.arange(400))
    lengths, n_spans = poisson_spans(rows, np.full(400, 30), 3.0)
    empty = np.array([(row[:n] == 0).mean() for row, n in zip(lengths, n_spans, strict=True)])
    assert empty.mean() == pytest.approx(np.exp(-3), abs=0.01)


def test_every_place_for_a_span_is_equally_likely():
    n = 6000
    rows = Rows(seed=0, epoch=torch.zeros(n, dtype=torch.int64), index=torch.arange(n))
    ids, lengths = infilled(rows, np.tile(np.arange(10, 16), (n, 1)), np.full(n, 6), ratio=1 / 6, mean_span=3.0, mask=MASK)
    assert (lengths == 6).all()  # one token is hidden, always by one mask
    assert stats.chisquare((ids == MASK).sum(axis=0)).pvalue > 0.001


def test_sentences_change_places_and_stay_whole():
    batch = text([23], stops=(3, 4, 5, 10, 15))
    original = sentences(batch.token_ids[0].tolist())
    assert [len(one) for one in original] == [6, 5, 5, 7]  # a run of full stops ends one sentence; the rest is a sentence too
    moved = set()
    for index in range(20):
        (spoilt,) = read(prepared(text([23], stops=(3, 4, 5, 10, 15), first_index=index), mask_ratio=0.0))
        places = {spoilt.index(one[0]): one for one in original}
        assert [token for place in sorted(places) for token in places[place]] == spoilt
        moved.add(tuple(places[place] for place in sorted(places)))
    assert len(moved) > 8


def test_every_order_of_sentences_is_equally_likely():
    n = 3000
    rows = Rows(seed=0, epoch=torch.zeros(n, dtype=torch.int64), index=torch.arange(n))
    is_stop = np.tile([False, True, False, True, False, True], (n, 1))
    order = sentence_order(rows, is_stop, np.ones_like(is_stop), 1.0)[:, ::2]
    ways, counts = np.unique(order, axis=0, return_counts=True)
    assert [tuple(way) for way in ways.tolist()] == list(itertools.permutations([0, 2, 4]))
    assert stats.chisquare(counts).pvalue > 0.001


def test_a_share_of_the_sentences_stays():
    rows = Rows(seed=0, epoch=torch.zeros(300, dtype=torch.int64), index=torch.arange(300))
    is_stop = np.ones((300, 1), dtype=bool) & (np.arange(20) % 2 == 1)
    order = sentence_order(rows, is_stop, np.ones_like(is_stop), 0.25)
    at_home = (order == np.arange(20))[:, ::2].sum(axis=1)
    assert at_home.min() == 10 - 3  # a quarter of ten, rounded up
    assert at_home.max() == 10
    assert (sentence_order(rows, is_stop, np.ones_like(is_stop), 0.0) == np.arange(20)).all()


def test_rows_are_turned_by_their_own_coin():
    rows = Rows(seed=0, epoch=torch.zeros(4000, dtype=torch.int64), index=torch.arange(4000))
    order = rotated(rows, np.full(4000, 5), 0.4, 7)
    assert (order[:, 5:] == [5, 6]).all()
    assert ((order[:, 1:5] - order[:, :4]) % 5 == 1).all()
    assert (order[:, 0] != 0).mean() == pytest.approx(0.4 * 4 / 5, abs=0.03)
    (spoilt,) = read(prepared(text([9]), **(NOTHING | {"rotated_share": 1.0})))
    assert sorted(spoilt) == list(range(FIRST, FIRST + 9))


def test_deleted_tokens_leave_no_sign():
    for spoilt, length in zip(read(prepared(text([40, 12, 1]), **(NOTHING | {"deleted_share": 0.25}))), [40, 12, 1], strict=True):
        assert spoilt == sorted(spoilt)
        assert len(spoilt) == length - round(length * 0.25)
        assert MASK not in spoilt


def test_a_row_is_the_same_in_any_batch_and_in_evaluation():
    noise = {"deleted_share": 0.1, "rotated_share": 0.5}
    stops = tuple(range(4, 90, 6))
    together = read(prepared(text([50, 50, 90], stops), **noise))
    assert read(prepared(text([50], stops, first_index=1, width=70), **noise))[0] == together[1]
    assert together[0] != together[1]
    assert read(prepared(text([50, 50, 90], stops), training=False, **noise)) == together


def test_the_papers_settings():
    made = DenoisingConfig()
    assert (made.mask_ratio, made.mean_span, made.permuted_share, made.deleted_share, made.rotated_share) == (0.3, 3.0, 1.0, 0.0, 0.0)
    assert made.build(vocabulary=VOCABULARY).language_term == "denoising"


def test_what_does_not_fit_is_told():
    (problem,) = DenoisingConfig(**NOTHING).problems()
    assert problem.startswith("mask_ratio, permuted_share, deleted_share and rotated_share are all 0")
    assert DenoisingConfig(mask_ratio=0.0).problems() == []
    bare = Vocabulary(size=10, specials=SpecialTokens(pad=0))
    mask, stop, end = DenoisingConfig().vocabulary_problems(bare)
    assert mask.startswith("hides spans, but the tokenizer has no mask token")
    assert stop.endswith("has no token that is a full stop: set objective.permuted_share=0")
    assert end.startswith("ends what is written by the end token")
    assert DenoisingConfig(rotated_share=0.5, **NOTHING).vocabulary_problems(bare) == [end]
    assert DenoisingConfig().vocabulary_problems(VOCABULARY) == []

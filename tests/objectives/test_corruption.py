"""The pieces that spoil a text: packing, cutting at random, taking turns."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from transformer_zoo.objectives.corruption import ended, noise_spans, packed, segments, span_counts
from transformer_zoo.records import Rows


def rows(n: int, first: int = 0) -> Rows:
    return Rows(seed=3, epoch=torch.zeros(n, dtype=torch.int64), index=torch.arange(n) + first)


def test_what_is_kept_is_pushed_together_in_order():
    values, keep = np.arange(1, 9).reshape(2, 4), np.array([[True, False, True, True], [False, True, False, False]])
    ids, valid = packed(values, keep, 0)
    assert ids.tolist() == [[1, 3, 4], [6, 0, 0]]
    assert valid.tolist() == [[True, True, True], [True, False, False]]
    ids, valid = packed(*ended(values, keep, 9), 0)
    assert ids.tolist() == [[1, 3, 4, 9], [6, 9, 0, 0]]
    assert packed(values, keep & False, 7)[0].tolist() == [[7], [7]]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5))
def test_segments_add_up_and_hold_something(wanted: list[tuple[int, int]]):
    n_items = np.array([max(pair) for pair in wanted])
    n_segments = np.array([min(pair) for pair in wanted])
    lengths = segments(rows(len(wanted)), "test", n_items, n_segments)
    assert lengths.sum(axis=1).tolist() == n_items.tolist()
    for row, n in zip(lengths, n_segments, strict=True):
        assert (row[:n] >= 1).all()
        assert (row[n:] == 0).all()


def test_every_way_to_cut_is_equally_likely():
    n = 4000
    lengths = segments(rows(n), "test", np.full(n, 6), np.full(n, 3))
    ways, counts = np.unique(lengths, axis=0, return_counts=True)
    assert len(ways) == 10  # two of the five gaps
    assert stats.chisquare(counts).pvalue > 0.001


def test_counts_are_those_of_the_papers_code():
    n_noise, n_spans = span_counts(np.array([568, 512, 20, 2, 1, 0]), 0.15, 3.0)
    assert n_noise.tolist() == [85, 77, 3, 1, 0, 0]
    assert n_spans.tolist() == [28, 26, 1, 1, 0, 0]
    # Never more spans than there are pieces of text to stand between them.
    assert [int(count[0]) for count in span_counts(np.array([10]), 0.9, 1.0)] == [9, 1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=4), st.floats(0.02, 0.95), st.floats(1, 6))
def test_noise_is_exact_and_takes_turns_with_text(lengths: list[int], density: float, mean_span: float):
    counts = np.array(lengths)
    noise = noise_spans(rows(len(lengths)), counts, density, mean_span, 60)
    n_noise, n_spans = span_counts(counts, density, mean_span)
    assert noise.sum(axis=1).tolist() == n_noise.tolist()
    begins = noise & ~np.pad(noise, ((0, 0), (1, 0)))[:, :-1]
    assert begins.sum(axis=1).tolist() == n_spans.tolist()
    for row, length in zip(noise, lengths, strict=True):
        assert not row[length:].any()
        if length > 1:
            assert not row[0]
            assert row[length - 1]


def test_noise_belongs_to_the_row():
    together = noise_spans(rows(3), np.array([50, 50, 90]), 0.3, 3.0, 90)
    alone = noise_spans(rows(1, 1), np.array([50]), 0.3, 3.0, 70)
    assert (alone[0, :50] == together[1, :50]).all()
    assert (together[0] != together[1]).any()

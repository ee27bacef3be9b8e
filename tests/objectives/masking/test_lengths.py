"""Lengths of spans: the papers' numbers and distributions."""

import numpy as np
import pytest
from scipy import stats

from transformer_zoo.objectives.masking.lengths import (
    FixedLengthsConfig,
    GeometricLengthsConfig,
    HarmonicLengthsConfig,
    PoissonLengthsConfig,
    SpanLengthsConfig,
)

LENGTHS = [GeometricLengthsConfig(), PoissonLengthsConfig(), FixedLengthsConfig(), HarmonicLengthsConfig(), HarmonicLengthsConfig(max_length=5)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=repr)
def test_draws_have_the_probabilities(lengths: SpanLengthsConfig):
    probabilities = lengths.probabilities()
    assert len(probabilities) == lengths.longest
    assert probabilities.sum() == pytest.approx(1)
    draws = lengths.drawn(np.random.default_rng(0).random(50_000))
    assert draws.mean() == pytest.approx(lengths.mean, rel=0.02)
    likely = probabilities > 1e-3
    counts = np.bincount(draws, minlength=lengths.longest + 1)[1:][likely]
    if likely.sum() > 1:
        assert stats.chisquare(counts, counts.sum() * probabilities[likely] / probabilities[likely].sum()).pvalue > 0.001
    assert lengths.drawn(np.array([0.0, 1 - 2**-53])).tolist() == [int(np.flatnonzero(probabilities)[0]) + 1, lengths.longest]


def test_the_papers_numbers():
    assert GeometricLengthsConfig().mean == pytest.approx(3.8, abs=0.01)  # SpanBERT
    assert HarmonicLengthsConfig().probabilities() == pytest.approx([6 / 11, 3 / 11, 2 / 11])  # ALBERT
    ratios = PoissonLengthsConfig(rate=3.0).probabilities()[:4] / stats.poisson(3.0).pmf([1, 2, 3, 4])
    assert ratios == pytest.approx(ratios[0])

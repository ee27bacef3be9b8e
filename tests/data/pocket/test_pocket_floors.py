"""Floors of next and masked words against a plain sum over all paths of a tiny process, and against what losses must be on sampled text."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.pocket.enumeration import Enumeration, masked_by_enumeration, padded, texts
from transformer_zoo.data.pocket import PocketLanguage
from transformer_zoo.data.pocket.floors import HIDDEN, PADDING, Floors
from transformer_zoo.data.pocket.trellis import Trellis
from transformer_zoo.errors import DataError

# --- next word ------------------------------------------------------------------------------------------------------------------


def test_next_word_equals_the_sum_over_paths(tiny: PocketLanguage, tiny_floors: Floors, paths: Enumeration) -> None:
    rows, offsets = [], []
    for text in texts(tiny, 40):
        for offset in (0, 3, 9):
            if len(text) > offset:
                rows.append(text[offset : offset + 6])
                offsets.append(offset)
    losses = tiny_floors.next_word(padded(rows), np.array(offsets))
    assert any(tiny.end_symbol in row for row in rows)
    for row, offset, loss in zip(rows, offsets, losses, strict=True):
        start = paths.at_offset(offset)
        chances = [paths.total(start, row[:length]) for length in range(len(row) + 1)]
        np.testing.assert_allclose(loss[: len(row)], -np.diff(np.log(chances)), atol=1e-10)
        assert (loss[len(row) :] == 0).all()


def test_next_word_of_the_whole_language_over_all_states(pocket: PocketLanguage, pocket_floors: Floors) -> None:
    process = pocket.process
    text = texts(pocket, 3)[1][:60]
    losses = pocket_floors.next_word(np.array([text]), np.array([0]))[0]
    alpha = process.initial * process.emission[:, text[0]]
    expected = [-np.log(alpha.sum())]
    for symbol in text[1:]:
        alpha = process.advance(alpha / alpha.sum()) * process.emission[:, symbol]
        expected.append(-np.log(alpha.sum()))
    np.testing.assert_allclose(losses, expected, atol=1e-10)


def test_after_the_end_nothing_else_follows(tiny: PocketLanguage, tiny_floors: Floors) -> None:
    end = tiny.end_symbol
    assert tiny_floors.next_word(np.array([[end, end]]), np.array([30]))[0, 1] == pytest.approx(0.0, abs=1e-12)


def test_the_mean_loss_is_the_mean_entropy(tiny: PocketLanguage, tiny_floors: Floors) -> None:
    """At every place of sampled text the entropy of the next symbol is computed from the losses of all candidates, without looking
    at which one came; its mean and that of the losses estimate the same entropy rate."""
    rows = [text[:12] for text in texts(tiny, 150, seed=9)]
    prefixes = [(row[:length], row[length]) for row in rows for length in range(1, len(row))]
    everything = tiny.process.emission[:, :-1]
    matrix = tiny.process.moves.dense(tiny.process.n_states)
    gaps, mean = [], []
    for prefix, symbol in prefixes[:400]:
        law = tiny.process.initial * everything[:, prefix[0]]
        for seen in prefix[1:]:
            law = law @ matrix * everything[:, seen]
        chances = (law / law.sum() @ matrix) @ everything
        entropy = -(chances[chances > 0] * np.log(chances[chances > 0])).sum()
        loss = tiny_floors.next_word(np.array([[*prefix, symbol]]), np.array([0]))[0, -1]
        assert loss == pytest.approx(-np.log(chances[symbol]), abs=1e-9)
        gaps.append(loss - entropy)
        mean.append(loss)
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(len(gaps))
    assert np.mean(mean) > 0.3


def test_the_loss_of_documents_agrees_with_the_exact_entropy(tiny: PocketLanguage, tiny_floors: Floors) -> None:
    """H(path, words) follows from expected visits alone; the words' own loss is below it by what they leave open about the path,
    which here is the topic (at most log 2 of it) and, after the pronoun, nothing."""
    process = tiny.process
    matrix, end = process.moves.dense(process.n_states), process.end
    inner = matrix[:end, :end]
    visits = np.linalg.solve(np.eye(end) - inner.T, process.initial[:end])

    def entropy(rows: np.ndarray) -> np.ndarray:
        return -(rows * np.log(np.where(rows > 0, rows, 1.0))).sum(axis=1)

    exact = entropy(process.initial[None])[0] + visits @ (entropy(matrix[:end]) + entropy(process.emission[:end, :-1]))
    count = 3000
    walk = tiny.walk(4, "test", np.arange(count))
    firsts = np.searchsorted(walk.document, np.arange(count + 1))
    rows, joint = [], []
    for start, stop in pairwise(firsts.tolist()):
        states, words = walk.state[start:stop], walk.word[start:stop]
        rows.append([*words.tolist(), tiny.end_symbol])
        moves = matrix[states, np.append(states[1:], end)]
        joint.append(-np.log(process.initial[states[0]]) - np.log(moves).sum() - np.log(process.emission[states, words]).sum())
    losses = tiny_floors.next_word(padded(rows), np.zeros(count, dtype=int)).sum(axis=1)
    joint_array = np.array(joint)
    assert abs(joint_array.mean() - exact) < 4 * joint_array.std() / np.sqrt(count)
    assert (losses <= joint_array + 1e-9).all()
    assert (joint_array - losses).mean() <= np.log(2)


def test_foreign_text_is_refused(tiny: PocketLanguage, tiny_floors: Floors) -> None:
    stop = int(tiny.symbols(["."])[0])
    cow = int(tiny.symbols(["cow"])[0])
    with pytest.raises(DataError, match="row 1 cannot come from the built-in language"):
        tiny_floors.next_word(np.array([[cow, stop], [stop, stop]]), np.array([0, 0]))
    with pytest.raises(DataError, match="row 0 cannot come"):
        tiny_floors.masked_words(np.array([[stop, HIDDEN]]), np.array([[stop, stop]]), np.array([0]), np.array([False]))


# --- masked words ---


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 1.0])
def test_masked_words_equal_the_sum_over_paths(tiny: PocketLanguage, tiny_floors: Floors, paths: Enumeration, share: float) -> None:
    rng = np.random.default_rng(int(10 * share))
    rows, truths, offsets, ends = [], [], [], []
    for text in texts(tiny, 25, seed=1):
        words = text[:-1]
        for offset in (0, 9):
            truth = words[offset : offset + 5]
            if truth:
                rows.append([HIDDEN if rng.random() < share else word for word in truth])
                truths.append(truth)
                offsets.append(offset)
                ends.append(offset + 5 >= len(words))
    losses = tiny_floors.masked_words(padded(rows), padded(truths), np.array(offsets), np.array(ends))
    assert any(ends)
    assert not all(ends)
    for row, truth, offset, end, loss in zip(rows, truths, offsets, ends, losses, strict=True):
        ending = paths.matrix[:, paths.end].copy()
        expected = masked_by_enumeration(paths, paths.at_offset(offset), row, truth, ending if end else 1 - ending)
        assert set(np.flatnonzero(loss)) <= set(expected)
        for place, value in expected.items():
            assert loss[place] == pytest.approx(value, abs=1e-9)


def test_nothing_hidden_costs_nothing(pocket: PocketLanguage, pocket_floors: Floors) -> None:
    text = np.array([texts(pocket, 1)[0][:-1]])
    assert (pocket_floors.masked_words(text, text, np.array([0]), np.array([True])) == 0).all()


def test_hidden_words_have_a_law(tiny: PocketLanguage, tiny_floors: Floors) -> None:
    """The probabilities of all words at a hidden place sum to 1."""
    words = texts(tiny, 5, seed=3)[2][:8]
    row = [HIDDEN if place in (2, 5) else word for place, word in enumerate(words)]
    n = len(tiny.words)
    truth = np.repeat(np.array([words]), n, axis=0)
    truth[:, 2] = truth[:, 5] = np.arange(n)
    with np.errstate(divide="ignore"):
        losses = tiny_floors.masked_words(np.array([row] * n), truth, np.zeros(n, dtype=int), np.zeros(n, dtype=bool))
    np.testing.assert_allclose(np.exp(-losses[:, [2, 5]]).sum(axis=0), 1.0, atol=1e-9)


def test_one_hidden_word_follows_from_the_likelihoods_of_all_texts(pocket: PocketLanguage, pocket_floors: Floors) -> None:
    """Masked floor by forward sums alone: p(word | rest) is the text's likelihood over that of all texts with another word there."""
    trellis, text = Trellis(pocket.process), texts(pocket, 2, seed=2)[0]
    end = len(text) - 1
    for place in (4, end // 2, end - 1):
        variants = np.repeat(np.array([text]), len(pocket.words), axis=0)
        variants[:, place] = np.arange(len(pocket.words))
        scores = trellis.forward([pocket.process.initial], np.zeros(len(variants), dtype=int), variants).log_likelihood()
        expected = np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[text[place]]
        row = np.array([text[:-1]])
        row[0, place] = HIDDEN
        loss = pocket_floors.masked_words(row, np.array([text[:-1]]), np.array([0]), np.array([True]))
        assert loss[0, place] == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), offset=st.integers(0, 10), share=st.floats(0, 1), length=st.integers(1, 12))
def test_forward_and_backward_agree(tiny: PocketLanguage, seed: int, offset: int, share: float, length: int) -> None:
    """The likelihood of a row is the sum of its conditionals, is what the backward pass finds at every step, and loses nothing in a
    batch with rows of other lengths."""
    trellis, floors = Trellis(tiny.process), Floors(tiny)
    text = texts(tiny, 1, seed=seed)[0]
    offset = min(offset, len(text) - 1)
    row = text[offset : offset + length]
    hidden = np.random.default_rng(seed).random(len(row)) < share
    masked = [HIDDEN if hide and symbol != tiny.end_symbol else symbol for hide, symbol in zip(hidden, row, strict=True)]
    law = floors._offsets[offset]
    lattice = trellis.forward([law], np.zeros(1, dtype=int), np.array([masked]))
    closing, gammas = trellis.backward(lattice, np.ones(tiny.process.n_states))
    assert closing[0] == pytest.approx(1.0, abs=1e-12)
    for gamma in gammas:
        assert gamma.sum() == pytest.approx(1.0, abs=1e-9)
    plain = law * tiny.process.emission[:, masked[0]]
    matrix = tiny.process.moves.dense(tiny.process.n_states)
    for symbol in masked[1:]:
        plain = plain @ matrix * tiny.process.emission[:, symbol]
    assert lattice.log_likelihood()[0] == pytest.approx(np.log(plain.sum()), abs=1e-9)
    among = trellis.forward([law, tiny.process.initial], np.array([1, 0]), padded([text, masked]))
    assert among.log_likelihood()[1] == pytest.approx(lattice.log_likelihood()[0], abs=1e-12)


# --- how losses relate ----------------------------------------------------------------------------------------------------------


def test_more_context_lowers_the_loss(pocket: PocketLanguage, pocket_floors: Floors) -> None:
    """Cutting the same text into shorter windows, or hiding more of it, never helps on average."""
    documents = [text[:-1] for text in texts(pocket, 60, seed=5)]
    means = []
    for width in (4, 16, 64):
        windows = [(text[start : start + width], start) for text in documents for start in range(0, len(text), width)]
        losses = pocket_floors.next_word(padded([window for window, _ in windows]), np.array([start for _, start in windows]))
        means.append(losses.sum() / sum(map(len, documents)))
    assert means[0] > means[1] > means[2]
    rng, whole = np.random.default_rng(0), padded([text[:64] for text in documents])
    order = rng.random(whole.shape)
    chosen = (order < 0.1) & (whole != PADDING)
    ends = np.array([len(text) <= 64 for text in documents])
    hidden = [
        pocket_floors.masked_words(np.where((order < share) & (whole != PADDING), HIDDEN, whole), whole, np.zeros(60, dtype=int), ends)
        for share in (0.1, 0.3, 0.5)
    ]
    losses_at_chosen = [losses[chosen].mean() for losses in hidden]
    assert losses_at_chosen[0] < losses_at_chosen[1] < losses_at_chosen[2]

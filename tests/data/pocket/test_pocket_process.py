import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_zoo.data.pocket import PocketLanguage
from transformer_zoo.data.pocket.process import Choices, Process


def reachable(process: Process) -> np.ndarray:
    reached, law = process.initial > 0, process.initial
    while True:
        law = process.advance(law)
        if not ((law > 0) & ~reached).any():
            return reached
        reached |= law > 0


@pytest.fixture(params=["tiny", "pocket"])
def process(request: pytest.FixtureRequest) -> Process:
    language: PocketLanguage = request.getfixturevalue(request.param)
    return language.process


def test_sizes_are_within_the_limits(pocket: PocketLanguage) -> None:
    process = pocket.process
    assert 6 <= process.n_topics <= 10
    assert process.n_slots <= 100
    assert process.n_memories <= 8
    assert process.n_states == process.n_topics * process.n_slots * process.n_memories + 1


def test_every_reachable_state_goes_on_and_speaks(process: Process) -> None:
    reached = reachable(process)
    leaving = np.bincount(process.moves.rows, weights=process.moves.weights, minlength=process.n_states)
    np.testing.assert_allclose(leaving[reached], 1.0, atol=1e-12)
    np.testing.assert_allclose(process.emission[reached, :-1].sum(axis=1), 1.0, atol=1e-12)
    assert process.initial.sum() == pytest.approx(1.0, abs=1e-12)
    assert (process.moves.weights > 0).all()


def test_topics_are_blocks_and_the_end_absorbs(process: Process) -> None:
    inside = process.moves.columns != process.end
    assert (process.topic(process.moves.rows[inside]) == process.topic(process.moves.columns[inside])).all()
    own = process.moves.rows == process.end
    assert process.moves.columns[own].tolist() == [process.end]
    assert process.moves.weights[own].tolist() == [1.0]
    assert (process.emission[process.end, :-2] == 0).all()
    assert process.emission[process.end, -2] == 1.0


def test_memory_changes_only_between_sentences(process: Process) -> None:
    rows, columns = process.moves.rows, process.moves.columns
    inside = ~process.stops[rows] & (rows != process.end)
    assert (process.memory(rows[inside]) == process.memory(columns[inside])).all()
    assert (process.stop_of[rows[inside]] == process.stop_of[columns[inside]]).all()
    assert (process.memory(rows) != process.memory(columns))[process.stops[rows] & (columns != process.end)].any()


def test_documents_end_only_after_sentences(process: Process) -> None:
    assert (process.ending[~process.stops] == 0).all()
    assert process.ending.max() > 0


def test_the_end_of_every_sentence_is_reached(process: Process) -> None:
    """Walking on from any state without crossing a stop arrives in its own stop state, and nowhere else."""
    rows, columns = process.moves.rows, process.moves.columns
    inside = reachable(process)[rows] & ~process.stops[rows] & (rows != process.end)
    lowest = highest = np.where(process.stops, np.arange(process.n_states), -1)
    for _ in range(process.n_slots):
        low, high = np.full(process.n_states, process.n_states), np.full(process.n_states, -1)
        np.minimum.at(low, rows[inside], lowest[columns[inside]])
        np.maximum.at(high, rows[inside], highest[columns[inside]])
        lowest, highest = (np.where(process.stops, np.arange(process.n_states), found) for found in (low, high))
    asked = np.unique(rows[inside])
    assert (lowest[asked] == process.stop_of[asked]).all()
    assert (highest[asked] == process.stop_of[asked]).all()


def test_moves_of_the_tiny_grammar(tiny: PocketLanguage) -> None:
    """Hand-computed rows: ways without a word are dropped, a new subject is drawn by the topic's weights."""
    process, names = tiny.process, [slot.name for slot in tiny.grammar.slots]

    def state(topic: int, memory: int, slot: str) -> int:
        return (topic * process.n_memories + memory) * process.n_slots + names.index(slot)

    matrix = process.moves.dense(process.n_states)
    assert matrix[state(0, 0, "verb"), state(0, 0, "object")] == pytest.approx(0.4)
    after = matrix[state(0, 0, "stop")]
    assert after[process.end] == pytest.approx(0.25)
    assert after[state(0, 0, "pronoun")] == pytest.approx(0.75 * 3 / 4 * 2 / 3)
    assert after[state(0, 0, "so")] == pytest.approx(0.75 * 3 / 4 / 3)
    assert after[state(0, 1, "noun")] == pytest.approx(0.75 / 4 * 3 / 4 * 0.4)
    things = matrix[state(1, 3, "first_stop")]
    assert things[process.end] == 0
    assert things[state(1, 3, "so")] == 0  # no such word for things
    assert things[state(1, 3, "pronoun")] == pytest.approx(3 / 4)
    emission = process.emission[state(1, 0, "object")]
    assert dict(zip(tiny.words, emission, strict=False))["pots"] == pytest.approx(2 / 4 * 0.4)


def test_documents_follow_the_process(tiny: PocketLanguage) -> None:
    """Frequencies of first states, moves and words in 4000 documents: each within 5 standard errors."""
    process = tiny.process
    walk = tiny.walk(3, "train", np.arange(4000))
    first = np.searchsorted(walk.document, np.arange(4000))
    last = np.concatenate([first[1:], [len(walk.document)]]) - 1
    following = np.append(walk.state[1:], 0)
    following[last] = process.end
    for rows, columns, law in (
        (np.zeros(4000, dtype=int), walk.state[first], process.initial[None]),
        (walk.state, following, process.moves.dense(process.n_states)),
        (walk.state, walk.word, process.emission[:, :-1]),
    ):
        counts = np.zeros(law.shape)
        np.add.at(counts, (rows, columns), 1)
        visits = counts.sum(axis=1, keepdims=True)
        error = np.sqrt(visits * law * (1 - law))
        assert (np.abs(counts - visits * law) <= 5 * error + 1e-9).all()


weights = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=5)


@given(weights, st.integers(0, 2**53 - 1))
def test_draws_come_from_their_own_row(table: list[list[int]], bits: int) -> None:
    rows = np.concatenate([np.full(len(row), number) for number, row in enumerate(table)])
    columns = np.concatenate([10 * number + np.arange(len(row)) for number, row in enumerate(table)])
    choices = Choices(rows, columns, np.concatenate([np.array(row, dtype=float) for row in table]), len(table))
    everyone = np.arange(len(table))
    assert (choices.draw(everyone, np.full(len(table), bits * 2.0**-53)) // 10 == everyone).all()


def test_draws_have_the_right_shares() -> None:
    choices = Choices(np.array([0, 1, 1, 1]), np.array([0, 2, 0, 1]), np.array([5.0, 1.0, 2.0, 1.0]), 2)
    drawn = choices.draw(np.ones(1000, dtype=int), (np.arange(1000) + 0.5) / 1000)
    assert np.bincount(drawn).tolist() == [500, 250, 250]

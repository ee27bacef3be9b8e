"""Collocations: the measure of the paper, by hand; nothing across borders; the same every time."""

import math
from itertools import pairwise

import numpy as np
import pytest

from transformer_zoo.data.collocations import learned
from transformer_zoo.randomness import hash_words
from transformer_zoo.records import CollocationNeed


def text(n_documents: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Documents of random tokens with runs in them that always stand together: 100 101 102 and 110 111. Tokens 1 and 2 are so frequent that they
    meet often, by chance."""
    draws = np.random.default_rng(0)
    documents = []
    for _ in range(n_documents):
        words = [[int(token)] for token in draws.choice([1, 2, *range(10, 40)], 20, p=[0.25, 0.25] + [0.5 / 30] * 30)]
        words.insert(int(draws.integers(20)), [100, 101, 102])
        words.insert(int(draws.integers(20)), [110, 111])
        documents.append([token for word in words for token in word])
    lengths = [len(document) for document in documents]
    return np.concatenate(documents).astype(np.uint16), np.cumsum([0, *lengths])


def names(found: dict[int, np.ndarray], candidates: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [run for run in candidates if len(run) in found and hash_words(*run) in found[len(run)]]


def test_runs_that_belong_together_are_found_and_chance_is_not() -> None:
    tokens, breaks = text()
    found = learned(tokens, breaks, CollocationNeed(size=8, min_count=10, longest=4))
    runs = [(100, 101, 102), (110, 111), (100, 101), (101, 102), (1, 2), (2, 1), (1, 1), (1, 100), (111, 1)]
    assert set(names(found, runs)) == {(100, 101, 102), (110, 111), (100, 101), (101, 102)}
    assert sum(map(len, found.values())) <= 8


def by_hand(tokens: list[int], breaks: list[int], longest: int, min_count: int) -> dict[tuple[int, ...], float]:
    """Run → log p less the best sum over all ways to cut it."""
    counts: dict[tuple[int, ...], int] = {}
    for begin, end in pairwise(breaks):
        for first in range(begin, end):
            for last in range(first + 1, min(first + longest, end) + 1):
                run = tuple(tokens[first:last])
                counts[run] = counts.get(run, 0) + 1

    def ways(run: tuple[int, ...]) -> list[list[tuple[int, ...]]]:
        return [[run], *([run[:cut], *rest] for cut in range(1, len(run)) for rest in ways(run[cut:]))]

    def likely(run: tuple[int, ...]) -> float:
        return math.log(counts[run] / len(tokens))

    return {
        run: likely(run) - max(sum(map(likely, parts)) for parts in ways(run) if len(parts) > 1)
        for run, count in counts.items()
        if count >= min_count and len(run) > 1
    }


@pytest.mark.parametrize("size", [6, 40, 100_000])
def test_the_measure_is_the_papers(size: int) -> None:
    tokens, breaks = text(60)
    wanted = by_hand(tokens.tolist(), breaks.tolist(), 4, 3)
    found = learned(tokens, breaks, CollocationNeed(size=size, min_count=3, longest=4))
    left = size
    for length in (2, 3, 4):
        ranked = sorted((-measure, int(hash_words(*run))) for run, measure in wanted.items() if len(run) == length and measure > 1e-9)
        ranked = ranked[: left if length == 4 else left // 2]
        assert len(found[length]) == len(ranked)
        if ranked:  # equal measures may be told apart by the last digit: compare the measures taken
            taken = {int(hash_words(*run)): measure for run, measure in wanted.items() if len(run) == length}
            assert sorted(taken[int(run)] for run in found[length]) == pytest.approx(sorted(-measure for measure, _ in ranked))
        left -= len(ranked)


def test_no_run_crosses_a_border_and_the_result_is_the_same_every_time() -> None:
    tokens = np.tile([5, 6], 50)
    need = CollocationNeed(size=10, min_count=2, longest=3)
    assert [len(runs) for runs in learned(tokens, np.arange(101), need).values()] == [0, 0]
    across = learned(np.tile([5, 6, 7], 50), np.arange(0, 151, 3), need)
    assert names(across, [(5, 6), (6, 7), (7, 5), (5, 6, 7), (6, 7, 5)]) == [(5, 6), (6, 7), (5, 6, 7)]
    tokens, breaks = text()
    one, other = (learned(tokens, breaks, need) for _ in range(2))
    assert all((one[length] == other[length]).all() for length in one)

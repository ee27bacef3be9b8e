"""Floors of sentence pairs against a plain sum over all paths of a tiny process."""

import numpy as np
import pytest

from data.pocket.enumeration import Enumeration, masked_by_enumeration, normalised, padded
from transformer_zoo.data.pocket import PocketLanguage
from transformer_zoo.data.pocket.floors import HIDDEN, Floors, PairFloor


class PairCase:
    """Pairs of segments of tiny documents, cut at random, with some words hidden."""

    def __init__(self, language: PocketLanguage, seed: int, count: int, share: float, cuts: int) -> None:
        rng = np.random.default_rng(seed)
        documents = language.documents(seed, "test", 2 * count)
        self.is_next, self.origins = rng.integers(0, 2, count), np.zeros((2, count, 3), dtype=np.int64)
        self.truths: list[list[list[int]]] = [[], []]
        self.rows: list[list[list[int]]] = [[], []]
        for number in range(count):
            own, other = documents[2 * number].sentences, documents[2 * number + 1].sentences
            split = int(rng.integers(1, len(own)))
            first = int(rng.integers(max(0, split - 2), split))
            begin = split if self.is_next[number] else int(rng.integers(0, len(other)))
            chosen = (own[first:split], (own if self.is_next[number] else other)[begin : begin + 2])
            for side, (sentences, start) in enumerate(zip(chosen, (first, begin), strict=True)):
                words = language.symbols([word for sentence in sentences for word in sentence]).tolist()
                front, back = (int(rng.integers(0, cuts + 1)) for _ in range(2))
                front = min(front, len(words) - 1)
                back = min(back, len(words) - 1 - front, len(sentences[-1]) - 1)  # inside the last sentence
                shown = words[front : len(words) - back]
                self.truths[side].append(shown)
                self.rows[side].append([HIDDEN if rng.random() < share else word for word in shown])
                self.origins[side, number] = start, front, back == 0

    def floor(self, floors: Floors) -> PairFloor:
        arrays = [padded(rows) for rows in (*self.rows, *self.truths)]
        return floors.pair(*arrays, *self.origins)


def pair_by_enumeration(
    paths: Enumeration, rows: list[list[int]], truths: list[list[int]], origins: np.ndarray
) -> tuple[list[dict[int, float]], np.ndarray]:
    stops = paths.process.stops.astype(float)
    closings = [stops if origin[2] else np.ones(len(stops)) for origin in origins]
    laws = [paths.at_sentence(int(origin[0]), int(origin[1])) for origin in origins]
    apart = [
        sum(weight * closing[path[-1]] for path, weight in paths.paths(law, row)) for law, row, closing in zip(laws, rows, closings, strict=True)
    ]
    emission, n_cut = paths.process.emission, int(origins[1][1])
    joint, going_on, n_first = 0.0, 0.0, 0.0
    parts: list[dict[int, float]] = [dict.fromkeys((p for p, s in enumerate(row) if s == HIDDEN), 0.0) for row in rows]
    for path, weight in paths.paths(laws[0], rows[0]):
        weight *= closings[0][path[-1]]
        if weight == 0:
            continue
        n_first += weight
        last = {path[-1]: 1.0}
        if not origins[0][2]:  # one more word is gone, and the rest of its sentence
            last = normalised({s: paths.matrix[path[-1], s] for s in paths.followers[path[-1]] if s != paths.end})
        start = paths.starts_after(last)
        going_on += weight * paths.total(start, [HIDDEN] * (n_cut + 1) if n_cut else [])
        for onward, more in paths.paths(start, [HIDDEN] * n_cut + rows[1]):
            together = weight * more * closings[1][onward[-1]]
            joint += together
            for place in parts[0]:
                parts[0][place] += together * emission[path[place], truths[0][place]]
            for place in parts[1]:
                parts[1][place] += together * emission[onward[n_cut + place], truths[1][place]]
    # A second segment that begins inside a sentence is given to exist.
    exists = given_cut(paths, rows, laws[0], closings[0], origins) if n_cut else n_first
    scores = np.array([apart[0] * apart[1], n_first * joint / exists])
    belief = scores / scores.sum()
    losses: list[dict[int, float]] = []
    for side in (0, 1):
        alone = masked_by_enumeration(paths, laws[side], rows[side], truths[side], closings[side])
        losses.append(
            {place: -np.log(belief[0] * np.exp(-alone[place]) + belief[1] * (parts[side][place] / joint if joint else 0.0)) for place in alone}
        )
    with np.errstate(divide="ignore"):
        return losses, -np.log(belief)


def given_cut(paths: Enumeration, rows: list[list[int]], law: dict[int, float], closing: np.ndarray, origins: np.ndarray) -> float:
    """Weight of all first segments whose document goes on through the words cut in front of the second."""
    total = 0.0
    for path, weight in paths.paths(law, rows[0]):
        last = {path[-1]: 1.0}
        if not origins[0][2]:
            last = normalised({s: paths.matrix[path[-1], s] for s in paths.followers[path[-1]] if s != paths.end})
        if weight * closing[path[-1]] > 0:
            total += weight * closing[path[-1]] * paths.total(paths.starts_after(last), [HIDDEN] * int(origins[1][1]))
    return total


@pytest.mark.parametrize(("share", "cuts"), [(0.0, 0), (0.3, 0), (0.0, 2), (0.3, 2), (1.0, 1)])
def test_pairs_equal_the_sum_over_paths(tiny: PocketLanguage, tiny_floors: Floors, paths: Enumeration, share: float, cuts: int) -> None:
    case = PairCase(tiny, int(10 * share) + cuts, 12 if share < 1 else 6, share, cuts)
    floor = case.floor(tiny_floors)
    assert set(case.is_next.tolist()) == {0, 1}
    for number in range(len(case.is_next)):
        rows, truths = ([side[number] for side in sides] for sides in (case.rows, case.truths))
        losses, is_next = pair_by_enumeration(paths, rows, truths, case.origins[:, number])
        np.testing.assert_allclose(np.exp(-floor.is_next[number]), np.exp(-is_next), atol=1e-9)
        for expected, found in zip(losses, (floor.first[number], floor.second[number]), strict=True):
            assert set(np.flatnonzero(found)) <= set(expected)
            for place, value in expected.items():
                assert found[place] == pytest.approx(value, abs=1e-8)


def test_the_beliefs_about_next_are_calibrated(pocket: PocketLanguage, pocket_floors: Floors) -> None:
    case = PairCase(pocket, 3, 600, 0.15, 1)
    floor = case.floor(pocket_floors)
    belief = np.exp(-floor.is_next)
    np.testing.assert_allclose(belief.sum(axis=1), 1.0, atol=1e-9)
    losses = floor.is_next[np.arange(600), case.is_next]
    with np.errstate(invalid="ignore"):
        entropy = np.nansum(belief * floor.is_next, axis=1)
    assert abs((losses - entropy).mean()) < 4 * (losses - entropy).std() / np.sqrt(600)
    assert 0 < losses.mean() < 0.4
    assert ((belief[:, 1] > 0.5) == case.is_next).mean() > 0.85


def test_pairs_of_nothing(tiny_floors: Floors) -> None:
    none, origin = np.zeros((0, 3), dtype=int), np.zeros((0, 3), dtype=int)
    assert tiny_floors.pair(none, none, none, none, origin, origin).is_next.shape == (0, 2)
    assert tiny_floors.next_word(none, np.zeros(0, dtype=int)).shape == (0, 3)

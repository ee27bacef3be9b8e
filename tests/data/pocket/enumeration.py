"""Plain sums over explicit paths of a tiny process: what the floors must equal."""

from collections.abc import Iterator

import numpy as np

from transformer_zoo.data.pocket import PocketLanguage
from transformer_zoo.data.pocket.floors import HIDDEN, PADDING


class Enumeration:
    """Sums over explicit paths through the dense matrices. Deliberately slow and plain."""

    def __init__(self, language: PocketLanguage) -> None:
        self.process, self.language = language.process, language
        self.matrix = language.process.moves.dense(language.process.n_states)
        self.end = language.process.end
        self.followers = {state: np.flatnonzero(self.matrix[state]).tolist() for state in range(self.end + 1)}

    def paths(self, start: dict[int, float], symbols: list[int]) -> Iterator[tuple[list[int], float]]:
        """Every path that shows the symbols, with its joint probability."""
        weights = [(state, weight * self.shows(state, symbols[0])) for state, weight in start.items()]
        for state, weight in weights:
            if weight > 0:
                yield from self._onward([state], weight, symbols)

    def _onward(self, path: list[int], weight: float, symbols: list[int]) -> Iterator[tuple[list[int], float]]:
        if len(path) == len(symbols):
            yield path, weight
            return
        for state in self.followers[path[-1]]:
            joint = weight * self.matrix[path[-1], state] * self.shows(state, symbols[len(path)])
            if joint > 0:
                yield from self._onward([*path, state], joint, symbols)

    def shows(self, state: int, symbol: int) -> float:
        if symbol == HIDDEN:
            return float(state != self.end)
        return float(self.process.emission[state, symbol])

    def total(self, start: dict[int, float], symbols: list[int]) -> float:
        return sum(weight for _, weight in self.paths(start, symbols)) if symbols else sum(start.values())

    def initial(self) -> dict[int, float]:
        return {int(state): float(self.process.initial[state]) for state in np.flatnonzero(self.process.initial)}

    def at_offset(self, offset: int) -> dict[int, float]:
        """Law of the state after `offset` words, given that there are that many."""
        law = self.initial()
        for _ in range(offset):
            onward: dict[int, float] = {}
            for state, weight in law.items():
                for after in self.followers[state] if state != self.end else ():
                    onward[after] = onward.get(after, 0.0) + weight * self.matrix[state, after]
            law = onward
        return normalised(law)

    def at_sentence(self, number: int, cut: int) -> dict[int, float]:
        """Law of the state `cut` words into a sentence, given that the document goes on that far."""
        law = self.initial()
        for _ in range(number):
            law = self.starts_after(law)
        if not cut:
            return law
        found: dict[int, float] = {}
        for path, weight in self.paths(law, [HIDDEN] * (cut + 1)):
            found[path[-1]] = found.get(path[-1], 0.0) + weight
        return normalised(found)

    def starts_after(self, law: dict[int, float]) -> dict[int, float]:
        """Follows each state to the end of its sentence, word by word, and one step further."""
        following: dict[int, float] = {}
        while law:
            onward: dict[int, float] = {}
            for state, weight in law.items():
                place = following if self.process.stops[state] else onward
                for after in self.followers[state]:
                    if after != self.end:
                        place[after] = place.get(after, 0.0) + weight * self.matrix[state, after]
            law = onward
        return normalised(following)


def normalised(law: dict[int, float]) -> dict[int, float]:
    total = sum(law.values())
    return {state: weight / total for state, weight in law.items()}


def texts(language: PocketLanguage, count: int, seed: int = 0) -> list[list[int]]:
    """Whole documents as symbols, with the end symbol."""
    return [
        [*language.symbols([word for sentence in document.sentences for word in sentence]).tolist(), language.end_symbol]
        for document in language.documents(seed, "test", count)
    ]


def padded(rows: list[list[int]]) -> np.ndarray:
    array = np.full((len(rows), max(map(len, rows))), PADDING)
    for number, row in enumerate(rows):
        array[number, : len(row)] = row
    return array


def masked_by_enumeration(paths: Enumeration, start: dict[int, float], row: list[int], truth: list[int], closing: np.ndarray) -> dict[int, float]:
    hidden = [place for place, symbol in enumerate(row) if symbol == HIDDEN]
    total, parts = 0.0, dict.fromkeys(hidden, 0.0)
    for path, weight in paths.paths(start, row):
        weight *= closing[path[-1]]
        total += weight
        for place in hidden:
            parts[place] += weight * paths.process.emission[path[place], truth[place]]
    return {place: -np.log(part / total) for place, part in parts.items()}

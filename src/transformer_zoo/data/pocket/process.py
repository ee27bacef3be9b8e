"""The built-in language as a weighted finite-state process.

A state is (topic, memory, slot): the topic never changes within a document, so the transition matrix is block-diagonal; the memory is
class and number of the last subject and changes only between sentences; the slot is the place in the sentence template. One more
state, `end`, is absorbing. Every state emits one symbol: a word, or END in `end`. All weights are known, and with them every
probability that `floors.py` computes.
"""

from dataclasses import dataclass

import numpy as np

from transformer_zoo.data.pocket.grammar import SINGULAR_SHARE, Grammar, Topic


class Choices:
    """Rows of weighted alternatives (a sparse row-stochastic matrix), and draws from them that are the same on every platform."""

    def __init__(self, rows: np.ndarray, columns: np.ndarray, weights: np.ndarray, n_rows: int) -> None:
        """Entries in any order; every row that has some is made to sum to 1."""
        order = np.lexsort((columns, rows))
        self.rows, self.columns = rows[order].astype(np.int64), columns[order].astype(np.int64)
        totals = np.bincount(self.rows, weights=weights[order], minlength=n_rows)
        self.weights = weights[order].astype(np.float64) / totals[self.rows]
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(self.rows, minlength=n_rows))])
        # One ascending array for all rows: the row's number plus the cumulative weight inside it.
        running = np.concatenate([[0.0], np.cumsum(self.weights)])
        self._ladder = self.rows + (running[1:] - running[self.starts[self.rows]])

    def draw(self, rows: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """[n] a column for each of the rows, by uniform numbers in [0, 1)."""
        found = np.searchsorted(self._ladder, rows + uniform, side="right")
        return self.columns[np.clip(found, self.starts[rows], self.starts[rows + 1] - 1)]

    def dense(self, n_columns: int) -> np.ndarray:
        """[rows, columns] the same as a plain matrix."""
        matrix = np.zeros((len(self.starts) - 1, n_columns))
        matrix[self.rows, self.columns] = self.weights
        return matrix


@dataclass(frozen=True, kw_only=True)
class Process:
    """States are numbered `(topic * M + memory) * P + slot`; the last one is `end`. S counts all of them, V the words."""

    n_topics: int
    n_memories: int
    n_slots: int
    initial: np.ndarray
    """[S] law of the first state of a document."""
    moves: Choices
    """State → next state. States that no document reaches have no row."""
    words: Choices
    """State → word, or V (END) in `end`."""
    emission: np.ndarray
    """[S, V + 2] probability of each symbol in each state: words, END, and last (index -1) 'some word, hidden'."""
    stop_of: np.ndarray
    """[S] the state in which this state's sentence ends; itself for a sentence's last state and `end`."""

    @property
    def n_states(self) -> int:
        return len(self.initial)

    @property
    def end(self) -> int:
        return self.n_states - 1

    @property
    def stops(self) -> np.ndarray:
        """[S] bool: states that end a sentence."""
        own = self.stop_of == np.arange(self.n_states)
        own[self.end] = False
        return own

    @property
    def ending(self) -> np.ndarray:
        """[S] probability that the document ends right after a state's word."""
        into = (self.moves.columns == self.end) & (self.moves.rows != self.end)
        return np.bincount(self.moves.rows[into], weights=self.moves.weights[into], minlength=self.n_states)

    def topic(self, states: np.ndarray) -> np.ndarray:
        return states // (self.n_slots * self.n_memories)

    def memory(self, states: np.ndarray) -> np.ndarray:
        return states // self.n_slots % self.n_memories

    def slot(self, states: np.ndarray) -> np.ndarray:
        return states % self.n_slots

    def advance(self, law: np.ndarray) -> np.ndarray:
        """[S] one step further; mass that reaches `end` stays there."""
        return np.bincount(self.moves.columns, weights=law[self.moves.rows] * self.moves.weights, minlength=self.n_states)


def new_subject(topic: Topic) -> np.ndarray:
    """[M] how likely each class and number is for a new subject."""
    classes = np.asarray(topic.classes, dtype=np.float64)
    numbers = np.array([SINGULAR_SHARE, 1.0 - SINGULAR_SHARE])
    return (classes[:, None] / classes.sum() * numbers).reshape(-1)


def build_process(grammar: Grammar, vocabulary: tuple[str, ...]) -> Process:
    """The process of a grammar. Ways into a slot that has no word for a topic and memory are dropped, the others weighted up."""
    n_topics, n_memories, n_slots = len(grammar.topics), grammar.n_memories, len(grammar.slots)
    word_index = {word: index for index, word in enumerate(vocabulary)}
    slot_index = {slot.name: index for index, slot in enumerate(grammar.slots)}
    n_states, n_words = n_topics * n_memories * n_slots + 1, len(vocabulary)
    end = n_states - 1

    emission = np.zeros((n_states, n_words + 2))
    emission[end, n_words] = 1.0
    emission[:end, -1] = 1.0
    for topic_index, topic in enumerate(grammar.topics):
        for memory in range(n_memories):
            base = (topic_index * n_memories + memory) * n_slots
            for position, slot in enumerate(grammar.slots):
                for word, probability in grammar.emission(topic, slot, memory).items():
                    emission[base + position, word_index[word]] = probability
    speaks = emission[:, : n_words + 1].sum(axis=1) > 0

    initial = np.zeros(n_states)
    edges: list[tuple[int, int, float]] = []

    def link(source: int, base: int, followers: dict[str, float], share: float) -> None:
        """Spreads `share` of what leaves `source` over the followers that have a word."""
        usable = {base + slot_index[name]: weight for name, weight in followers.items() if speaks[base + slot_index[name]]}
        total = sum(usable.values())
        assert usable or not followers, f"no way on from slot {grammar.slots[source % n_slots].name!r}"
        edges.extend((source, target, share * weight / total) for target, weight in usable.items())

    kept, changed = sum(grammar.keeping.values()), sum(grammar.changing.values())
    for topic_index, topic in enumerate(grammar.topics):
        fresh = new_subject(topic)
        for memory in range(n_memories):
            base = (topic_index * n_memories + memory) * n_slots
            for name, weight in grammar.opening.items():
                initial[base + slot_index[name]] = fresh[memory] * weight / sum(grammar.opening.values()) / n_topics
            for name, followers in grammar.edges.items():
                if speaks[base + slot_index[name]]:
                    link(base + slot_index[name], base, dict(followers), 1.0)
            for name, ending in grammar.stops.items():
                source = base + slot_index[name]
                if ending > 0:
                    edges.append((source, end, ending))
                link(source, base, dict(grammar.keeping), (1 - ending) * kept / (kept + changed))
                for other in range(n_memories):
                    other_base = (topic_index * n_memories + other) * n_slots
                    link(source, other_base, dict(grammar.changing), (1 - ending) * changed / (kept + changed) * fresh[other])
    edges.append((end, end, 1.0))

    sources, targets, weights = (np.array(column) for column in zip(*edges, strict=True))
    positive = weights > 0
    states, symbols = np.nonzero(emission[:, : n_words + 1])
    return Process(
        n_topics=n_topics,
        n_memories=n_memories,
        n_slots=n_slots,
        initial=initial,
        moves=Choices(sources[positive], targets[positive], weights[positive], n_states),
        words=Choices(states, symbols, emission[states, symbols], n_states),
        emission=emission,
        stop_of=_stop_of(grammar, slot_index, n_states),
    )


def _stop_of(grammar: Grammar, slot_index: dict[str, int], n_states: int) -> np.ndarray:
    """Follows every slot to where its sentence ends, which must be one place: it is what makes a sentence's end known in advance."""
    ends: dict[str, str] = {}

    def resolve(name: str) -> str:
        if name not in ends:
            found = {name} if name in grammar.stops else {resolve(follower) for follower in grammar.edges[name]}
            assert len(found) == 1, f"sentences through slot {name!r} end in several places: {sorted(found)}"
            ends[name] = found.pop()
        return ends[name]

    offsets = np.array([slot_index[resolve(slot.name)] for slot in grammar.slots])
    states = np.arange(n_states)
    stop = states - states % len(offsets) + offsets[states % len(offsets)]
    stop[-1] = n_states - 1
    return stop

"""The built-in language: documents with translations, topics and tags, drawn from the process of a grammar.

Every draw is a hash of (seed, split, document, word, purpose), so a document is a pure function of its name: the same on every
platform, and whatever else is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from transformer_zoo.data.pocket.grammar import Grammar
from transformer_zoo.data.pocket.process import Process, build_process
from transformer_zoo.data.pocket.templates import pocket_grammar
from transformer_zoo.data.pocket.translation import Translator
from transformer_zoo.errors import DataError
from transformer_zoo.randomness import hash_words, purpose_key

_BLOCK = 4096  # documents drawn side by side


@dataclass(kw_only=True, slots=True)
class PocketDocument:
    """One document: sentences as lists of words, the full stop being a word."""

    sentences: list[list[str]]
    translations: list[list[str]]
    """One target sentence for every sentence."""
    topic: int
    """Number of its topic: the label for classification."""
    subject: int
    """Class and number of its last subject (an index of `PocketLanguage.subject_names`): a harder label, told by a single word that
    a pronoun may refer back to."""
    tags: list[list[str]]
    """A part of speech for every word."""

    @property
    def text(self) -> str:
        """Words joined by spaces, sentences by newlines."""
        return "\n".join(" ".join(sentence) for sentence in self.sentences)


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Paths of several documents through the process, one after another, one entry per word."""

    document: np.ndarray
    """[n] place of the document among those asked for."""
    state: np.ndarray
    word: np.ndarray
    uniform: np.ndarray
    """[n] a number in [0, 1) left over for the choice of a synonym."""


class PocketLanguage:
    """A language and everything drawn from it. `grammar` is the built-in one unless another is given."""

    def __init__(self, grammar: Grammar | None = None) -> None:
        self.grammar = grammar or pocket_grammar()
        self.words: tuple[str, ...] = self.grammar.vocabulary()
        """The source vocabulary; a word's place in it is its symbol id."""
        self.process: Process = build_process(self.grammar, self.words)
        self.translator = Translator(self.grammar, self.words)
        self.target_words: tuple[str, ...] = self.translator.words
        self.topics: tuple[str, ...] = tuple(topic.name for topic in self.grammar.topics)
        self.subject_names: tuple[str, ...] = self.grammar.memory_names()
        self.tag_names: tuple[str, ...] = self.grammar.tags
        self._index = {word: number for number, word in enumerate(self.words)}
        self._target_index = {word: number for number, word in enumerate(self.target_words)}

    @property
    def end_symbol(self) -> int:
        """The symbol id of the end of a document."""
        return len(self.words)

    def symbols(self, words: Sequence[str]) -> np.ndarray:
        """[n] symbol ids of source words."""
        return _look_up(words, self._index, "source")

    def target_symbols(self, words: Sequence[str]) -> np.ndarray:
        """[n] ids of target words."""
        return _look_up(words, self._target_index, "target")

    def document(self, seed: int, split: str, index: int) -> PocketDocument:
        """Document `index` of a split; splits of different names are independent streams."""
        return self._documents(seed, split, np.array([index]))[0]

    def documents(self, seed: int, split: str, count: int) -> list[PocketDocument]:
        """The first `count` documents of a split."""
        blocks = [np.arange(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
        return [document for block in blocks for document in self._documents(seed, split, block)]

    def walk(self, seed: int, split: str, indices: np.ndarray) -> Walk:
        """The paths behind documents `indices` [n] of a split."""
        process, key = self.process, purpose_key(f"pocket {split}")
        alive = np.arange(len(indices))

        def uniform(step: int, purpose: int) -> np.ndarray:
            bits = hash_words(seed, key, indices[alive], step, purpose)
            return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53

        law = np.cumsum(process.initial)
        states = np.minimum(np.searchsorted(law, uniform(0, 0) * law[-1], side="right"), np.flatnonzero(process.initial)[-1])
        parts, step = [], 0
        while len(alive):
            step += 1
            parts.append((alive, states, process.words.draw(states, uniform(step, 1)), uniform(step, 2)))
            states = process.moves.draw(states, uniform(step, 0))
            alive, states = alive[states != process.end], states[states != process.end]
        document, state, word, left = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(document, kind="stable")
        return Walk(document=document[order], state=state[order], word=word[order], uniform=left[order])

    def _documents(self, seed: int, split: str, indices: np.ndarray) -> list[PocketDocument]:
        walk, process = self.walk(seed, split, indices), self.process
        stops = process.stops[walk.state]
        sentence = np.cumsum(stops) - stops
        slots, memories = process.slot(walk.state), process.memory(walk.state[stops])
        alignment = self.translator.align(slots, walk.word, sentence, memories)
        target = alignment.draw(walk.uniform[alignment.token])
        target_ends = np.searchsorted(sentence[alignment.token], np.arange(len(memories)), side="right")
        tag_of_slot = np.array([slot.tag for slot in self.grammar.slots], dtype=object)
        sentences = _split(np.array(self.words, dtype=object)[walk.word], np.flatnonzero(stops) + 1)
        tags = _split(tag_of_slot[slots], np.flatnonzero(stops) + 1)
        translations = _split(np.array(self.target_words, dtype=object)[target], target_ends)
        bounds = np.searchsorted(walk.document[stops], np.arange(len(indices) + 1))
        topics = process.topic(walk.state[stops])
        return [
            PocketDocument(
                sentences=sentences[start:stop],
                translations=translations[start:stop],
                topic=int(topics[start]),
                subject=int(memories[stop - 1]),
                tags=tags[start:stop],
            )
            for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        ]


def _split(values: np.ndarray, ends: np.ndarray) -> list[list[str]]:
    items = values.tolist()
    return [items[start:stop] for start, stop in pairwise([0, *ends.tolist()])]


def _look_up(words: Sequence[str], index: dict[str, int], side: str) -> np.ndarray:
    unknown = [word for word in words if word not in index]
    if unknown:
        raise DataError(f"the {side} side of the built-in language has no word {unknown[0]!r}; use text that `data=pocket` made")
    return np.array([index[word] for word in words], dtype=np.int64)

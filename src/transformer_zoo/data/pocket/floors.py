"""The best possible losses on the built-in language, in nats: the process's own −log p of what a model is asked to predict.

Every floor is the loss of a reader who knows the process, sees what the model sees, and is told besides where the text was cut from
its document. Knowing more can only lower an expected loss, so no model's expected loss on fresh text is below the floor (on a sample
of text both scatter alike, and a single token may well cost a model less). For pairs this holds but for one thing: what the mere
lengths of segments tell about how a pair was drawn is not counted; see `Floors.pair`.

Symbols are word ids of the language (`PocketLanguage.symbols`), `end_symbol` after a document's last word, HIDDEN for a word that is
not shown, and PADDING after the end of a row. B rows, L symbols. Text that the process cannot produce is a `DataError`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from transformer_zoo.data.pocket.language import PocketLanguage
from transformer_zoo.data.pocket.trellis import HIDDEN, MOVE, NEXT_SENTENCE, PADDING, SKIP_TO_STOP, Trellis
from transformer_zoo.errors import DataError

__all__ = ["HIDDEN", "PADDING", "Floors", "PairFloor"]

_ROWS, _HIDDEN = 64, 1000  # rows, and hidden words at most, summed side by side: bounds the memory

_Key = TypeVar("_Key")


@dataclass(frozen=True, kw_only=True)
class PairFloor:
    """Best possible losses of sentence pairs."""

    first: np.ndarray
    """[B, LA] of the hidden words of the first segment, 0 elsewhere."""
    second: np.ndarray
    """[B, LB] of the hidden words of the second segment, 0 elsewhere."""
    is_next: np.ndarray
    """[B, 2] of saying 'not next' (column 0) and 'next' (column 1): minus the logarithm of their probabilities."""


class _Laws:
    """Laws of a state, each computed once."""

    def __init__(self, first: np.ndarray, following: Callable[[np.ndarray], np.ndarray]) -> None:
        self._laws, self._following = [first], following

    def __getitem__(self, number: int) -> np.ndarray:
        while len(self._laws) <= number:
            self._laws.append(self._following(self._laws[-1]))
        return self._laws[number]


class Floors:
    """The floors of one language. Methods take a whole held-out set at once and may be called often: laws are kept."""

    def __init__(self, language: PocketLanguage) -> None:
        self.language, self._process = language, language.process
        self._trellis = Trellis(language.process)
        self._offsets = _Laws(language.process.initial, self._after_word)
        self._sentences = _Laws(language.process.initial, self._after_sentence)
        self._cut: dict[int, _Laws] = {}
        self._any_sentence: np.ndarray | None = None

    def next_word(self, symbols: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """[B, L] loss of every symbol given those before it in its row; 0 on padding.

        `symbols` [B, L]; `offset` [B] words of the document in front of the row. The first symbol is scored by the law of the
        symbol at that offset, given that the document has that many words; the end of the document is a symbol like the others.
        """
        result = np.zeros(symbols.shape)
        for block in _blocks(symbols):
            laws, which = self._distinct(offset[block].tolist(), self._offsets.__getitem__)
            lattice = self._trellis.forward(laws, which, symbols[block])
            _check(lattice.log_likelihood(), block)
            result[block] = -np.log(lattice.scales)
        return result

    def masked_words(self, symbols: np.ndarray, truth: np.ndarray, offset: np.ndarray, ends_document: np.ndarray) -> np.ndarray:
        """[B, L] loss of every HIDDEN word of a row given all its visible ones; 0 elsewhere.

        `symbols` [B, L] with HIDDEN; `truth` [B, L] the words hidden (read there only); `offset` [B] words of the document in front
        of the row; `ends_document` [B] bool: the row's last word is its document's last, which is taken as known either way.
        """
        result, ending = np.zeros(symbols.shape), self._process.ending
        for block in _blocks(symbols):
            laws, which = self._distinct(offset[block].tolist(), self._offsets.__getitem__)
            lattice = self._trellis.forward(laws, which, symbols[block])
            closing, gammas = self._trellis.backward(lattice, np.where(ends_document[block, None], ending, 1.0 - ending))
            _check(lattice.log_likelihood() + _log(closing), block)
            hidden = symbols[block] == HIDDEN
            probability = self._trellis.word_posteriors(lattice, gammas, np.where(hidden, truth[block], 0), hidden)
            result[block] = _loss(probability, hidden)
        return result

    def pair(
        self,
        first: np.ndarray,
        second: np.ndarray,
        first_truth: np.ndarray,
        second_truth: np.ndarray,
        first_origin: np.ndarray,
        second_origin: np.ndarray,
    ) -> PairFloor:
        """Losses of the hidden words of pairs of segments and of whether the second continues the first.

        `first` [B, LA], `second` [B, LB] with HIDDEN and PADDING, the truths alike; the origins [B, 3]: number of the segment's
        first sentence in its document, words cut in front of it, and 1 where nothing was cut at its end, which then is the end of a
        sentence. Two explanations, equally likely beforehand:

        - *next*: the second segment begins in the state that follows the first one's last word. Where words were cut at the first
          segment's end, they are at least one, and the rest of that sentence. Words cut in front of the second segment are summed
          over. Both are given that the document goes on that far.
        - *not next*: it is from another document, beginning with the given sentence number, with a topic of its own.

        The explanations' posterior, given all visible words, is the floor of the next-sentence loss and mixes the laws of the hidden
        words. The number of the second segment's first sentence tells nothing about which explanation holds: it sets the law of
        'not next' only, as no model sees it. Nor do the lengths of the segments, or how much was cut: with BERT's way of drawing pairs
        they tell about 0.01 nats, and less once the words are read.
        """
        segments, truths, origins = [first, second], [first_truth, second_truth], [first_origin, second_origin]
        result = PairFloor(first=np.zeros(first.shape), second=np.zeros(second.shape), is_next=np.zeros((len(first), 2)))
        for block in _blocks(first, second):
            result.first[block], result.second[block], result.is_next[block] = self._pair(
                [array[block] for array in segments], [array[block] for array in truths], [array[block] for array in origins], block
            )
        return result

    def translation(self, source: Sequence[int] | np.ndarray, target: Sequence[int] | np.ndarray) -> np.ndarray:
        """[T + 1] loss of every target word given the source sentence and the target words before it; the last entry is the end of
        the target, which costs nothing: the source determines its length.

        `source`: symbol ids of one whole sentence, `target` [T]: ids of target words (`PocketLanguage.target_symbols`). The sentence
        is any one of a document, without context; the class and number that its pronoun leaves open are summed over.
        """
        source, target = np.asarray(source, dtype=np.int64), np.asarray(target, dtype=np.int64)
        process, translator = self._process, self.language.translator
        lattice = self._trellis.forward([self._sentence_law()], np.zeros(1, dtype=np.int64), source[None])
        closing, gammas = self._trellis.backward(lattice, process.stops.astype(np.float64))
        _check(lattice.log_likelihood() + _log(closing), slice(0, 1))
        slots = [process.slot(step.states[gamma > 0]) for step, gamma in zip(lattice.steps, gammas, strict=True)]
        assert all((place == place[0]).all() for place in slots), "a sentence with two readings"
        path = np.array([place[0] for place in slots])
        memories = process.memory(lattice.steps[-1].states)
        belief = np.bincount(memories, weights=gammas[-1], minlength=process.n_memories)
        known = np.flatnonzero(belief)
        belief = belief[known]
        chances = []
        for memory in known:
            alignment = translator.align(path, source, np.zeros(len(source), dtype=np.int64), np.array([memory]))
            if len(alignment.token) != len(target):
                raise DataError(f"the target has {len(target)} words where the built-in language has {len(alignment.token)}")
            chances.append(np.where(alignment.forms == target[:, None], alignment.weights, 0.0).sum(axis=1))
        losses = np.zeros(len(target) + 1)
        for place, chance in enumerate(np.array(chances).T):
            probability = float(belief @ chance)
            if probability <= 0:
                raise DataError(f"target word {place} ({target[place]}) is no translation of its source sentence in the built-in language")
            losses[place] = -np.log(probability)
            belief = belief * chance / probability
        return losses

    # --- laws of the first state -------------------------------------------------------------------------------------------------

    def _after_word(self, law: np.ndarray) -> np.ndarray:
        """Law of the next state, given that the document did not end before it."""
        words = law.copy()
        words[self._process.end] = 0.0
        return _normalised(self._process.advance(words))

    def _still_words(self, law: np.ndarray) -> np.ndarray:
        """Law one word further, given that there is one."""
        moved = self._process.advance(law)
        moved[self._process.end] = 0.0
        return _normalised(moved)

    def _after_sentence(self, law: np.ndarray) -> np.ndarray:
        """From the law at the beginning of a sentence to that of the next one, given that there is one."""
        return self._still_words(self._stopped(law))

    def _stopped(self, law: np.ndarray) -> np.ndarray:
        return np.bincount(self._process.stop_of, weights=law, minlength=self._process.n_states)

    def _sentence_law(self) -> np.ndarray:
        """Law of the beginning of any sentence of any document, each sentence counting alike."""
        if self._any_sentence is None:
            law = self._process.initial
            visits = np.zeros_like(law)
            while law.sum() > 1e-17:
                visits += law
                law = self._process.advance(self._stopped(law))
                law[self._process.end] = 0.0
            self._any_sentence = _normalised(visits)
        return self._any_sentence

    def _segment_law(self, place: tuple[int, int]) -> np.ndarray:
        sentence, cut = place
        laws = self._cut.setdefault(sentence, _Laws(self._sentences[sentence], self._still_words))
        return laws[cut]

    @staticmethod
    def _distinct(keys: Sequence[_Key], law: Callable[[_Key], np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """The laws of the different keys, and which of them each row has."""
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return [law(key) for key in numbers], np.array([numbers[key] for key in keys], dtype=np.int64)

    # --- pairs -------------------------------------------------------------------------------------------------------------------

    def _pair(
        self,
        segments: list[np.ndarray],
        truths: list[np.ndarray],
        origins: list[np.ndarray],
        block: slice,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        trellis, stops = self._trellis, self._process.stops.astype(np.float64)
        hidden = [segment == HIDDEN for segment in segments]
        truths = [np.where(where, truth, 0) for where, truth in zip(hidden, truths, strict=True)]
        # What is known to follow a segment: where nothing was cut, its last word ends a sentence.
        finals = [np.where(origin[:, 2:] == 1, stops, 1.0) for origin in origins]
        laws = [self._distinct([(int(number), int(cut)) for number, cut, _ in origin], self._segment_law) for origin in origins]

        apart_scores, apart = [], []
        for segment, truth, where, final, (law, which) in zip(segments, truths, hidden, finals, laws, strict=True):
            lattice = trellis.forward(law, which, segment)
            closing, gammas = trellis.backward(lattice, final)
            apart_scores.append(lattice.log_likelihood() + _log(closing))
            apart.append(trellis.word_posteriors(lattice, gammas, truth, where))

        joined, kernels, given, places = _joined(segments, origins)
        lattice = trellis.forward(*laws[0], joined, kernels)
        closing, gammas = trellis.backward(lattice, finals[1])
        joined_score = lattice.log_likelihood(given) + _log(closing)
        spread = [np.zeros(joined.shape, dtype=truths[0].dtype), np.zeros(joined.shape, dtype=bool)]
        for place, truth, where in zip(places, truths, hidden, strict=True):
            np.put_along_axis(spread[0], place, np.where(where, truth, np.take_along_axis(spread[0], place, 1)), 1)
            np.put_along_axis(spread[1], place, where | np.take_along_axis(spread[1], place, 1), 1)
        together = trellis.word_posteriors(lattice, gammas, *spread)

        scores = np.stack([apart_scores[0] + apart_scores[1], joined_score], axis=1)
        _check(scores.max(axis=1), block)
        belief = np.exp(scores - scores.max(axis=1, keepdims=True))
        belief /= belief.sum(axis=1, keepdims=True)
        losses = [
            _loss(belief[:, :1] * separate + belief[:, 1:] * np.take_along_axis(together, place, 1), where)
            for separate, place, where in zip(apart, places, hidden, strict=True)
        ]
        return losses[0], losses[1], -_log(belief)


def _joined(segments: list[np.ndarray], origins: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Both segments as one row, with hidden words for those cut between them: symbols, kernels, which symbols are only given (not
    told by the text), and the places [B, LA], [B, LB] of the segments' symbols in it (padding: the row's last column, always padding)."""
    lengths = [(segment != PADDING).sum(axis=1) for segment in segments]
    skipped = (origins[0][:, 2] != 1).astype(np.int64)
    begins = lengths[0] + skipped + origins[1][:, 1]
    width = int((begins + lengths[1]).max()) + 1
    columns = np.arange(width)
    symbols = np.where((columns >= lengths[0][:, None]) & (columns < begins[:, None]), HIDDEN, PADDING)
    # Whether the first segment's last word ends a sentence is told by the step after it; that the document goes on further is given.
    given = (symbols == HIDDEN) & (columns > (lengths[0] + skipped)[:, None])
    places = []
    for segment, begin in zip(segments, (np.zeros_like(begins), begins), strict=True):
        place = np.where(segment == PADDING, width - 1, begin[:, None] + np.arange(segment.shape[1]))
        np.put_along_axis(symbols, place, segment, 1)
        places.append(place)
    kernels = np.full(symbols.shape, MOVE)
    rows = np.arange(len(symbols))
    kernels[rows, lengths[0]] = SKIP_TO_STOP
    kernels[rows, lengths[0] + skipped] = NEXT_SENTENCE
    return symbols, kernels, given, (places[0], places[1])


def _blocks(*symbols: np.ndarray) -> list[slice]:
    n_rows = len(symbols[0])
    hidden = sum((array == HIDDEN).sum(axis=1) for array in symbols)
    size = max(1, min(_ROWS, _HIDDEN // max(1, int(np.max(hidden, initial=0)))))
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def _normalised(law: np.ndarray) -> np.ndarray:
    return law / law.sum()


def _log(values: np.ndarray) -> np.ndarray:
    """Natural logarithm, minus infinity at 0."""
    return np.log(values, where=values > 0, out=np.full(values.shape, -np.inf))


def _loss(probability: np.ndarray, where: np.ndarray) -> np.ndarray:
    return -np.log(probability, where=where, out=np.zeros(probability.shape))


def _check(log_likelihood: np.ndarray, block: slice) -> None:
    impossible = np.flatnonzero(~np.isfinite(log_likelihood))
    if len(impossible):
        raise DataError(
            f"row {block.start + int(impossible[0])} cannot come from the built-in language: "
            "floors need text that `data=pocket` made, with its offsets and ends"
        )

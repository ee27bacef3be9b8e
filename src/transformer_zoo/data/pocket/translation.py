"""The target language: its inflections, and what each source word becomes.

A target sentence is the source sentence's words in another fixed order. A source word becomes one of its synonyms, drawn
independently and inflected for case, gender and number; a few words are left out. What a word agrees with is the memory (class and
number of the subject, which "they" and "it" do not tell) or the noun of its own phrase.
"""

from dataclasses import dataclass

import numpy as np

from transformer_zoo.data.pocket.grammar import Grammar

_GENDERS = "oaeu"  # in the order of the classes
_ARTICLES = {"nominative": "l", "accusative": "t", "oblique": "s"}
_CASES = {"nominative": "", "accusative": "m", "oblique": "s"}

INFLECTIONS = {
    "noun": "{stem}{gender}{n}",
    "verb": "{stem}{verb}",
    "adjective": "{stem}l{gender}",
    "article": "{article}{gender}{n}",
    "determiner": "{stem}{number}{case}",
    "pronoun": "k{gender}{n}",
    "possessive": "p{gender}{n}",
    "plain": "{stem}",
}
"""Kind of lemma → how its forms are put together."""


def inflect(kind: str, stem: str, case: str, agreement: int) -> str:
    """The form of a stem in a case, agreeing with a noun or owner of class and number `2 * class + plural`."""
    gender, plural = divmod(agreement, 2)
    return INFLECTIONS[kind].format(
        stem=stem,
        gender=_GENDERS[gender],
        n="n" if plural else "",
        number="i" if plural else "a",
        verb="is" if plural else "as",
        article=_ARTICLES[case],
        case=_CASES[case],
    )


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Which source tokens the target tokens come from, in target order, and what each may be."""

    token: np.ndarray
    """[n] place of the source token among those given."""
    forms: np.ndarray
    """[n, C] target word ids; -1 where there are fewer synonyms."""
    weights: np.ndarray
    """[n, C] their probabilities."""

    def draw(self, uniform: np.ndarray) -> np.ndarray:
        """[n] a synonym for each, by uniform numbers in [0, 1)."""
        place = (uniform[:, None] >= np.cumsum(self.weights, axis=1)).sum(axis=1)
        last = (self.forms >= 0).sum(axis=1) - 1
        return np.take_along_axis(self.forms, np.minimum(place, last)[:, None], axis=1)[:, 0]


class Translator:
    """What every (slot, word, agreement) becomes. Agreement is coded like the memory: `2 * class + plural`."""

    def __init__(self, grammar: Grammar, vocabulary: tuple[str, ...]) -> None:
        index = {word: number for number, word in enumerate(vocabulary)}
        phrases = ["subject", *sorted({slot.phrase for slot in grammar.slots} - {"subject"})]
        forms: dict[tuple[int, int, int], tuple[tuple[str, float], ...]] = {}
        self._silent = np.zeros((len(grammar.slots), len(vocabulary)), dtype=bool)
        self._noun = np.full(self._silent.shape, -1, dtype=np.int64)  # agreement that a noun asks of its phrase
        for position, slot in enumerate(grammar.slots):
            phrase_agreements = _agreements(grammar, position)
            for memory, lemma, plural in grammar.entries(slot):
                word = index[str(lemma.form(plural))]
                self._silent[position, word] = not lemma.stems
                if lemma.kind == "noun":
                    self._noun[position, word] = 2 * lemma.gender + plural
                    agreements = [2 * lemma.gender + plural]
                else:
                    agreements = [memory] if slot.phrase == "subject" else phrase_agreements
                for agreement in agreements:
                    forms[position, word, agreement] = tuple(
                        (inflect(lemma.kind, stem, slot.case, agreement), weight) for stem, weight in lemma.stems
                    )
        self.words = tuple(sorted({form for synonyms in forms.values() for form, _ in synonyms}))
        """The target vocabulary: every form that can occur, in alphabetical order."""
        target_index = {word: number for number, word in enumerate(self.words)}
        shape = (*self._silent.shape, grammar.n_memories, max(map(len, forms.values())))
        self._forms, self._weights = np.full(shape, -1, dtype=np.int64), np.zeros(shape)
        for key, synonyms in forms.items():
            for place, (form, weight) in enumerate(synonyms):
                self._forms[(*key, place)], self._weights[(*key, place)] = target_index[form], weight
        self._phrase = np.array([phrases.index(slot.phrase) for slot in grammar.slots])
        self._place = np.array([grammar.target_order.index(slot.name) for slot in grammar.slots])
        self._n_phrases = len(phrases)

    def align(self, slots: np.ndarray, words: np.ndarray, sentences: np.ndarray, memories: np.ndarray) -> Alignment:
        """`slots`, `words` and `sentences` [n] of source tokens, sentences numbered from 0 in ascending order; `memories` [sentences]."""
        heads = np.full((len(memories), self._n_phrases), -1, dtype=np.int64)
        nouns = np.flatnonzero(self._noun[slots, words] >= 0)
        heads[sentences[nouns], self._phrase[slots[nouns]]] = self._noun[slots[nouns], words[nouns]]
        heads[:, 0] = memories
        order = np.lexsort((self._place[slots], sentences))
        order = order[~self._silent[slots[order], words[order]]]
        agreement = heads[sentences[order], self._phrase[slots[order]]]
        where = slots[order], words[order], agreement
        return Alignment(token=order, forms=self._forms[where], weights=self._weights[where])


def _agreements(grammar: Grammar, position: int) -> list[int]:
    """What the nouns of a slot's phrase, as far as they can stand in one sentence with it, may ask of it."""
    slot = grammar.slots[position]
    found = set()
    for other in grammar.slots:
        together = other.name in grammar.followers(slot.name) or slot.name in grammar.followers(other.name)
        if other.phrase == slot.phrase and together:
            found |= {2 * lemma.gender + plural for _, lemma, plural in grammar.entries(other) if lemma.kind == "noun"}
    return sorted(found)

"""What a grammar of the built-in language is made of: lemmas, slots of the sentence template, topics.

A sentence is a path through *slots*, and every slot holds one word. Which words a slot may hold depends on the topic of the document,
on the slot, and on the *memory*: class and number of the last subject, coded `2 * class + plural`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

SINGULAR_SHARE = 0.6
"""How often a noun that nothing forces into the plural is singular."""

NUMBERS = ("singular", "plural")


@dataclass(frozen=True, kw_only=True)
class Lemma:
    """A word of the source language in its two forms, and its synonyms in the target language."""

    singular: str | None
    """None: the lemma has no such form."""
    plural: str | None
    kind: str
    """How the target language inflects it; see `translation.INFLECTIONS`."""
    stems: tuple[tuple[str, float], ...] = ()
    """Synonymous target stems with weights that sum to 1; none: the word is left out in the target language."""
    gender: int = 0
    """Index of a noun's class; without meaning elsewhere."""

    def form(self, plural: int) -> str | None:
        return self.plural if plural else self.singular


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in the sentence template."""

    name: str
    tag: str
    """Part of speech of whatever stands here."""
    words: tuple[str, ...]
    """Word list for every class of the subject, or a single one for all; `a+b` joins two lists, the empty name is no word: the
    slot is then left out of sentences with such a subject."""
    number: str = "subject"
    """`subject`: the form that agrees with the memory; `singular`, `plural`, or `any` of the two."""
    phrase: str = "subject"
    """What target words here agree with: `subject` the memory, any other name the noun of that phrase in the sentence."""
    case: str = "nominative"
    """Case of the phrase in the target language: `nominative`, `accusative` or `oblique`."""

    def lists(self, gender: int) -> tuple[str, ...]:
        """Names of the word lists used with a subject of that class."""
        names = self.words[0] if len(self.words) == 1 else self.words[gender]
        return tuple(name for name in names.split("+") if name)


@dataclass(frozen=True, kw_only=True)
class Topic:
    """What a document can be about: how likely each class of subject is, and the words that go with it."""

    name: str
    classes: tuple[float, ...]
    lists: Mapping[str, tuple[Lemma, ...]]


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """Everything that defines a language: words, sentence template, weights."""

    classes: tuple[str, ...]
    """Classes of nouns; they are the genders of the target language."""
    topics: tuple[Topic, ...]
    lists: Mapping[str, tuple[Lemma, ...]]
    """Word lists that all topics share."""
    slots: tuple[Slot, ...]
    edges: Mapping[str, Mapping[str, float]]
    """Slot → slots that may follow inside the sentence, with weights."""
    opening: Mapping[str, float]
    """Slots a document begins with; the subject is drawn."""
    changing: Mapping[str, float]
    """Slots a later sentence with a newly drawn subject begins with."""
    keeping: Mapping[str, float]
    """Slots a later sentence begins with that keeps the last subject; weighed against `changing`."""
    stops: Mapping[str, float]
    """Slots that end a sentence, with the probability that the document ends there as well."""
    target_order: tuple[str, ...]
    """All slots in the order in which the target language arranges them."""
    tags: tuple[str, ...] = field(default=())
    """The tag set, in the order of its numbers."""

    @property
    def n_memories(self) -> int:
        return len(self.classes) * len(NUMBERS)

    def memory_names(self) -> tuple[str, ...]:
        return tuple(f"{name} {number}" for name in self.classes for number in NUMBERS)

    def lemmas(self, topic: Topic, slot: Slot, gender: int) -> list[tuple[Lemma, float]]:
        """The lemmas a slot may hold with a subject of that class, with weights: earlier in a list is more frequent."""
        found = []
        for name in slot.lists(gender):
            entries = topic.lists[name] if name in topic.lists else self.lists[name]
            found += [(lemma, float(len(entries) - rank)) for rank, lemma in enumerate(entries)]
        return found

    def numbers(self, slot: Slot, memory: int) -> tuple[float, float]:
        """How often a word in this slot is singular, and how often plural."""
        return {
            "subject": (1.0 - memory % 2, float(memory % 2)),
            "singular": (1.0, 0.0),
            "plural": (0.0, 1.0),
            "any": (SINGULAR_SHARE, 1.0 - SINGULAR_SHARE),
        }[slot.number]

    def emission(self, topic: Topic, slot: Slot, memory: int) -> dict[str, float]:
        """Word → probability in this slot; empty where no word fits."""
        weights: dict[str, float] = {}
        for lemma, weight in self.lemmas(topic, slot, memory // 2):
            for plural, share in enumerate(self.numbers(slot, memory)):
                word = lemma.form(plural)
                if word is not None and share > 0:
                    weights[word] = weights.get(word, 0.0) + weight * share
        total = sum(weights.values())
        return {word: weight / total for word, weight in weights.items()}

    def entries(self, slot: Slot) -> list[tuple[int, Lemma, int]]:
        """All (memory, lemma, plural) that the slot can hold in any topic, each once."""
        return list(
            dict.fromkeys(
                (memory, lemma, plural)
                for memory in range(self.n_memories)
                for topic in self.topics
                for lemma, _ in self.lemmas(topic, slot, memory // 2)
                for plural, share in enumerate(self.numbers(slot, memory))
                if share > 0 and lemma.form(plural) is not None
            )
        )

    def followers(self, name: str) -> frozenset[str]:
        """All slots that can come later in the same sentence."""
        found: set[str] = set()
        waiting = list(self.edges.get(name, ()))
        while waiting:
            follower = waiting.pop()
            if follower not in found:
                found.add(follower)
                waiting += self.edges.get(follower, ())
        return frozenset(found)

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the source language, in alphabetical order."""
        return tuple(sorted({str(lemma.form(plural)) for slot in self.slots for _, lemma, plural in self.entries(slot)}))

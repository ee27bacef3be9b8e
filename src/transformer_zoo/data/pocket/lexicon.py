"""The words of the built-in language, by topic. No noun or adjective begins with a vowel, so that "a" is always right."""

from transformer_zoo.data.pocket.grammar import Lemma, Topic

CLASSES = ("man", "woman", "animal", "thing")

_SYNONYMS: tuple[tuple[float, ...], ...] = ((1.0,), (1.0,), (0.7, 0.3), (1.0,), (1.0,), (1.0,), (1.0,), (0.5, 0.3, 0.2), (1.0,), (1.0,))
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"

# Nouns by class; the last line holds the places, which are things.
_NOUNS = (
    "farmer father boy sailor man teacher brother cook hunter singer nurse carpenter",
    "rider mother girl captain woman student sister baker painter dancer doctor builder",
    "cow horse hen whale gull crab parrot mouse cat fox dog spider",
    "pear cart gate boat net rope book pen cake pot tree stone song drum bed bandage wheel hammer "
    "field barn beach harbour library garden cellar river hill stage hall yard",
)
_IRREGULAR = {"man": "men", "woman": "women", "mouse": "mice"}
_VERBS = (
    "work rest shout swim wait listen learn laugh cook hurry run hide dance drum sleep think "
    "fall break move float vanish burn begin stop "
    "carry buy clean find repair paint hear love lose read "
    "feed call see follow watch help greet thank teach"
)
_ADJECTIVES = "tired proud young brave happy clever kind heavy red new long white small warm clean tall loud broken"
_ADVERBS = "slowly often quietly quickly loudly happily"

# Of every topic: weights of the four classes of subject, then its words by word list; frequent ones first.
_TOPICS: dict[str, tuple[tuple[float, ...], dict[str, str]]] = {
    "farm": (
        (3, 3, 3, 1),
        {
            "men": "farmer father boy",
            "women": "rider mother girl",
            "animals": "cow horse hen",
            "things": "cart pear gate",
            "places": "field barn",
            "acts": "work rest shout",
            "happens": "break fall move",
            "makes": "carry buy clean",
            "meets": "feed call see",
            "living": "tired proud young",
            "lifeless": "heavy red new",
            "adverbs": "slowly often",
        },
    ),
    "sea": (
        (3, 3, 2, 2),
        {
            "men": "sailor man boy",
            "women": "captain woman",
            "animals": "gull whale crab",
            "things": "boat net rope",
            "places": "harbour beach",
            "acts": "swim wait shout",
            "happens": "float vanish break",
            "makes": "repair find lose",
            "meets": "watch follow see",
            "living": "brave tired happy",
            "lifeless": "long heavy white",
            "adverbs": "quickly loudly",
        },
    ),
    "school": (
        (4, 4, 1, 1),
        {
            "men": "teacher boy brother",
            "women": "student girl sister",
            "animals": "parrot mouse",
            "things": "book pen",
            "places": "library garden",
            "acts": "learn listen laugh",
            "happens": "fall vanish",
            "makes": "read find buy",
            "meets": "teach help greet",
            "living": "clever young kind",
            "lifeless": "new small red",
            "adverbs": "quietly often",
        },
    ),
    "kitchen": (
        (3, 3, 1, 3),
        {
            "men": "cook father man",
            "women": "baker mother woman",
            "animals": "cat mouse",
            "things": "cake pot pear",
            "places": "cellar garden",
            "acts": "cook hurry laugh",
            "happens": "burn fall",
            "makes": "clean buy carry",
            "meets": "call feed help",
            "living": "kind happy",
            "lifeless": "warm clean small",
            "adverbs": "happily quickly",
        },
    ),
    "forest": (
        (2, 2, 4, 2),
        {
            "men": "hunter brother man",
            "women": "painter sister",
            "animals": "fox horse dog",
            "things": "tree stone",
            "places": "river hill",
            "acts": "run hide rest",
            "happens": "fall move",
            "makes": "paint find",
            "meets": "follow watch see",
            "living": "brave clever",
            "lifeless": "tall small",
            "adverbs": "quietly quickly",
        },
    ),
    "music": (
        (3, 4, 1, 2),
        {
            "men": "singer boy",
            "women": "dancer girl sister",
            "animals": "parrot dog",
            "things": "song drum",
            "places": "stage hall",
            "acts": "dance drum listen",
            "happens": "begin stop",
            "makes": "hear learn love",
            "meets": "thank greet teach",
            "living": "proud young happy",
            "lifeless": "loud long new",
            "adverbs": "loudly often",
        },
    ),
    "hospital": (
        (4, 4, 1, 1),
        {
            "men": "nurse man brother",
            "women": "doctor woman mother",
            "animals": "cat dog",
            "things": "bed bandage book",
            "places": "hall garden",
            "acts": "sleep wait rest",
            "happens": "move vanish",
            "makes": "clean lose carry",
            "meets": "help thank watch",
            "living": "tired kind young",
            "lifeless": "white warm small",
            "adverbs": "slowly quietly",
        },
    ),
    "workshop": (
        (3, 3, 1, 3),
        {
            "men": "carpenter father",
            "women": "builder girl",
            "animals": "spider cat",
            "things": "wheel hammer cart boat",
            "places": "yard barn",
            "acts": "work think hurry",
            "happens": "break burn stop",
            "makes": "repair paint lose",
            "meets": "teach call thank",
            "living": "clever proud",
            "lifeless": "broken heavy new",
            "adverbs": "slowly happily",
        },
    ),
}


def with_s(word: str) -> str:
    """The regular plural of a noun, or third person of a verb."""
    if word[-1] == "y" and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def _stem(number: int) -> str:
    """The `number`-th made-up stem, consonant-vowel-consonant-vowel-consonant; the step is coprime to their count, so none repeats."""
    syllables = ((number + 1) * 7919) % (14 * 5 * 14 * 5 * 14)
    letters = []
    for alphabet in (_CONSONANTS, _VOWELS, _CONSONANTS, _VOWELS, _CONSONANTS):
        syllables, letter = divmod(syllables, len(alphabet))
        letters.append(alphabet[letter])
    return "".join(letters)


def _synonyms(number: int) -> tuple[tuple[str, float], ...]:
    weights = _SYNONYMS[number % len(_SYNONYMS)]
    return tuple((_stem(3 * number + place), weight) for place, weight in enumerate(weights))


def _content_words() -> dict[tuple[str, str], Lemma]:
    """(kind, base form) → lemma, for nouns, verbs, adjectives and adverbs."""
    lemmas: dict[tuple[str, str], Lemma] = {}
    for gender, nouns in enumerate(_NOUNS):
        for word in nouns.split():
            plural = _IRREGULAR.get(word) or with_s(word)
            lemmas["noun", word] = Lemma(singular=word, plural=plural, kind="noun", stems=_synonyms(len(lemmas)), gender=gender)
    for word in _VERBS.split():
        lemmas["verb", word] = Lemma(singular=with_s(word), plural=word, kind="verb", stems=_synonyms(len(lemmas)))
    for kind, words in (("adjective", _ADJECTIVES), ("plain", _ADVERBS)):
        for word in words.split():
            lemmas[kind, word] = Lemma(singular=word, plural=word, kind=kind, stems=_synonyms(len(lemmas)))
    return lemmas


_KINDS = {
    "men": "noun",
    "women": "noun",
    "animals": "noun",
    "things": "noun",
    "places": "noun",
    "acts": "verb",
    "happens": "verb",
    "makes": "verb",
    "meets": "verb",
    "living": "adjective",
    "lifeless": "adjective",
    "adverbs": "plain",
}


def topics() -> tuple[Topic, ...]:
    """The eight topics with their word lists."""
    lemmas = _content_words()
    return tuple(
        Topic(
            name=name,
            classes=classes,
            lists={kind: tuple(lemmas[_KINDS[kind], word] for word in words.split()) for kind, words in lists.items()},
        )
        for name, (classes, lists) in _TOPICS.items()
    )


def _word(singular: str | None, plural: str | None, kind: str, *stems: str) -> Lemma:
    weights = {0: (), 1: (1.0,), 2: (0.6, 0.4)}[len(stems)]
    return Lemma(singular=singular, plural=plural, kind=kind, stems=tuple(zip(stems, weights, strict=True)))


def _plain(word: str, *stems: str) -> Lemma:
    return _word(word, word, "plain", *stems)


def common_lists() -> dict[str, tuple[Lemma, ...]]:
    """Word lists that all topics share: the small words."""
    return {
        "the": (_word("the", "the", "article", ""),),
        "determiners": (
            _word("the", "the", "article", ""),
            _word("a", "some", "determiner", "un"),
            _word("this", "these", "determiner", "han"),
            _word(None, "many", "determiner", "mult"),
        ),
        "indefinite": (_word("a", "some", "determiner", "un"), _word(None, "many", "determiner", "mult")),
        "one": (_word("a", "some", "determiner", "un"), _word("this", "these", "determiner", "han")),
        "he": (_word("he", "they", "pronoun", ""),),
        "she": (_word("she", "they", "pronoun", ""),),
        "it": (_word("it", "they", "pronoun", ""),),
        "his": (_word("his", "their", "possessive", ""),),
        "her": (_word("her", "their", "possessive", ""),),
        "its": (_word("its", "their", "possessive", ""),),
        "there": (_plain("there"),),
        "be": (_word("is", "are", "verb", "est"),),
        "do": (_word("does", "do", "plain"),),
        "not": (_plain("not", "nem"),),
        "who": (_plain("who", "kvi"),),
        "that": (_plain("that", "kvi"),),
        "and": (_plain("and", "ed", "plus"),),
        "very": (_plain("very", "tre"), _plain("rather", "sat", "pli")),
        "times": (_plain("today", "odi"), _plain("now", "nun", "jam"), _plain("sometimes", "foje"), _plain("later", "pos")),
        "prepositions": (_plain("near", "apud", "cirk"), _plain("in", "ene"), _plain("behind", "retro"), _plain("beside", "flank")),
        "stop": (_plain(".", "."),),
    }

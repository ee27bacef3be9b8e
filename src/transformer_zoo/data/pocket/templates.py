"""The sentence template of the built-in language: which slots there are, what may follow what, and how often.

A document opens with "there is a …". Later sentences either keep the subject and begin with its pronoun, or bring a new one, which a
place ("the girls near the boat sing") or a relative clause ("the cow that the boys call rests") may part from the verb that agrees
with it. Possessives, relative pronouns and negation agree with the subject too.
"""

from transformer_zoo.data.pocket.grammar import Grammar, Slot
from transformer_zoo.data.pocket.lexicon import CLASSES, common_lists, topics

TAGS = ("DET", "NOUN", "PRON", "VERB", "AUX", "ADJ", "ADV", "PREP", "CONJ", "PUNCT")

_SUBJECT_NOUN = ("men", "women", "animals", "things")
_QUALITY = ("living", "living", "living", "lifeless")
_ACT = ("acts", "acts", "acts", "happens")
_MAKE = ("makes", "makes", "makes", "")
_MEET = ("meets", "meets", "meets", "")


def _slot(name: str, tag: str, *words: str, number: str = "subject", phrase: str = "subject", case: str = "nominative") -> Slot:
    return Slot(name=name, tag=tag, words=words, number=number, phrase=phrase, case=case)


def _place(prefix: str, nouns: str) -> list[Slot]:
    """Preposition, article, noun; its number is free and says nothing about the verb."""
    return [
        _slot(f"{prefix}_preposition", "PREP", "prepositions", number="singular", phrase=prefix, case="oblique"),
        _slot(f"{prefix}_the", "DET", "the", number="singular", phrase=prefix, case="oblique"),
        _slot(f"{prefix}_noun", "NOUN", nouns, number="any", phrase=prefix, case="oblique"),
    ]


def _object(prefix: str, nouns: str, adjectives: str) -> list[Slot]:
    """An object of a verb: "the" and "his" leave its number open, "a" and "some" decide it."""
    owner = ("his", "her", "its", "its")
    slots = [
        _slot(f"{prefix}_the", "DET", "the", number="singular", phrase=prefix, case="accusative"),
        _slot(f"{prefix}_his", "DET", *owner, case="accusative"),
    ]
    for suffix, number in (("", "any"), ("_one", "singular"), ("_some", "plural")):
        if suffix:
            words = "one" if number == "singular" else "one+indefinite"
            slots.append(_slot(f"{prefix}{suffix}", "DET", words, number=number, phrase=prefix, case="accusative"))
        slots.append(_slot(f"{prefix}_adjective{suffix}", "ADJ", adjectives, number="singular", phrase=prefix, case="accusative"))
        slots.append(_slot(f"{prefix}_noun{suffix}", "NOUN", nouns, number=number, phrase=prefix, case="accusative"))
    return slots


def _slots() -> list[Slot]:
    return [
        _slot("there", "PRON", "there"),
        _slot("there_be", "AUX", "be"),
        _slot("there_one", "DET", "indefinite"),
        _slot("there_adjective", "ADJ", *_QUALITY),
        _slot("there_noun", "NOUN", *_SUBJECT_NOUN),
        *_place("site", "places"),
        _slot("there_stop", "PUNCT", "stop"),
        _slot("time_kept", "ADV", "times"),
        _slot("time_new", "ADV", "times"),
        _slot("pronoun", "PRON", "he", "she", "it", "it"),
        _slot("subject_determiner", "DET", "determiners"),
        _slot("subject_adjective", "ADJ", *_QUALITY),
        _slot("subject_noun", "NOUN", *_SUBJECT_NOUN),
        *_place("beside", "things+places"),
        _slot("who", "PRON", "who", "who", "that", ""),
        _slot("who_verb", "VERB", *_MEET),
        _slot("who_the", "DET", "the", phrase="who", case="accusative"),
        _slot("who_noun", "NOUN", "men+women+animals", number="any", phrase="who", case="accusative"),
        _slot("that", "PRON", "that"),
        _slot("that_the", "DET", "the", phrase="that"),
        _slot("that_noun_one", "NOUN", "men+women", number="singular", phrase="that"),
        _slot("that_verb_one", "VERB", "meets", "meets", "meets", "makes", number="singular", phrase="that"),
        _slot("that_noun_some", "NOUN", "men+women", number="plural", phrase="that"),
        _slot("that_verb_some", "VERB", "meets", "meets", "meets", "makes", number="plural", phrase="that"),
        _slot("act", "VERB", *_ACT),
        _slot("make", "VERB", *_MAKE),
        _slot("meet", "VERB", *_MEET),
        _slot("be", "AUX", "be"),
        _slot("do", "AUX", "do"),
        _slot("not", "ADV", "not"),
        _slot("not_act", "VERB", *_ACT, number="plural"),
        _slot("not_make", "VERB", *_MAKE, number="plural"),
        _slot("not_meet", "VERB", *_MEET, number="plural"),
        _slot("and", "CONJ", "and"),
        _slot("and_act", "VERB", *_ACT),
        _slot("very", "ADV", "very"),
        _slot("quality", "ADJ", *_QUALITY),
        *_object("thing", "things", "lifeless"),
        *_object("being", "men+women+animals", "living"),
        _slot("adverb", "ADV", "adverbs"),
        *_place("location", "places"),
        _slot("stop", "PUNCT", "stop"),
    ]


def _edges() -> dict[str, dict[str, float]]:
    predicate = {"act": 30.0, "make": 22.0, "meet": 18.0, "be": 16.0, "do": 14.0}
    edges: dict[str, dict[str, float]] = {
        "there": {"there_be": 1},
        "there_be": {"there_one": 1},
        "there_one": {"there_adjective": 3, "there_noun": 7},
        "there_adjective": {"there_noun": 1},
        "there_noun": {"site_preposition": 6, "there_stop": 4},
        "site_noun": {"there_stop": 1},
        "time_kept": {"pronoun": 1},
        "time_new": {"subject_determiner": 1},
        "pronoun": predicate,
        "subject_determiner": {"subject_adjective": 3, "subject_noun": 7},
        "subject_adjective": {"subject_noun": 1},
        "subject_noun": {
            **{name: 0.55 * weight for name, weight in predicate.items()},
            "beside_preposition": 20,
            "who": 13,
            "that": 12,
        },
        "beside_noun": predicate,
        "who": {"who_verb": 1},
        "who_verb": {"who_the": 1},
        "who_the": {"who_noun": 1},
        "who_noun": predicate,
        "that": {"that_the": 1},
        "that_the": {"that_noun_one": 6, "that_noun_some": 4},
        "that_noun_one": {"that_verb_one": 1},
        "that_noun_some": {"that_verb_some": 1},
        "that_verb_one": predicate,
        "that_verb_some": predicate,
        "act": {"stop": 35, "adverb": 30, "location_preposition": 25, "and": 10},
        "do": {"not": 1},
        "not": {"not_act": 40, "not_make": 32, "not_meet": 28},
        "not_act": {"stop": 5, "adverb": 3, "location_preposition": 2},
        "and": {"and_act": 1},
        "and_act": {"stop": 1},
        "be": {"quality": 45, "very": 20, "location_preposition": 35},
        "very": {"quality": 1},
        "quality": {"stop": 1},
        "adverb": {"stop": 1},
        "location_noun": {"stop": 1},
    }
    for prefix in ("site", "beside", "location"):
        edges[f"{prefix}_preposition"] = {f"{prefix}_the": 1}
        edges[f"{prefix}_the"] = {f"{prefix}_noun": 1}
    for prefix, verb in (("thing", "make"), ("being", "meet")):
        edges[verb] = edges[f"not_{verb}"] = {f"{prefix}_the": 4, f"{prefix}_one": 2, f"{prefix}_some": 2, f"{prefix}_his": 2}
        for suffix in ("", "_one", "_some"):
            phrase = {f"{prefix}_adjective{suffix}": 1.0, f"{prefix}_noun{suffix}": 3.0}
            for determiner in (f"{prefix}{suffix}",) if suffix else (f"{prefix}_the", f"{prefix}_his"):
                edges[determiner] = phrase
            edges[f"{prefix}_adjective{suffix}"] = {f"{prefix}_noun{suffix}": 1}
            edges[f"{prefix}_noun{suffix}"] = {"stop": 6, "adverb": 2, "location_preposition": 2}
    return edges


def _target_objects(prefix: str) -> list[str]:
    """Determiner, noun, adjective, owner."""
    groups = [[f"{prefix}_{part}{suffix}" for suffix in ("", "_one", "_some")] for part in ("noun", "adjective")]
    return [f"{prefix}_the", f"{prefix}_one", f"{prefix}_some", *groups[0], *groups[1], f"{prefix}_his"]


def _target_place(prefix: str) -> list[str]:
    return [f"{prefix}_the", f"{prefix}_noun", f"{prefix}_preposition"]


TARGET_ORDER = (
    *("time_kept", "time_new", "pronoun"),
    *("there", "there_one", "there_noun", "there_adjective", *_target_place("site"), "there_be", "there_stop"),
    *("subject_determiner", "subject_noun", "subject_adjective", *_target_place("beside")),
    *("who", "who_the", "who_noun", "who_verb"),
    *("that", "that_the", "that_noun_one", "that_noun_some", "that_verb_one", "that_verb_some"),
    *_target_objects("thing"),
    *_target_objects("being"),
    *_target_place("location"),
    *("adverb", "very", "quality", "do", "not", "not_act", "not_make", "not_meet"),
    *("act", "and", "and_act", "make", "meet", "be", "stop"),
)
"""Verbs at the end, adjectives and owners after their nouns, postpositions."""


def pocket_grammar() -> Grammar:
    """The grammar of the built-in language."""
    return Grammar(
        classes=CLASSES,
        topics=topics(),
        lists=common_lists(),
        slots=tuple(_slots()),
        edges=_edges(),
        opening={"there": 1},
        changing={"subject_determiner": 45, "time_new": 8},
        keeping={"pronoun": 40, "time_kept": 7},
        stops={"there_stop": 0.0, "stop": 1 / 9},
        target_order=TARGET_ORDER,
        tags=TAGS,
    )

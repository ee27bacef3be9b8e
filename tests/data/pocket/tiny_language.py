"""A language small enough to sum over all its paths by hand."""

from transformer_zoo.data.pocket.grammar import Grammar, Lemma, Slot, Topic


def _lemma(singular: str, plural: str, kind: str, *stems: str, gender: int = 0) -> Lemma:
    weights = {0: (), 1: (1.0,), 2: (0.7, 0.3)}[len(stems)]
    return Lemma(singular=singular, plural=plural, kind=kind, stems=tuple(zip(stems, weights, strict=True)), gender=gender)


def tiny_grammar() -> Grammar:
    """Two topics that share words, two classes, seven slots: "cow . it eats hat . they run ."."""
    cow, dog = _lemma("cow", "cows", "noun", "bov"), _lemma("dog", "dogs", "noun", "kan", "hund")
    hat, pot = _lemma("hat", "hats", "noun", "cap", gender=1), _lemma("pot", "pots", "noun", "vaz", "olo", gender=1)
    eat, run = _lemma("eats", "eat", "verb", "manj", "vor"), _lemma("runs", "run", "verb", "kur")
    return Grammar(
        classes=("animal", "thing"),
        topics=(
            Topic(name="farm", classes=(3, 1), lists={"animals": (cow, dog), "things": (hat,)}),
            Topic(name="home", classes=(1, 1), lists={"animals": (dog,), "things": (pot, hat)}),
        ),
        lists={
            "verbs": (eat, run),
            "moves": (run,),
            "it": (_lemma("it", "they", "pronoun", ""),),
            "stop": (_lemma(".", ".", "plain", "."),),
            "so": (_lemma("so", "so", "plain"),),
        },
        slots=(
            Slot(name="first", tag="NOUN", words=("animals", "things")),
            Slot(name="first_stop", tag="PUNCT", words=("stop",)),
            Slot(name="noun", tag="NOUN", words=("animals", "things")),
            Slot(name="so", tag="ADV", words=("so", "")),
            Slot(name="pronoun", tag="PRON", words=("it",)),
            Slot(name="verb", tag="VERB", words=("verbs", "moves")),
            Slot(name="object", tag="NOUN", words=("animals+things",), number="any", phrase="object", case="accusative"),
            Slot(name="stop", tag="PUNCT", words=("stop",)),
        ),
        edges={
            "first": {"first_stop": 1},
            "noun": {"verb": 1},
            "so": {"pronoun": 1},
            "pronoun": {"verb": 1},
            "verb": {"object": 2, "stop": 3},
            "object": {"stop": 1},
        },
        opening={"first": 1},
        changing={"noun": 1},
        keeping={"pronoun": 2, "so": 1},
        stops={"first_stop": 0.0, "stop": 0.25},
        target_order=("first", "noun", "so", "pronoun", "object", "verb", "first_stop", "stop"),
        tags=("NOUN", "ADV", "PRON", "VERB", "PUNCT"),
    )

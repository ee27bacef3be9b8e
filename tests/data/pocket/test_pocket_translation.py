import numpy as np
import pytest

from transformer_zoo.data.pocket import PocketDocument, PocketLanguage
from transformer_zoo.data.pocket.translation import INFLECTIONS, inflect


@pytest.fixture(scope="module")
def pairs(pocket: PocketLanguage) -> list[tuple[list[str], list[str], list[str]]]:
    documents = pocket.documents(2, "test", 200)
    return [
        (source, target, tags)
        for document in documents
        for source, target, tags in zip(document.sentences, document.translations, document.tags, strict=True)
    ]


@pytest.mark.parametrize(
    ("kind", "case", "agreement", "form"),
    [
        ("noun", "oblique", 3, "tukan"),
        ("verb", "nominative", 2, "tukas"),
        ("verb", "nominative", 3, "tukis"),
        ("adjective", "accusative", 4, "tukle"),
        ("article", "nominative", 0, "lo"),
        ("article", "accusative", 7, "tun"),
        ("determiner", "oblique", 1, "tukis"),
        ("pronoun", "nominative", 5, "ken"),
        ("possessive", "accusative", 2, "pa"),
        ("plain", "nominative", 7, "tuk"),
    ],
)
def test_inflections(kind: str, case: str, agreement: int, form: str) -> None:
    assert inflect(kind, "tuk", case, agreement) == form


def test_every_kind_of_word_can_be_inflected(pocket: PocketLanguage) -> None:
    kinds = {lemma.kind for slot in pocket.grammar.slots for _, lemma, _ in pocket.grammar.entries(slot)}
    assert kinds == set(INFLECTIONS)


def test_every_slot_has_a_place_in_the_target(pocket: PocketLanguage) -> None:
    assert sorted(pocket.grammar.target_order) == sorted(slot.name for slot in pocket.grammar.slots)


def test_a_sentence_in_full(tiny: PocketLanguage) -> None:
    """The verb goes last, the object takes its own gender and number, "so" is left out."""
    texts: dict[str, set[str]] = {}
    for document in tiny.documents(0, "train", 2000):
        for source, target in zip(document.sentences, document.translations, strict=True):
            texts.setdefault(" ".join(source), set()).add(" ".join(target))
    assert texts["cow eats hats ."] == {"bovo capan manjas .", "bovo capan voras ."}
    assert texts["so they run dog ."] == {"kon kano kuris .", "kon hundo kuris ."}
    assert texts["it runs ."] == {"ko kuras .", "ka kuras ."}  # of an animal or a thing: the sentence does not tell
    assert texts["it eats ."] == {"ko manjas .", "ko voras ."}  # things do not eat


def test_synonyms_have_their_shares_and_are_independent(tiny: PocketLanguage) -> None:
    words = [
        (target[0], target[-2])
        for document in tiny.documents(1, "train", 4000)
        for source, target in zip(document.sentences, document.translations, strict=True)
        if source[0] == "dog" and source[1] == "eats"
    ]
    nouns, verbs = (np.array([pair[place] for pair in words]) for place in (0, 1))
    n = len(words)
    assert n > 500
    first, second = nouns == "kano", verbs == "manjas"
    for share, expected in ((first.mean(), 0.7), (second.mean(), 0.7), ((first & second).mean(), 0.49)):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)


def test_the_verb_comes_last_and_the_rest_is_reordered(pairs: list) -> None:
    moved = 0
    for source, target, tags in pairs:
        last = target[-2]
        assert last.endswith(("as", "is")), " ".join(target)
        assert target[-1] == "."
        silent = sum(word in ("there", "does", "do") for word in source)
        assert len(target) == len(source) - silent
        moved += tags[-2] != "VERB"
    assert moved > 100


def test_case_gender_and_number_show(pocket: PocketLanguage, pairs: list) -> None:
    """Articles of subject, object and place differ, and agree with the noun they stand before in gender and number."""
    endings = {"o", "a", "e", "u", "on", "an", "en", "un"}
    nominative, accusative, oblique = ({case + ending for ending in endings} for case in "lts")
    seen: set[str] = set()
    for _, target, _ in pairs:
        for place, word in enumerate(target[:-1]):
            if word in nominative | accusative | oblique:
                seen.add(word)
                assert target[place + 1].endswith(word[1:]), " ".join(target)
    assert nominative | accusative <= seen
    assert {"su", "sun"} <= seen


def test_they_hides_the_gender(pairs: list) -> None:
    they = {target[0] for source, target, _ in pairs if source[0] == "they"}
    assert they == {"kon", "kan", "ken", "kun"}


def test_translations_are_the_document_s_own(pocket: PocketLanguage) -> None:
    first: PocketDocument = pocket.document(0, "train", 11)
    assert first.translations == pocket.document(0, "train", 11).translations
    assert first.translations != pocket.document(1, "train", 11).translations

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from transformer_zoo.data.pocket import PocketDocument, PocketLanguage
from transformer_zoo.errors import DataError

GOLDEN = "c2699b1980f57ed3"


@pytest.fixture(scope="module")
def documents(pocket: PocketLanguage) -> list[PocketDocument]:
    return pocket.documents(5, "train", 400)


def of_kind(pocket: PocketLanguage, name: str, number: int) -> set[str]:
    """The forms of a word list over all topics, singular (0) or plural (1)."""
    lists = [topic.lists.get(name, ()) for topic in pocket.grammar.topics] + [pocket.grammar.lists.get(name, ())]
    return {str(lemma.form(number)) for lemmas in lists for lemma in lemmas}


def test_the_text_is_the_same_everywhere(pocket: PocketLanguage) -> None:
    text = "\n\n".join(document.text + "\n" + "\n".join(map(" ".join, document.translations)) for document in pocket.documents(0, "validation", 20))
    assert text.startswith("there ")
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == GOLDEN


def test_a_document_depends_on_its_name_alone(pocket: PocketLanguage, documents: list[PocketDocument]) -> None:
    for index in (0, 1, 399):
        assert pocket.document(5, "train", index) == documents[index]
    assert PocketLanguage().document(5, "train", 7) == documents[7]


def test_seeds_splits_and_indices_differ(pocket: PocketLanguage) -> None:
    keys = [(seed, split, index) for seed in (0, 1) for split in ("train", "validation", "test") for index in range(5)]
    assert len({pocket.document(*key).text for key in keys}) == len(keys)


def test_no_documents_are_no_documents(pocket: PocketLanguage) -> None:
    assert pocket.documents(0, "train", 0) == []


def test_blocks_do_not_show(pocket: PocketLanguage, monkeypatch: pytest.MonkeyPatch, documents: list[PocketDocument]) -> None:
    monkeypatch.setattr("transformer_zoo.data.pocket.language._BLOCK", 7)
    assert pocket.documents(5, "train", 30) == documents[:30]


def test_vocabularies(pocket: PocketLanguage, documents: list[PocketDocument]) -> None:
    assert 150 <= len(pocket.words) <= 400
    assert 150 <= len(pocket.target_words) <= 400
    assert len(set(pocket.words)) == len(pocket.words)
    assert len(set(pocket.target_words)) == len(pocket.target_words)
    used = {word for document in documents for sentence in document.sentences for word in sentence}
    target = {word for document in documents for sentence in document.translations for word in sentence}
    assert used == set(pocket.words)
    assert target <= set(pocket.target_words)
    assert len(target) > 0.95 * len(pocket.target_words)
    assert not any(" " in word or word != word.strip() for word in (*pocket.words, *pocket.target_words))


def test_shape_of_documents(pocket: PocketLanguage, documents: list[PocketDocument]) -> None:
    lengths = [len(document.sentences) for document in documents]
    assert 8 <= np.mean(lengths) <= 12
    assert min(lengths) >= 2
    for document in documents:
        assert len(document.translations) == len(document.tags) == len(document.sentences)
        assert all(sentence[-1] == "." and sentence.count(".") == 1 for sentence in (*document.sentences, *document.translations))
        assert [len(tags) for tags in document.tags] == [len(sentence) for sentence in document.sentences]
        assert document.text.split() == [word for sentence in document.sentences for word in sentence]
        assert document.text.count("\n") == len(document.sentences) - 1
        assert {tag for tags in document.tags for tag in tags} <= set(pocket.tag_names)


def test_labels_are_spread(pocket: PocketLanguage, documents: list[PocketDocument]) -> None:
    assert set(np.unique([document.topic for document in documents])) == set(range(len(pocket.topics)))
    assert set(np.unique([document.subject for document in documents])) == set(range(len(pocket.subject_names)))


def test_a_is_always_right(documents: list[PocketDocument]) -> None:
    for document in documents:
        for sentence in document.sentences:
            assert not [after for word, after in pairwise(sentence) if word == "a" and after[0] in "aeiou"]


def test_the_subject_decides_the_verb(pocket: PocketLanguage, documents: list[PocketDocument]) -> None:
    """The head noun or pronoun, not the noun before the verb, which often has the other number."""
    nouns = [of_kind(pocket, "men", n) | of_kind(pocket, "women", n) | of_kind(pocket, "animals", n) | of_kind(pocket, "things", n) for n in (0, 1)]
    singular = of_kind(pocket, "be", 0) | of_kind(pocket, "do", 0)
    plural = of_kind(pocket, "be", 1) | of_kind(pocket, "do", 1)
    seen = attracted = 0
    for document in documents:
        for sentence, tags in zip(document.sentences, document.tags, strict=True):
            auxiliaries = [place for place, tag in enumerate(tags) if tag == "AUX"]
            if not auxiliaries or sentence[0] == "there":
                continue
            head = next(word for word, tag in zip(sentence, tags, strict=True) if tag in ("NOUN", "PRON"))
            is_plural = head == "they" or head in nouns[1]
            assert sentence[auxiliaries[0]] in (plural if is_plural else singular), " ".join(sentence)
            seen += 1
            before = sentence[auxiliaries[0] - 1]
            attracted += before in nouns[1 - is_plural]
    assert seen > 300
    assert attracted > 20


def test_verbs_agree_across_whatever_stands_between(pocket: PocketLanguage, documents: list[PocketDocument]) -> None:
    """Every last verb of a sentence without negation, with any place or clause between it and its subject."""
    verbs = [set().union(*(of_kind(pocket, name, number) for name in ("acts", "happens", "makes", "meets"))) for number in (0, 1)]
    persons = set().union(*(of_kind(pocket, name, 0) for name in ("men", "women", "animals", "things"))) | {"he", "she", "it"}
    apart = 0
    for document in documents:
        for sentence, tags in zip(document.sentences, document.tags, strict=True):
            places = [place for place, tag in enumerate(tags) if tag == "VERB"]
            if not places or "not" in sentence:
                continue
            head = next(place for place, tag in enumerate(tags) if tag in ("NOUN", "PRON"))
            verb = sentence[places[-1]] if "AUX" not in tags else None
            if verb is not None:
                assert verb in verbs[sentence[head] not in persons], " ".join(sentence)
                apart += places[-1] - head > 3
    assert apart > 100


def test_pronouns_refer_to_the_last_subject(pocket: PocketLanguage, documents: list[PocketDocument]) -> None:
    classes = {
        str(lemma.form(number)): "they" if number else ("he", "she", "it", "it")[lemma.gender]
        for topic in pocket.grammar.topics
        for name in ("men", "women", "animals", "things")
        for lemma in topic.lists[name]
        for number in (0, 1)
    }
    referring = 0
    for document in documents:
        subject = ""
        for sentence, tags in zip(document.sentences, document.tags, strict=True):
            head = next(word for word, tag in zip(sentence, tags, strict=True) if tag in ("NOUN", "PRON") and word != "there")
            if head in ("he", "she", "it", "they"):
                assert head == subject
                referring += 1
            else:
                subject = classes[head]
            owners = {"he": "his", "she": "her", "it": "its", "they": "their"}
            assert {word for word in sentence if word in owners.values()} <= {owners[subject]}
        number = pocket.subject_names[document.subject].split()[1]
        assert (number == "plural") == (subject == "they")
    assert referring > 1000


def test_topics_share_words(pocket: PocketLanguage, documents: list[PocketDocument]) -> None:
    """No word tells the topic by itself too often, but some do: the label is learnable and not trivial."""
    topics_of: dict[str, set[int]] = {}
    for document in documents:
        for word in document.text.split():
            topics_of.setdefault(word, set()).add(document.topic)
    counts = np.array([len(topics) for topics in topics_of.values()])
    assert (counts == 1).sum() > 50
    assert ((counts > 1) & (counts < 8)).sum() > 50


def test_unknown_words_are_named(pocket: PocketLanguage) -> None:
    with pytest.raises(DataError, match="source side of the built-in language has no word 'zebra'"):
        pocket.symbols(["the", "zebra"])
    with pytest.raises(DataError, match="target side"):
        pocket.target_symbols(["zebra"])
    assert [pocket.words[number] for number in pocket.symbols(["the", "girls"])] == ["the", "girls"]

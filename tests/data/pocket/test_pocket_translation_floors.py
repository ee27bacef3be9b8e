"""Floors of translation against a plain sum over all documents of a tiny language."""

from itertools import product

import numpy as np
import pytest

from data.pocket.enumeration import Enumeration
from transformer_zoo.data.pocket import PocketLanguage
from transformer_zoo.data.pocket.floors import Floors
from transformer_zoo.data.pocket.translation import inflect
from transformer_zoo.errors import DataError


def test_translation_equals_the_sum_over_documents(tiny: PocketLanguage, tiny_floors: Floors, paths: Enumeration) -> None:
    """p(target | source) with the memory's law from all sentences of all documents, each path's target law spelled out by hand."""
    law: dict[int, float] = {}
    start, alive = paths.initial(), 1.0
    for number in range(120):
        for state, weight in start.items():
            law[state] = law.get(state, 0.0) + alive * weight
        start, alive = paths.starts_after(start), alive * (1.0 if number == 0 else 0.75)
    vowels = "oa"
    gender = {"cow": 0, "dog": 0, "hat": 1, "pot": 1}
    stems = {"cow": {"bov": 1.0}, "dog": {"kan": 0.7, "hund": 0.3}, "hat": {"cap": 1.0}, "pot": {"vaz": 0.7, "olo": 0.3}}
    verbs = {"eat": {"manj": 0.7, "vor": 0.3}, "run": {"kur": 1.0}}

    def choices(word: str, memory: int) -> dict[str, float]:
        base = word.removesuffix("s")
        if base in stems:
            ending = vowels[gender[base]] + ("n" if word.endswith("s") else "")
            return {stem + ending: weight for stem, weight in stems[base].items()}
        if base in verbs:
            return {stem + ("is" if memory % 2 else "as"): weight for stem, weight in verbs[base].items()}
        if word in ("it", "they"):
            return {"k" + vowels[memory // 2] + ("n" if memory % 2 else ""): 1.0}
        return {".": 1.0}

    seen = set()
    for document in tiny.documents(8, "test", 150):
        for source, target in zip(document.sentences, document.translations, strict=True):
            key = " ".join([*source, "|", *target])
            if key in seen:
                continue
            seen.add(key)
            spoken = [word for word in source if word != "so"]
            verb = next((place for place, word in enumerate(spoken) if word.removesuffix("s") in verbs), None)
            if verb is not None:
                spoken.append(spoken.pop(verb))  # to the end …
                spoken.append(spoken.pop(-2))  # … but for the stop
            belief = np.zeros(4)
            for path, weight in paths.paths(law, tiny.symbols(source).tolist()):
                if tiny.process.stops[path[-1]]:
                    belief[tiny.process.memory(np.array(path[-1]))] += weight
            chance = [belief.sum()]
            for length in range(1, len(target) + 1):
                shares = [
                    np.prod([choices(word, memory).get(form, 0.0) for word, form in zip(spoken[:length], target, strict=False)])
                    for memory in range(4)
                ]
                chance.append(float(belief @ np.array(shares)))
            losses = tiny_floors.translation(tiny.symbols(source), tiny.target_symbols(target))
            np.testing.assert_allclose(losses, [*-np.diff(np.log(chance)), 0.0], atol=1e-10)
    assert len(seen) > 40


def test_all_translations_of_a_sentence_share_one(pocket: PocketLanguage, pocket_floors: Floors) -> None:
    """Over every combination of target words that was ever seen at its place, the probabilities of a hidden-gender sentence sum to 1."""
    source = ["they", "work", "slowly", "."]
    targets = {
        tuple(target)
        for document in pocket.documents(0, "train", 3000)
        for sentence, target in zip(document.sentences, document.translations, strict=True)
        if sentence == source
    }
    assert len(targets) > 2
    places = [sorted({target[place] for target in targets}) for place in range(4)]
    total = 0.0
    for target in product(*places):
        total += np.exp(-pocket_floors.translation(pocket.symbols(source), pocket.target_symbols(list(target))).sum())
    assert total == pytest.approx(1.0, abs=1e-9)


def test_the_gender_of_they_is_paid_once(pocket: PocketLanguage, pocket_floors: Floors) -> None:
    """The pronoun costs; the adjective that agrees with it then costs no more than its choice of synonym."""

    def losses_of(adjective: str) -> dict[str, float]:
        weights = {
            inflect("adjective", stem, "nominative", memory): weight
            for topic in pocket.grammar.topics
            for lemma in (*topic.lists["living"], *topic.lists["lifeless"])
            for stem, weight in lemma.stems
            for memory in range(8)
            if lemma.singular == adjective
        }
        source, found = pocket.symbols(["they", "are", adjective, "."]), dict[str, float]()
        for gender in "oaeu":
            pronoun = f"k{gender}n"
            form = next(form for form in weights if form.endswith("l" + gender))
            try:
                target = pocket.target_symbols([pronoun, form, "estis", "."])
                losses = pocket_floors.translation(source, target)
            except DataError:  # such subjects are never so
                continue
            np.testing.assert_allclose(losses[1:], [-np.log(weights[form]), 0, 0, 0], atol=1e-9)
            found[pronoun] = losses[0]
        return found

    things, beings = losses_of("small"), losses_of("young")
    assert list(things) == ["kun"]
    assert things["kun"] == pytest.approx(0.0, abs=1e-9)
    assert list(beings) == ["kon", "kan", "ken"]
    assert sum(np.exp(-loss) for loss in beings.values()) == pytest.approx(1.0, abs=1e-9)
    assert min(beings.values()) > 0.5


def test_every_sampled_sentence_has_one_reading_and_its_translation_fits(pocket: PocketLanguage, pocket_floors: Floors) -> None:
    total = words = 0.0
    for document in pocket.documents(6, "validation", 40):
        for source, target in zip(document.sentences, document.translations, strict=True):
            losses = pocket_floors.translation(pocket.symbols(source), pocket.target_symbols(target))
            total, words = total + losses.sum(), words + len(target)
            assert len(losses) == len(target) + 1
            assert losses[-1] == 0
    assert 0.02 < total / words < 0.5


def test_wrong_translations_are_refused(pocket: PocketLanguage, pocket_floors: Floors) -> None:
    document = pocket.document(0, "train", 0)
    source, target = pocket.symbols(document.sentences[1]), pocket.target_symbols(document.translations[1])
    with pytest.raises(DataError, match="the target has"):
        pocket_floors.translation(source, target[:-1])
    with pytest.raises(DataError, match=r"target word 0 .* is no translation"):
        pocket_floors.translation(source, target[::-1])

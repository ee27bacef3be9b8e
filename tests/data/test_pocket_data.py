"""The built-in language as a data set."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_data import everything, some, wants

from transformer_zoo.data.module import DataModule, build_data
from transformer_zoo.data.pocket_data import PocketDataConfig, PocketSource
from transformer_zoo.data.tokenizers import FileTokenizerConfig, WordTokenizerConfig
from transformer_zoo.records import IGNORED, Batch, LabelledBatch, PairBatch, TaggedBatch, TextBatch, TranslationBatch

CONFIG = PocketDataConfig(n_documents=40, n_held_out=6, sequence_length=32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def build(cache: Path, batch: type[Batch], config: PocketDataConfig = CONFIG) -> DataModule:
    return build_data(config, WordTokenizerConfig(), needs=wants(batch), cache_dir=cache)


@pytest.mark.parametrize("batch", [TextBatch, PairBatch, TranslationBatch, LabelledBatch, TaggedBatch])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_record_can_be_had_without_unknown_words(cache: Path, batch: type[Batch], split: str) -> None:
    needs = wants(batch, framed=batch is not TranslationBatch)
    data = build(cache, batch)
    made = everything(data.reader(split, needs))
    assert isinstance(made, batch)
    ids = made.source_ids if isinstance(made, TranslationBatch) else made.token_ids
    assert not bool((ids == data.vocabulary.specials.unknown).any())


def test_the_vocabulary_is_both_languages(cache: Path) -> None:
    data = build(cache, TextBatch)
    language = data.source.language  # type: ignore[attr-defined]
    words = {*language.words, *language.target_words}
    assert data.vocabulary.size == 7 + len(words)
    assert all(data.tokenizer.token(data.tokenizer.encode(word)[0]) == word for word in words)


def test_rows_are_the_documents_own_words(cache: Path) -> None:
    data = build(cache, TextBatch)
    document = data.source.language.documents(CONFIG.seed, "train", 1)[0]  # type: ignore[attr-defined]
    words = [word for sentence in document.sentences for word in sentence]
    batch = some(data.reader("train", wants(lookahead=1)), [0])
    assert data.tokenizer.decode(batch.token_ids[0].tolist()) == " ".join(words[:32])


def test_labels_and_tags_are_the_languages_own(cache: Path) -> None:
    data = build(cache, LabelledBatch)
    language = data.source.language  # type: ignore[attr-defined]
    documents = language.documents(CONFIG.seed, "train", 40)
    assert data.label_names == list(language.topics)
    assert everything(data.reader("train", wants(LabelledBatch))).labels.tolist() == [d.topic for d in documents]
    subjects = build(cache, LabelledBatch, PocketDataConfig(n_documents=40, n_held_out=6, label="subject"))
    assert subjects.label_names == list(language.subject_names)
    assert everything(subjects.reader("train", wants(LabelledBatch))).labels.tolist() == [d.subject for d in documents]
    tagged = build(cache, TaggedBatch)
    row = everything(tagged.reader("train", wants(TaggedBatch))).tags[0]
    assert tagged.tag_names is not None
    assert [tagged.tag_names[i] for i in row[row != IGNORED].tolist()] == documents[0].tags[0]


def test_another_seed_is_another_data_set(cache: Path) -> None:
    prints = {PocketSource(PocketDataConfig(n_documents=5, seed=seed)).fingerprint for seed in (0, 0, 1)}
    assert len(prints) == 2


def test_a_second_start_reads_the_store(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(cache, PairBatch)
    first.reader("train", wants(PairBatch))
    monkeypatch.setattr(PocketSource, "sentences", None)
    assert len(build(cache, PairBatch).reader("train", wants(PairBatch))) > 0


def test_of_another_form_only_the_split_that_is_read_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation may read running text of data that was opened for pairs."""
    asked: list[str] = []
    documents = PocketSource.documents
    monkeypatch.setattr(PocketSource, "documents", lambda self, split: asked.append(split) or documents(self, split))
    data = build(tmp_path, PairBatch)
    assert data.gives(TextBatch)
    read = [everything(data.reader("validation", wants(framed=True))) for _ in (1, 2)]
    assert asked == ["validation"]
    whole = everything(build(tmp_path, TextBatch).reader("validation", wants(framed=True)))
    assert asked[1:] == ["train", "validation", "test"]
    assert all(rows.token_ids.equal(whole.token_ids) for rows in read)
    assert data.label_names is None
    data.reader("test", wants(LabelledBatch, framed=True))
    assert data.label_names == build(tmp_path, LabelledBatch).label_names


def test_an_objective_gets_the_sentinels_it_asks_for_but_not_from_a_file(cache: Path, tmp_path: Path) -> None:
    needs = replace(wants(TextBatch), sentinels=5)
    plain, asked = (build_data(CONFIG, WordTokenizerConfig(), needs=need, cache_dir=cache) for need in (wants(TextBatch), needs))
    assert len(plain.vocabulary.sentinels) == 0
    assert len(asked.vocabulary.sentinels) == 5
    plain.tokenizer.save(tmp_path / "tokenizer.json")
    config = FileTokenizerConfig(path=str(tmp_path / "tokenizer.json"))
    assert build_data(CONFIG, config, needs=needs, cache_dir=cache).vocabulary == plain.vocabulary

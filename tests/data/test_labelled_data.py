"""Labelled texts and tagged words."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_data import everything, wants

from transformer_zoo.data.labelled_data import LabelledDataConfig
from transformer_zoo.data.module import DataModule, build_data
from transformer_zoo.data.tokenizers import (
    BPETokenizerConfig,
    ByteTokenizerConfig,
    CharTokenizerConfig,
    TokenizerConfig,
    UnigramTokenizerConfig,
    WordPieceTokenizerConfig,
    WordTokenizerConfig,
)
from transformer_zoo.errors import DataError
from transformer_zoo.records import IGNORED, LabelledBatch, TaggedBatch, TextBatch

TEXTS = [{"text": "a fine film", "label": "good"}, {"text": "dull", "label": "bad"}, {"text": "a bad film of note", "label": "bad"}]
TAGGED = [
    {"tokens": ["Anna", "lives", "in", "Berlin-Mitte", "."], "tags": ["B-per", "O", "O", "B-loc", "O"]},
    {"tokens": ["@user", "don't", "é"], "tags": ["O", "O", "O"]},
]


def put(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def build(train: str, cache: Path, batch: Any, tokenizer: TokenizerConfig | None = None, **settings: Any) -> DataModule:
    config = LabelledDataConfig(train=train, **{"validation": train, "sequence_length": 12, **settings})
    return build_data(config, tokenizer or WordTokenizerConfig(), needs=wants(batch, framed=True), cache_dir=cache)


def test_texts_are_framed_and_labels_numbered_by_name(tmp_path: Path) -> None:
    data = build(put(tmp_path / "a.jsonl", TEXTS), tmp_path, LabelledBatch, sequence_length=6)
    batch = everything(data.reader("train", wants(LabelledBatch, framed=True)))
    assert data.label_names == ["bad", "good"]
    assert data.tag_names is None
    assert batch.labels.tolist() == [1, 0, 0]
    rows = [ids[valid].tolist() for ids, valid in zip(batch.token_ids, batch.valid, strict=True)]
    assert [(row[0], row[-1]) for row in rows] == [(4, 5)] * 3
    assert [data.tokenizer.decode(row) for row in rows] == ["a fine film", "dull", "a bad film of"]


def test_whole_numbers_are_ordered_by_size(tmp_path: Path) -> None:
    rows = [{"text": "x y", "label": label} for label in (10, 2, 1)]
    assert build(put(tmp_path / "a.jsonl", rows), tmp_path, LabelledBatch).label_names == ["1", "2", "10"]


def test_a_label_unknown_in_training_is_named(tmp_path: Path) -> None:
    train, held_out = put(tmp_path / "a.jsonl", TEXTS), put(tmp_path / "b.jsonl", [{"text": "so so", "label": "fair"}])
    with pytest.raises(DataError, match=r"b\.jsonl line 1 \(data\.validation\): 'fair' does not occur in data\.train, which has bad, good"):
        build(train, tmp_path, LabelledBatch, validation=held_out).reader("train", wants(LabelledBatch, framed=True))


@pytest.mark.parametrize(("label", "got"), [(0.5, "float '0.5'"), (None, "null"), (["a"], "list")])
def test_other_labels_are_refused(tmp_path: Path, label: Any, got: str) -> None:
    train = put(tmp_path / "a.jsonl", [{"text": "x", "label": label}])
    with pytest.raises(DataError, match=rf"line 1: the field 'label' should be text or a whole number, got {got}"):
        build(train, tmp_path, LabelledBatch).reader("train", wants(LabelledBatch, framed=True))


@pytest.mark.parametrize(
    "tokenizer",
    [
        WordTokenizerConfig(),
        CharTokenizerConfig(),
        ByteTokenizerConfig(),
        WordPieceTokenizerConfig(vocab_size=60),
        BPETokenizerConfig(vocab_size=280),
        UnigramTokenizerConfig(vocab_size=60),
    ],
    ids=lambda config: type(config).__name__,
)
def test_a_tag_stands_at_the_first_token_of_its_word(tmp_path: Path, tokenizer: TokenizerConfig) -> None:
    data = build(put(tmp_path / "a.jsonl", TAGGED), tmp_path, TaggedBatch, tokenizer, sequence_length=64)
    batch = everything(data.reader("train", wants(TaggedBatch, framed=True)))
    assert data.tag_names == ["O", "B-loc", "B-per"]
    assert batch.tags.shape == batch.token_ids.shape
    assert batch.tags[0][batch.tags[0] != IGNORED].tolist() == [2, 0, 0, 1, 0]
    assert batch.tags[1][batch.tags[1] != IGNORED].tolist() == [0, 0, 0]
    assert batch.tags[0, 0] == IGNORED and bool((batch.tags[~batch.valid] == IGNORED).all())
    first = [data.tokenizer.token(int(i)).lower().strip("Ġ▁")[:1] for i in batch.token_ids[0][batch.tags[0] != IGNORED]]
    assert first == ["a", "l", "i", "b", "."] or set(first) == {""}  # the mark before a word may be a token of its own


def test_words_and_tags_must_be_as_many(tmp_path: Path) -> None:
    train = put(tmp_path / "a.jsonl", [{"tokens": ["a", "b"], "tags": ["O"]}])
    with pytest.raises(DataError, match="line 1: 2 words but 1 tags"):
        build(train, tmp_path, TaggedBatch).reader("train", wants(TaggedBatch, framed=True))


def test_texts_can_be_read_as_running_text(tmp_path: Path) -> None:
    train = put(tmp_path / "a.jsonl", TEXTS)
    data = build(train, tmp_path, TextBatch, packing="separate")
    batch = everything(data.reader("train", wants(framed=True)))
    assert data.tokenizer.decode(batch.token_ids[2].tolist()) == "a bad film of note"
    assert data.label_names is None


def test_the_last_records_are_held_out(tmp_path: Path) -> None:
    data = build(put(tmp_path / "a.jsonl", TEXTS * 4), tmp_path, LabelledBatch, validation=None, validation_share=0.25)
    assert len(data.reader("train", wants(LabelledBatch, framed=True))) == 9
    assert len(data.reader("validation", wants(LabelledBatch, framed=True))) == 3


def test_a_text_file_has_no_labels(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words", encoding="utf-8")
    with pytest.raises(DataError, match="labelled data comes in records"):
        build(str(tmp_path / "a.txt"), tmp_path, LabelledBatch)


@pytest.mark.data
def test_reviews_and_entities(tmp_path: Path, data_folder: Path) -> None:
    reviews = build(str(data_folder / "sst2" / "validation.jsonl"), tmp_path, LabelledBatch, sequence_length=64)
    assert reviews.label_names == ["0", "1"]
    assert len(reviews.reader("train", wants(LabelledBatch, framed=True))) == 872
    entities = build(str(data_folder / "wnut17" / "validation.jsonl"), tmp_path, TaggedBatch, sequence_length=64)
    assert entities.tag_names is not None and entities.tag_names[0] == "O" and len(entities.tag_names) == 13
    assert len(entities.reader("train", wants(TaggedBatch, framed=True))) == 1009

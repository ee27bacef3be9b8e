"""Phrases that the data marks: from spans or tags to marks of tokens, in windows as the text is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from transformer_zoo.data.base import check_provides
from transformer_zoo.data.labelled_data import LabelledDataConfig
from transformer_zoo.data.module import build_data
from transformer_zoo.data.phrases import continuing, given_spans, tagged_spans
from transformer_zoo.data.pocket_data import PocketDataConfig
from transformer_zoo.data.rows import BadRecordError, Record
from transformer_zoo.data.text_data import TextDataConfig
from transformer_zoo.data.tokenizers import BPETokenizerConfig, CharTokenizerConfig
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.masking.phrases import PhraseUnitConfig
from transformer_zoo.objectives.masking.sampler import MaskSampler
from transformer_zoo.records import MarkedTextBatch, Rows

CONFIG = MaskedLMConfig(unit=PhraseUnitConfig(), mask_ratio=0.4)


def test_tags_mark_runs_of_words() -> None:
    words, tags = ["Ada", "Lovelace", "met", "Babbage", "Paris", "sees", "Rome"], ["B-per", "I-per", "O", "B-per", "B-loc", "O", "I-loc"]
    text, spans = " ".join(words), tagged_spans(words, tags)
    assert [text[begin:end] for begin, end in spans] == ["Ada Lovelace", "Babbage", "Paris", "Rome"]
    assert tagged_spans(["a", "b", "c"], ["B-x", "I-y", "I-y"]) == [(0, 1), (2, 5)]
    assert tagged_spans(["a", "b"], ["O", "Bacon"]) == []


def test_tokens_go_on_with_their_phrase() -> None:
    spans, places = [(2, 6), (6, 9)], [(0, 1), (1, 3), (3, 5), (5, 6), (6, 8), (8, 9), (9, 10)]
    assert continuing(spans, places).tolist() == [False, False, True, True, False, True, False]
    assert continuing([], places).tolist() == [False] * 7


def test_spans_that_are_none_are_told() -> None:
    def spans(value: object) -> list[tuple[int, int]]:
        return given_spans(Record("file line 3", {"spans": value}), "spans", 10)

    assert spans([[4, 6], [0, 2], [2, 4]]) == [(0, 2), (2, 4), (4, 6)]
    for wrong in ([[0, 3], [2, 4]], [[3, 3]], [[8, 11]], [[-1, 2]]):
        with pytest.raises(BadRecordError, match="file line 3: the spans of 'spans' overlap, are empty or lie outside of the text's 10 characters"):
            spans(wrong)
    for wrong in (None, "x", [[1, 2, 3]], [["a", "b"]]):
        with pytest.raises(BadRecordError, match="should be a list of"):
            spans(wrong)
    with pytest.raises(BadRecordError, match="there is no field 'spans'"):
        given_spans(Record("file line 3", {"text": "x"}), "spans", 10)


def files(folder: Path) -> str:
    records = [
        {"tokens": ["Ada", "Lovelace", "wrote", "to", "Charles", "Babbage", "."], "tags": ["B-per", "I-per", "O", "O", "B-per", "I-per", "O"]},
        {"text": "The analytical engine never ran.", "spans": [[4, 21]]},
    ] * 40
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("packing", ["separate", "concatenate", "document_mask"])
def test_phrases_are_hidden_whole(packing: str, tmp_path: Path) -> None:
    data = build_data(
        LabelledDataConfig(train=files(tmp_path), sequence_length=40, packing=packing), BPETokenizerConfig(vocab_size=300), needs=CONFIG.needs(),
        cache_dir=tmp_path,
    )  # fmt: skip
    reader = data.reader("train", CONFIG.needs())
    indices = np.arange(len(reader))
    rows = Rows(seed=0, epoch=torch.zeros(len(indices), dtype=torch.int64), index=torch.arange(len(indices)))
    batch = reader.batch(indices, rows)
    assert isinstance(batch, MarkedTextBatch)
    choice = MaskSampler(CONFIG, data.vocabulary).choose(batch, training=True)
    hidden_whole = 0
    for ids, row in zip(batch.token_ids.tolist(), choice.hidden, strict=True):
        for phrase in ("Ada Lovelace", " Charles Babbage", " analytical engine"):
            tokens = data.tokenizer.encode(phrase)
            for place in range(len(ids) - len(tokens) + 1):
                if ids[place : place + len(tokens)] == tokens:
                    part = row[place : place + len(tokens)]
                    assert part.all() == part.any(), phrase
                    hidden_whole += int(part.all())
    assert hidden_whole > 10


def test_data_without_phrases_is_refused(tmp_path: Path) -> None:
    config = TextDataConfig(train=files(tmp_path))
    with pytest.raises(ConfigError, match=r"data=text gives .*; the objective needs texts with marked phrases: use data=labelled"):
        build_data(config, CharTokenizerConfig(), needs=CONFIG.needs(), cache_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"data=pocket gives .*; the objective needs texts with marked phrases"):
        check_provides(PocketDataConfig(), MarkedTextBatch)
    bare = tmp_path / "bare.jsonl"
    bare.write_text((json.dumps({"text": "nothing is marked"}) + "\n") * 10)
    data = build_data(LabelledDataConfig(train=str(bare)), CharTokenizerConfig(), needs=CONFIG.needs(), cache_dir=tmp_path)
    with pytest.raises(DataError, match=r"there is no field 'spans'.*set data.spans_field"):
        data.reader("train", CONFIG.needs())

"""Parallel text: two files or records, and what goes wrong with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import everything, wants

from transformer_zoo.data.module import build_data
from transformer_zoo.data.parallel_data import PairsDataConfig, ParallelSource
from transformer_zoo.data.tokenizers import WordTokenizerConfig
from transformer_zoo.errors import DataError
from transformer_zoo.records import TranslationBatch

SOURCE = ["a dog runs", "the cat sleeps here", "birds", "two men walk home"]
TARGET = ["ein Hund läuft", "die Katze schläft hier", "Vögel", "zwei Männer gehen nach Hause"]


def files(folder: Path, source: list[str] = SOURCE, target: list[str] = TARGET) -> list[str]:
    for name, lines in (("a.en", source), ("a.de", target)):
        (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return [str(folder / "a.en"), str(folder / "a.de")]


def opened(train: Any, **settings: Any) -> ParallelSource:
    return PairsDataConfig(train=train, **{"validation": train, **settings}).open(Path())


def test_two_files_are_read_line_by_line(tmp_path: Path) -> None:
    names = files(tmp_path)
    assert list(opened(names).parallel("train")) == list(zip(SOURCE, TARGET, strict=True))
    assert list(opened(",".join(names)).parallel("train")) == list(zip(SOURCE, TARGET, strict=True))
    assert sorted(opened(names).training_text()) == sorted(SOURCE + TARGET)


def test_records_may_be_nested(tmp_path: Path) -> None:
    flat, nested = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    pairs = list(zip(SOURCE, TARGET, strict=True))
    flat.write_text("".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in pairs), encoding="utf-8")
    nested.write_text("".join(json.dumps({"translation": {"en": s, "de": t}}) + "\n" for s, t in pairs), encoding="utf-8")
    assert list(opened(str(flat)).parallel("train")) == pairs
    fields = {"source_field": "translation.en", "target_field": "translation.de"}
    assert list(opened(str(nested), **fields).parallel("train")) == pairs
    with pytest.raises(DataError, match=r"b\.jsonl line 1: there is no field 'source' \(it has translation\); set data\.source_field"):
        list(opened(str(nested)).parallel("train"))


@pytest.mark.parametrize(("n_source", "n_target"), [(3, 4), (4, 3), (0, 4), (4, 0)])
def test_different_numbers_of_lines_are_an_error_with_both(tmp_path: Path, n_source: int, n_target: int) -> None:
    names = files(tmp_path, SOURCE[:n_source], TARGET[:n_target])
    with pytest.raises(DataError, match=rf"a\.en has {n_source}, .*a\.de has {n_target}"):
        list(opened(names).parallel("train"))


def test_a_skipped_line_takes_its_partner_with_it(tmp_path: Path) -> None:
    names = files(tmp_path)
    (tmp_path / "a.en").write_bytes(b"a dog runs\nthe \xff sleeps\nbirds\ntwo men walk home\n")
    kept = [pair for pair in zip(SOURCE, TARGET, strict=True) if "sleeps" not in pair[0]]
    assert list(opened(names, on_bad_utf8="skip").parallel("train")) == kept


def test_one_text_file_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.train: parallel text is two text files"):
        opened(files(tmp_path)[:1])


def test_the_last_pairs_are_held_out(tmp_path: Path) -> None:
    source = opened(files(tmp_path), validation=None, validation_share=0.5)
    assert [s for s, _ in source.parallel("train")] == SOURCE[:2]
    assert [s for s, _ in source.parallel("validation")] == SOURCE[2:]


def test_batches_end_their_sources_and_frame_their_targets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = files(tmp_path, [*SOURCE, "", "word " * 30], [*TARGET, "leer", "Wort " * 3])
    config = PairsDataConfig(train=names, validation=names, sequence_length=16)
    caplog.set_level("INFO")
    data = build_data(config, WordTokenizerConfig(), needs=wants(TranslationBatch), cache_dir=tmp_path)
    reader = data.reader("train", wants(TranslationBatch))
    assert "1 pairs with an empty side are left out" in caplog.text
    assert "1 pairs longer than data.sequence_length=16 are left out" in caplog.text
    batch = everything(reader)
    for row, (source, target) in enumerate(zip(SOURCE, TARGET, strict=True)):
        s, t = batch.source_ids[row][batch.source_valid[row]].tolist(), batch.target_ids[row][batch.target_valid[row]].tolist()
        assert (s[-1], t[0], t[-1]) == (3, 2, 3)
        assert data.tokenizer.decode(s) == source and data.tokenizer.decode(t) == target
        assert reader.sizes[row].tolist() == [len(s), len(t)]
        assert bool((batch.source_ids[row][~batch.source_valid[row]] == 0).all())
    assert reader.lengths.tolist() == reader.sizes.sum(1).tolist()
    held_out = data.reader("validation", wants(TranslationBatch))
    assert len(held_out) == len(reader) + 1
    assert int(np.max(held_out.sizes[:, 0])) == 16
    assert held_out.n_tokens == sum(len(t.split()) + 1 for t in [*TARGET, "Wort " * 3])
    assert held_out.n_bytes == sum(len(t.encode()) for t in [*TARGET, "Wort " * 3])

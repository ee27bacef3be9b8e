"""Running text from files, in every format, with its splits and its faults."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_data import some, wants

from transformer_zoo.data.module import DataModule, build_data
from transformer_zoo.data.text_data import TextDataConfig, TextSource
from transformer_zoo.data.tokenizers import ByteTokenizerConfig, CharTokenizerConfig, TokenizerConfig, WordTokenizerConfig
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.records import PairBatch, TranslationBatch

DOCUMENTS = ["First text. It has two\nsentences.", "Second, with “quotes” and 1.5 numbers.", "Third: null, NA, 123"]


def put(path: Path, documents: list[str] = DOCUMENTS) -> Path:
    """Documents as one file of the format its name says."""
    kind = path.name.split(".")[1]
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"id": list(range(len(documents))), "text": documents}), path)
        return path
    rows = [{"id": i, "text": text} for i, text in enumerate(documents)]
    open_it = gzip.open if path.suffix == ".gz" else open
    with open_it(path, "wt", encoding="utf-8", newline="") as file:
        if kind == "jsonl":
            file.write("".join(json.dumps(row) + "\n" for row in rows))
        elif kind == "json":
            json.dump(rows, file)
        elif kind in ("csv", "tsv"):
            writer = csv.DictWriter(file, ["id", "text"], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.write("\n\n".join(documents))
    return path


def read(source: TextSource, split: str = "train") -> list[str]:
    documents, current = [], ""
    for piece in source.documents(split):
        if piece is None:
            documents.append(current)
            current = ""
        else:
            current += piece
    return documents


def opened(path: Path | str, **settings: Any) -> TextSource:
    settings.setdefault("validation", str(path))
    return TextDataConfig(train=str(path), **settings).open(Path())


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.csv.gz", "a.tsv", "a.parquet"])
def test_every_record_is_a_document(tmp_path: Path, name: str) -> None:
    assert read(opened(put(tmp_path / name))) == DOCUMENTS


def test_a_text_file_is_one_document_kept_to_the_byte(tmp_path: Path) -> None:
    text = "\n\n One line\r\n\r\n\n  and more \n\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert read(opened(tmp_path / "a.txt")) == [text]
    assert read(opened(tmp_path / "a.txt", documents="blank_line")) == ["One line", "and more"]
    assert read(opened(tmp_path / "a.txt", documents="line")) == ["One line", "and more"]


def test_documents_of_a_text_file_are_paragraphs_where_sentences_are_needed(tmp_path: Path) -> None:
    source = opened(put(tmp_path / "a.txt"))
    assert list(source.sentences("train")) == [
        *("First text.", "It has two sentences.", None),
        *("Second, with “quotes” and 1.5 numbers.", None),
        *("Third: null, NA, 123", None),
    ]
    whole = opened(tmp_path / "a.txt", documents="file")
    assert [sentence for sentence in whole.sentences("train") if sentence is None] == [None]


def test_files_of_a_folder_are_documents_each(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert read(opened(tmp_path)) == ["a.txt", "b.txt"]
    assert read(opened(f"{tmp_path}/b.txt,{tmp_path}/a.txt", validation=[f"{tmp_path}/a.txt"])) == ["b.txt", "a.txt"]


def test_without_validation_data_the_last_tenth_is_held_out(tmp_path: Path) -> None:
    text = "".join(chr(97 + i % 26) for i in range(1003))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    source = opened(tmp_path / "a.txt", validation=None)
    assert source.splits == ("train", "validation")
    assert read(source) == [text[:902]]
    assert read(source, "validation") == [text[902:]]
    put(tmp_path / "a.jsonl", [f"{i:010}" for i in range(40)])
    source = opened(tmp_path / "a.jsonl", validation=None, validation_share=0.25)
    assert (read(source)[-1], read(source, "validation")[0], len(read(source, "validation"))) == (f"{29:010}", f"{30:010}", 10)


BAD_LINES = {
    "no json": ('{"text": "a"}\n{"text": \n', r"a\.jsonl line 2 is no JSON"),
    "no object": ('{"text": "a"}\n["b"]\n', r"line 2: expected a JSON object, got list"),
    "missing field": ('{"text": "a"}\n\n{"body": "b"}\n', r"line 3: there is no field 'text' \(it has body\); set data\.text_field"),
    "wrong type": ('{"text": "a"}\n{"text": 3}\n', r"line 2: the field 'text' should be text, got int '3'"),
    "null": ('{"text": "a"}\n{"text": null}\n', r"line 2: the field 'text' should be text, got null"),
}


@pytest.mark.parametrize("fault", BAD_LINES)
def test_broken_records_are_named_by_line_or_left_out(tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    text, message = BAD_LINES[fault]
    path = tmp_path / "a.jsonl"
    path.write_text(text + '{"text": "end"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=message + r".*on_bad_record=skip"):
        read(opened(path))
    assert read(opened(path, on_bad_record="skip", max_bad_share=0.5)) == ["a", "end"]
    assert "1 of 3 records are broken and left out; the first: " in caplog.text
    with pytest.raises(DataError, match=r"1 of 3 records are broken, more than data\.max_bad_share=0\.1"):
        read(opened(path, on_bad_record="skip", max_bad_share=0.1))


def test_a_table_with_another_field_is_named_by_record(tmp_path: Path) -> None:
    put(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.csv record 1: there is no field 'body' \(it has id, text\)"):
        read(opened(tmp_path / "a.csv", text_field="body"))


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet"):
        read(opened(tmp_path / "a.parquet"))
    (tmp_path / "a.csv").write_bytes(b"id,text\n1,caf\xe9\n")
    with pytest.raises(DataError, match=r"a\.csv line 2: byte 13 \(0xe9\) is no UTF-8"):
        read(opened(tmp_path / "a.csv"))
    assert read(opened(tmp_path / "a.csv", on_bad_utf8="replace")) == ["caf\ufffd"]


def test_kinds_cannot_be_mixed_and_documents_are_for_text_files(tmp_path: Path) -> None:
    put(tmp_path / "a.txt")
    put(tmp_path / "b.jsonl")
    with pytest.raises(DataError, match="cannot be mixed"):
        opened(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.documents=line is for text files"):
        opened(tmp_path / "b.jsonl", documents="line")


# --- the whole way to batches ---------------------------------------------------------------------------------------------------


def build(path: Path, cache: Path, tokenizer: TokenizerConfig | None = None, batch: Any = None, **settings: Any) -> DataModule:
    config = TextDataConfig(train=str(path), **{"sequence_length": 16, **settings})
    needs = wants(lookahead=1) if batch is None else wants(batch, framed=True)
    return build_data(config, tokenizer or CharTokenizerConfig(), needs=needs, cache_dir=cache)


def test_characters_of_a_text_stay_as_they_are(tmp_path: Path) -> None:
    text = "To be, or not to be:\n\nthat is the question.\n" * 20
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    data = build(tmp_path / "a.txt", tmp_path)
    reader = data.reader("train", wants(lookahead=1))
    ids = [row[valid].tolist() for row, valid in zip(*(lambda b: (b.token_ids, b.valid))(some(reader, range(len(reader)))), strict=True)]
    stream = ids[0] + [token for row in ids[1:] for token in row[1:]]
    assert stream[0] == 2 and stream[-1] == 3
    assert data.tokenizer.decode(stream) == text[: int(len(text) * 0.9)]
    assert reader.n_bytes == int(len(text) * 0.9)
    assert data.reader("validation", wants(lookahead=1)).n_bytes == len(text) - int(len(text) * 0.9)


@pytest.mark.parametrize(("amount", "blank"), [(0, ""), (0, "\n \n\t\n"), (1, ""), (15, ""), (16, "")])
def test_too_little_text_is_refused_with_its_size(tmp_path: Path, amount: int, blank: str) -> None:
    (tmp_path / "a.txt").write_text("x" * amount + blank, encoding="utf-8")
    (tmp_path / "v.txt").write_text("held out", encoding="utf-8")
    for tokenizer in (ByteTokenizerConfig(), CharTokenizerConfig()):

        def first(tokenizer: TokenizerConfig = tokenizer) -> int:
            data = build(tmp_path / "a.txt", tmp_path / "cache", tokenizer, validation=str(tmp_path / "v.txt"))
            return len(data.reader("train", wants(lookahead=1)))

        if amount == 16:
            assert first() == 2  # the end token is in the second
        else:
            with pytest.raises(DataError, match=rf"data\.train: 0 usable sequences: {amount} tokens"):
                first()


def test_a_second_start_reads_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.jsonl", DOCUMENTS * 5)
    first = build(tmp_path / "a.jsonl", tmp_path / "cache")
    rows = some(first.reader("train", wants(lookahead=1)), [0, 1]).token_ids
    monkeypatch.setattr(TextSource, "documents", None)
    again = build(tmp_path / "a.jsonl", tmp_path / "cache")
    assert again.fingerprint == first.fingerprint
    assert some(again.reader("train", wants(lookahead=1)), [0, 1]).token_ids.equal(rows)


def test_a_change_of_text_or_tokenizer_is_prepared_anew(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", DOCUMENTS * 5)
    cache = tmp_path / "cache"
    prints = {build(path, cache).fingerprint, build(path, cache, WordTokenizerConfig()).fingerprint}
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    prints.add(build(path, cache).fingerprint)
    assert len(prints) == 3


def test_sentence_pairs_come_from_the_same_files(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", ["One is here. Two is there. Three is gone. Four came."] * 20)
    data = build(tmp_path / "a.jsonl", tmp_path, WordTokenizerConfig(), PairBatch)
    batch = some(data.reader("train", wants(PairBatch, framed=True)), range(8))
    assert isinstance(batch, PairBatch)
    assert batch.token_ids.shape[1] <= 16


def test_data_that_cannot_serve_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"data=text gives documents of sentences and running text; the objective needs parallel sentences: use data=pairs"
    ):
        build(tmp_path / "nowhere.txt", tmp_path, batch=TranslationBatch)


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", DOCUMENTS * 5)
    with pytest.raises(DataError, match=r"no split 'test': the data has train, validation; name its files with data\.test"):
        build(tmp_path / "a.jsonl", tmp_path).reader("test", wants(lookahead=1))


@pytest.mark.data
def test_tiny_shakespeare_is_split_at_nine_tenths(tmp_path: Path, data_folder: Path) -> None:
    path = data_folder / "tinyshakespeare" / "input.txt"
    text = path.read_text(encoding="utf-8")
    source = opened(path, validation=None)
    assert read(source) == [text[: int(len(text) * 0.9)]]
    assert read(source, "validation") == [text[int(len(text) * 0.9) :]]

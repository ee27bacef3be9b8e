"""Data sets laid out as on the hub, in a local folder; and a hub that cannot be reached."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_data import wants

from transformer_zoo.data.hub_data import HubDataConfig
from transformer_zoo.data.module import build_data
from transformer_zoo.data.tokenizers import WordTokenizerConfig
from transformer_zoo.errors import DataError
from transformer_zoo.records import LabelledBatch, TranslationBatch

PRESETS = Path(__file__).parents[2] / "configs" / "data"


def lay_out(folder: Path, rows: list[dict[str, Any]], splits: tuple[str, ...] = ("train", "validation", "test")) -> Path:
    folder.mkdir()
    for split in splits:
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_rows_are_documents_or_lines_of_them(tmp_path: Path) -> None:
    lines = [{"text": text} for text in ("", " = One = \n", "", "First text.\n", " = = Part = = \n", "More.\n", " = Two = \n", "Second.\n")]
    folder = lay_out(tmp_path / "set", lines)
    source = HubDataConfig(name=str(folder)).open(tmp_path)
    assert sum(piece is None for piece in source.documents("train")) == 6
    source = HubDataConfig(name=str(folder), document_start="^ = [^=].*[^=] = $").open(tmp_path)
    documents = "".join("|" if piece is None else piece for piece in source.documents("train"))
    assert documents == " = One = \nFirst text.\n = = Part = = \nMore.\n| = Two = \nSecond.\n|"
    assert source.splits == ("train", "validation", "test")


def test_nested_pairs_and_labels(tmp_path: Path) -> None:
    rows = [{"translation": {"en": f"word {i}", "de": f"Wort {i}"}, "label": i % 2, "text": f"word {i}"} for i in range(20)]
    folder = lay_out(tmp_path / "set", rows, ("train",))
    missing = {"validation_split": None, "test_split": None}
    config = HubDataConfig(name=str(folder), task="pairs", source_field="translation.en", target_field="translation.de", **missing)
    data = build_data(config, WordTokenizerConfig(), needs=wants(TranslationBatch), cache_dir=tmp_path)
    assert len(data.reader("train", wants(TranslationBatch))) == 18
    config = HubDataConfig(name=str(folder), task="labelled", max_documents=10, **missing)
    data = build_data(config, WordTokenizerConfig(), needs=wants(LabelledBatch, framed=True), cache_dir=tmp_path)
    assert len(data.reader("train", wants(LabelledBatch, framed=True))) == 9
    assert data.label_names == ["0", "1"]


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "set", [{"text": "word " * 10}], ("train",))
    source = HubDataConfig(name=str(folder)).open(tmp_path)
    with pytest.raises(DataError, match="split 'validation'"):
        list(source.documents("validation"))


def test_a_hub_out_of_reach_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"data\.name=some/set: the hub at .* cannot be reached .*use data=text"):
        HubDataConfig(name="some/set").open(tmp_path)
    assert time.monotonic() - start < 5
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        HubDataConfig(name="some/set").open(tmp_path)


def test_what_was_prepared_before_is_used_when_the_hub_is_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = HubDataConfig(name="some/set")
    monkeypatch.setattr("transformer_zoo.data.hub_data.hub_revision", lambda name, revision: "abc123")
    online = config.open(tmp_path).fingerprint
    monkeypatch.undo()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert config.open(tmp_path).fingerprint == online


@pytest.mark.parametrize("name", ["wikitext", "fineweb_edu", "wmt14_en_de", "iwslt", "multi30k", "opus_books"])
def test_presets_are_valid_settings(name: str) -> None:
    text = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    settings = yaml.safe_load(text)
    assert settings.pop("kind") == "hub"
    config = HubDataConfig(**settings)
    assert config.problems() == []
    assert config.provides()


def test_a_bad_pattern_is_a_problem_of_the_settings() -> None:
    assert "is no regular expression" in HubDataConfig(name="a", document_start="(").problems()[0]

import gzip
import json
from pathlib import Path

import pytest

from transformer_zoo.benchmark import preparing
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.errors import DataError


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """Two books in the data's own form."""
    file = tmp_path / "books" / "train.jsonl.gz"
    file.parent.mkdir()
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        for name in ("first", "second"):
            lines.write(json.dumps({"title": name, "text": f"The {name} book has many words in it. " * 400}) + "\n")
    return file


def test_an_excerpt_is_as_long_as_it_says(books: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.jsonl.gz"
    assert preparing.excerpt(books, part, 20_000) == 20_000
    with gzip.open(part, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    assert sum(map(len, texts)) == 20_000
    assert texts[1].startswith("The second book")


@pytest.mark.slow
def test_speed_and_memory_are_measured_in_processes_of_their_own(books: Path) -> None:
    speed, memory = preparing.measure(SuiteSettings(rounds=1, quick=True, data=books.parents[1]))
    assert (speed.peer, speed.target) == ("encode_batch", 0.85)
    assert speed.numbers["ours_seconds"] > 0
    assert memory.target == 1.0
    assert memory.ratio == pytest.approx(1e9 / memory.numbers["ours_bytes"])
    assert 1e8 < memory.numbers["ours_bytes"] < 1e9


def test_books_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"suite prepare reads books/train\.jsonl\.gz"):
        preparing.measure(SuiteSettings(data=tmp_path))

from pathlib import Path

import pytest

from transformer_zoo.benchmark.records import Comparison
from transformer_zoo.benchmark.results import Kept, keep, read, table
from transformer_zoo.errors import DataError

MACHINE = {"machine": {"usable_cores": 2}, "device": {"name": "a processor"}, "threads": 2, "versions": {"torch": "2.13.0"}}


def row(name: str, ratio: float, target: float | None = None) -> Comparison:
    return Comparison(row=name, what="seconds", ours="ours", peer="them", ratio=ratio, low=ratio - 0.5, high=ratio + 0.5, target=target, numbers={})


def kept(suite: str, *rows: Comparison) -> Kept:
    return Kept(suite=suite, settings={"rounds": 7, "quick": False}, machine=MACHINE, rows=list(rows))


def test_suites_gather_in_one_file_and_replace_their_own(tmp_path: Path) -> None:
    path = tmp_path / "new" / "speed.json"
    assert read(path) == {}
    keep(path, kept("step", row("a", 2.0, 1.5)))
    keep(path, kept("memory", row("b", 3.0)))
    keep(path, kept("step", row("c", 1.0)))
    assert read(path) == {"step": kept("step", row("c", 1.0)), "memory": kept("memory", row("b", 3.0))}
    assert [file.name for file in path.parent.iterdir()] == ["speed.json"]


def test_a_file_of_something_else_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    for text in ("[]", "{", '{"suites": {"step": {}}}', '{"suites": {"step": {"settings": {}, "machine": {}, "rows": [{"row": 1}]}}}'):
        path.write_text(text)
        with pytest.raises(
            DataError, match=r"speed.json holds no results of `transformer-zoo benchmark` .*: move it away or name another output=DIR"
        ):
            keep(path, kept("step"))
        assert path.read_text() == text


def test_the_table_says_what_was_met() -> None:
    text = table([kept("step", row("a", 2.0, 1.6), row("b", 1.0, 1.6), row("c", 1.0))])
    assert text.splitlines() == [
        "## step",
        "",
        "a processor, 2 usable cores, 2 threads, torch 2.13.0, 7 rounds",
        "",
        "| what | against | ratio | quartiles | target | |",
        "|---|---|---:|---:|---:|---|",
        "| a | them | 2.00× | 1.50–2.50 | 1.6× | met |",
        "| b | them | 1.00× | 0.50–1.50 | 1.6× | **not met** |",
        "| c | them | 1.00× | 0.50–1.50 |  |  |",
    ]

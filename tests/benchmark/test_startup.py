from pathlib import Path

import pytest

from transformer_zoo.benchmark.startup import against, measure, starts, training_words
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.errors import DataError


@pytest.mark.slow
def test_both_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path))
    help_row, start_row = measure(SuiteSettings(rounds=1, quick=True, threads=1))
    assert (help_row.peer, start_row.peer) == ("0.5 s", "6 s")
    assert 0 < help_row.numbers["ours_seconds"] < start_row.numbers["ours_seconds"]


def test_the_start_that_prepares_does_not_count() -> None:
    assert starts([9.0, 2.0, 3.0].__getitem__, 2) == [2.0, 3.0]


def test_fewer_seconds_than_allowed_are_a_ratio_above_one() -> None:
    row = against(6.0, [3.0, 2.0, 4.0], row="start", what="seconds")
    assert (row.ratio, row.met) == (2.0, True)
    assert row.numbers["ours_seconds"] == 3.0
    assert against(6.0, [8.0], row="start", what="seconds").met is False


def test_without_books_it_says_so() -> None:
    with pytest.raises(DataError, match="name the folder that holds it by data=DIR"):
        training_words(SuiteSettings())

from dataclasses import replace
from pathlib import Path

import pytest

from transformer_zoo.benchmark import quality
from transformer_zoo.benchmark.suites import ON_REQUEST, SuiteSettings
from transformer_zoo.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))


def test_a_run_is_trained_and_its_held_out_figure_compared() -> None:
    settings = SuiteSettings(quick=True)
    one = quality.measure_job(quality.BOOKS, settings)
    assert one.numbers["steps"] == 2
    assert one.ratio == pytest.approx(5.5 / one.numbers["validation/loss"]), "a smaller loss is better"
    better = quality.measure_job(replace(quality.BOOKS, smaller_is_better=False), settings)
    assert better.ratio == pytest.approx(better.numbers["validation/loss"] / 5.5)


@pytest.mark.slow
def test_bleu_is_measured_on_the_test_split() -> None:
    (one,) = quality.measure_translation(SuiteSettings(quick=True))
    assert one.ratio == one.numbers["test/bleu"] / 38


def test_takes_long_and_is_measured_on_request_only() -> None:
    assert {"quality_books", "quality_translation"} <= ON_REQUEST


def test_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="experiment=books_mlm reads the folder books"):
        quality.measure_books(SuiteSettings(data=tmp_path))

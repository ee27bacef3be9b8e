"""The demo, cut to two steps: its table, its samples and its page."""

import re
from pathlib import Path

import pytest

from transformer_zoo.studies.demo import CONTESTANTS, HEADER, aligned, demo

SHORT = ["training.steps=4", "training.log_every=1", "training.evaluate_every=2", "training.batch_size=4"]
SMALL = ["data.n_documents=60", "data.n_held_out=30", "model.d_model=16", "model.d_ff=32", "model.n_heads=2"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("demo")
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFORMER_ZOO_CACHE", str(folder / "cache"))
        page = demo(folder / "out", lines.append, [*SHORT, *SMALL])
    return "\n".join(lines), page


def test_one_table_with_every_model_and_its_best_possible_loss(shown: tuple[str, Path]) -> None:
    lines = shown[0].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(HEADER[0]))
    rows = [re.split(r"\s{2,}", line) for line in lines[start + 2 : start + 2 + len(CONTESTANTS)]]
    assert [row[0] for row in rows] == ["BERT", "GPT", "Transformer"]
    assert all(len(row) == len(HEADER) for row in rows)
    for row in rows:
        assert 0 < float(row[4]) < float(row[3]), "nobody is better than the best possible"
    assert re.fullmatch(r"masks [\d.]+%, next sentence [\d.]+%", rows[0][5])
    assert re.fullmatch(r"BLEU [\d.]+", rows[2][5])


def test_samples_of_all_three(shown: tuple[str, Path]) -> None:
    assert re.search(r"text +.*\[MASK\].*\n +\[MASK\] +\S+ \d+%, .*\n +truth +\w+", shown[0])
    assert "  generated  " in shown[0]
    assert re.search(r"source +.+\n +model.*\n +reference +.+", shown[0])


def test_the_page_holds_all_of_it_and_needs_nothing_else(shown: tuple[str, Path]) -> None:
    text = shown[1].read_text(encoding="utf-8")
    assert shown[1].name == "report.html"
    assert text.count("<svg") == 3 * 3
    assert text.count("best possible</text>") == 3 * 3
    assert "[MASK]" in text
    assert not re.search(r"\b(src|url)\s*[=(]|\bhref=(?!\W?#)|https?:(?!//www.w3.org/2000/svg)", text)
    assert "default-src 'none'" in text
    assert (shown[1].parent / "curves.svg").read_text(encoding="utf-8").startswith("<svg xmlns")


def test_runs_are_kept_as_any_others(shown: tuple[str, Path]) -> None:
    folders = sorted(path.parent.name for path in shown[1].parent.glob("*/summary.json"))
    assert folders == ["bert", "gpt", "transformer"]


def test_tables_are_aligned() -> None:
    lines = aligned([("a", "b", "c", "d", "e", "f", "g"), ("long", "x", "1", "22", "3", "text", "4")])
    assert lines == ["a     b  c   d  e  f     g", "----  -  -  --  -  ----  -", "long  x  1  22  3  text  4"]

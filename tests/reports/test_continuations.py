"""The rest of a text in reports: one table and one picture for all layouts."""

import json
from pathlib import Path

import pytest

from reports.folders import write_run
from transformer_zoo.reports.continuations import continuation_chart, continuation_md, continuation_section, floor, lines
from transformer_zoo.reports.finding import find_runs
from transformer_zoo.reports.groups import Group, group_runs
from transformer_zoo.reports.report import report


def measured(folder: Path, kind: str, seed: int, **told: float) -> None:
    write_run(folder, seed=seed, config={"model": {"kind": kind}})
    (folder / "measured").mkdir()
    metrics = {f"validation/continuation/{name}": value for name, value in told.items()}
    document = {"words": ["evaluation=continuation"], "score": "validation/continuation/bits_per_byte", "metrics": metrics}
    (folder / "measured" / "rest.json").write_text(json.dumps(document))


def groups_of(folder: Path) -> list[Group]:
    return group_runs(find_runs([folder]))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    measured(folder / "a", "decoder", 0, bits_per_byte=0.6, bits_per_byte_floor=0.5)
    measured(folder / "b", "decoder", 1, bits_per_byte=0.8, bits_per_byte_floor=0.5)
    measured(folder / "c", "encoder", 0, bits_per_byte=1.0, bits_per_byte_floor=0.5, pseudo_bits_per_byte=0.4)
    return folder


def test_a_line_per_group_and_the_best_possible(runs: Path) -> None:
    header, rows = lines(groups_of(runs))
    assert header == ["", "bits per byte", "above the best possible", "each token hidden alone"]
    assert rows == [
        ["model.kind=decoder", "0.70 ± 0.14", "0.20 ± 0.14", "–"],
        ["model.kind=encoder", "1.000", "0.5000", "0.4000"],
        ["best possible", "0.5000", "–", "–"],
    ]
    assert "| best possible | 0.5000 | – | – |" in continuation_md(groups_of(runs))
    assert "no probability of the text" in continuation_md(groups_of(runs))


def test_the_floor_is_drawn_where_all_tell_the_same(runs: Path) -> None:
    assert 'class="reference"' in continuation_chart(groups_of(runs))
    measured(runs / "d", "encoder_decoder", 0, bits_per_byte=1.0, bits_per_byte_floor=0.7)
    assert floor(groups_of(runs)) is None
    assert 'class="reference"' not in continuation_chart(groups_of(runs))
    measured(runs.parent / "others" / "e", "decoder", 0, bits_per_byte=1.0)
    assert floor(groups_of(runs.parent / "others")) is None


def test_it_stands_in_reports_of_runs_that_were_measured(runs: Path, tmp_path: Path) -> None:
    assert "The rest of a text" in report([runs], tmp_path / "report.html").read_text()
    assert "The rest of a text" in (tmp_path / "report.md").read_text()
    write_run(tmp_path / "plain" / "a")
    plain = groups_of(tmp_path / "plain")
    assert (continuation_section(plain), continuation_md(plain)) == ("", "")

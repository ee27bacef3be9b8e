"""Loss in longer windows in reports."""

import json
from pathlib import Path

import pytest

from reports.folders import write_run
from transformer_zoo.reports.finding import find_runs
from transformer_zoo.reports.groups import Group, group_runs
from transformer_zoo.reports.lengths import lengths_chart, lengths_md, lengths_section
from transformer_zoo.reports.report import report


def measured(folder: Path, positions: str, seed: int, losses: dict[int, float]) -> None:
    write_run(folder, seed=seed, config={"model": {"kind": "decoder", "positions": positions}})
    (folder / "measured").mkdir()
    metrics = {f"validation/lengths/{multiple}/loss": loss for multiple, loss in losses.items()}
    document = {"words": ["evaluation=lengths"], "score": None, "metrics": metrics | {"validation/lengths/1/perplexity": 9.0}}
    (folder / "measured" / "longer.json").write_text(json.dumps(document))


def groups_of(folder: Path) -> list[Group]:
    return group_runs(find_runs([folder]))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    measured(folder / "a", "rotary", 0, {1: 2.0, 2: 2.2, 4: 3.0})
    measured(folder / "b", "rotary", 1, {1: 2.2, 2: 2.4, 4: 3.4})
    measured(folder / "c", "learned", 0, {1: 2.1})
    return folder


def test_a_column_per_length_and_a_dash_where_there_are_no_positions(runs: Path) -> None:
    told = lengths_md(groups_of(runs))
    assert "| | 1× | 2× | 4× |" in told
    assert "| model.positions=rotary | 2.10 ± 0.14 | 2.30 ± 0.14 | 3.20 ± 0.28 |" in told
    assert "| model.positions=learned | 2.100 | – | – |" in told
    drawing = lengths_chart(groups_of(runs))
    assert drawing.count("<circle") == 4, "three lengths of one, one of the other"
    assert 'class="band' in drawing


def test_it_stands_in_reports_of_runs_that_were_measured(runs: Path, tmp_path: Path) -> None:
    assert "Longer than trained" in report([runs], tmp_path / "report.html").read_text()
    assert "Loss in longer windows" in (tmp_path / "report.md").read_text()
    write_run(tmp_path / "plain" / "a")
    plain = groups_of(tmp_path / "plain")
    assert (lengths_section(plain), lengths_md(plain)) == ("", "")

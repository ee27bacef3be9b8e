"""Ledgers of runs in reports: means over the finished runs of a group, counts as counts."""

from pathlib import Path

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.groups import Group
from transformer_zoo.reports.ledgers import ledger_lines, ledger_md, ledger_section
from transformer_zoo.reports.report import sections


def run(selected: float, tokens: float, status: str = "done") -> RunRecord:
    ledger = {"masking/selected": selected, "masking/predicted_tokens": tokens, "masking/specials_selected": 0}
    return RunRecord(path=Path("x"), status=status, summary={"ledger": ledger, "flops": 5e9})


GROUPS = [
    Group(label="15|%", runs=[run(0.15, 1000), run(0.16, 3000), run(0.9, 5, "failed")]),
    Group(label="40%", runs=[run(0.4, 8000)]),
    Group(label="nothing yet", runs=[RunRecord(path=Path("y"), status="running")]),
]


def test_a_line_for_every_group_with_a_finished_run() -> None:
    names, lines = ledger_lines(GROUPS)
    assert names == ["masking/selected", "masking/predicted_tokens", "masking/specials_selected", "flops"]
    assert lines == [["15|%", "0.1550 ± 0.0071", "2k", "0", "5G"], ["40%", "0.4000", "8k", "0", "5G"]]


def test_reports_show_them_and_nothing_where_nobody_tells() -> None:
    assert "Over the whole training" in ledger_section(GROUPS)
    assert "Over the whole training" in sections(GROUPS)
    assert "| masking/selected | 0.1550 ± 0.0071 | 0.4000 |" in ledger_md(GROUPS)
    assert "15\\|%" in ledger_md(GROUPS)
    silent = [Group(label="clm", runs=[RunRecord(path=Path("z"), status="done", summary={"ledger": {}})])]
    assert ledger_section(silent) == ledger_md(silent) == ""
    older = [Group(label="clm", runs=[RunRecord(path=Path("z"), status="done", summary={})])]
    assert ledger_lines(older) == ([], [])

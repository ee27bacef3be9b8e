"""Parts, settings that differ, what did not finish, and the commands that repeat a report."""

import shlex
from pathlib import Path

import pytest
from fabricated import fabricated_study, sixty, three

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.finding import StudyRecord, find_runs
from transformer_zoo.reports.groups import Group, group_runs
from transformer_zoo.reports.parts import part_bars, parts_section
from transformer_zoo.reports.provenance import (
    commands_section,
    differences,
    differences_section,
    run_command,
    studies_of,
    study_commands,
    unfinished_section,
)
from transformer_zoo.reports.scatter import Bar, bar_chart


@pytest.fixture
def groups(tmp_path: Path) -> list[Group]:
    return group_runs(find_runs([fabricated_study(tmp_path, three(), seeds=2, points=3, failed=2)]), labelled=True)


def runs_of(groups: list[Group]) -> list[RunRecord]:
    return [run for group in groups for run in group.runs]


def test_only_settings_that_differ_are_listed(groups: list[Group]) -> None:
    assert differences(groups) == {"model.d_model": ["64", "72", "80"]}
    assert "<td>model.d_model</td><td>64</td><td>72</td><td>80</td>" in differences_section(groups)
    assert differences_section(groups[:1]) == ""


def test_many_groups_are_lines(tmp_path: Path) -> None:
    groups = group_runs(find_runs([fabricated_study(tmp_path, sixty(), points=2)]), labelled=True)
    text = differences_section(groups)
    assert text.count("<tr>") == 61
    assert "<th scope='col'>objective.mask_ratio</th>" in text


def test_what_did_not_finish_is_listed_with_its_reason(groups: list[Group]) -> None:
    text = unfinished_section(runs_of(groups))
    assert "<td class='word status failed'>failed</td><td class='word long'>loss is nan at step 1000; lower optimizer.lr</td>" in text
    assert "<td class='word status missing'>missing</td><td class='word'>not started</td>" in text
    assert unfinished_section(runs_of(groups[:1])) == ""


def test_commands_can_be_typed_as_they_stand(groups: list[Group]) -> None:
    runs = runs_of(groups)
    (whole,) = study_commands(runs, studies_of(runs))
    assert shlex.split(whole) == ["transformer-zoo", "compare", "seeds=2", "optimizer.lr=1e-3", "title=it's"]
    assert run_command(runs[0]) == "transformer-zoo train model=bert seed=0"
    text = commands_section(groups, studies_of(runs))
    assert text.count('<pre class="command">') == 1 + 5  # one run is not there
    assert "run00-seed0 · 0.1.0 0123456789ab" in text


def test_a_study_that_does_not_tell_is_known_by_what_its_runs_remember() -> None:
    words = ["/somewhere/__main__.py", "ablate", "optimizer.lr=1e-3,1e-2"]
    remembered = [RunRecord(path=Path(name), environment={"command": words}) for name in "ab"]
    assert study_commands(remembered, []) == ["transformer-zoo ablate optimizer.lr=1e-3,1e-2"]
    alone = RunRecord(path=Path("a"), environment={"command": ["x", "train", "model=bert"]})
    assert study_commands([alone], []) == []


def test_parts_by_the_plan_s_costs(groups: list[Group]) -> None:
    bars = part_bars(groups, studies_of(runs_of(groups)))
    assert [bar.label for bar in bars["flops"]] == list(three())
    assert dict(bars["parameters"][0].parts)["attention"] == 33333
    assert dict(bars["flops"][0].parts)["attention"] == pytest.approx(450_000)
    text = parts_section(groups, studies_of(runs_of(groups)))
    assert "FLOPs of one step, forward and backward" in text
    assert text.count("<table>") == 2


def test_parts_by_summaries_where_there_is_no_plan(groups: list[Group]) -> None:
    bars = part_bars(groups, [StudyRecord(path=Path("s"))])
    assert set(bars) == {"parameters"}
    assert bars["parameters"][0].parts == [("embeddings", 50_000), ("all others", 50_000)]


def test_bars_are_as_long_as_their_amounts() -> None:
    text = bar_chart([Bar(label="a", parts=[("x", 1.0), ("y", 3.0)])], name="n", x_label="u")
    widths = [float(part.split('"')[0]) for part in text.split(' width="')[1:]]
    starts = [float(part.split('"')[0]) for part in text.split('<rect class="bar')[1:] for part in [part.split(' x="')[1]]]
    assert widths[1] == pytest.approx(3 * widths[0], abs=0.2)
    assert starts[1] == pytest.approx(starts[0] + widths[0], abs=0.2)

"""What tuning tried, as the page shows it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fabricated import fabricated_study, three

from transformer_zoo.reports.fairness import fairness
from transformer_zoo.reports.finding import StudyRecord, find_runs, read_study
from transformer_zoo.reports.groups import group_runs
from transformer_zoo.reports.overview import summary_section
from transformer_zoo.reports.report import html
from transformer_zoo.reports.trials import SCORE, chosen_values, searches, trials_section
from transformer_zoo.studies.tuning import METRIC, Trial, Tuned

EDGE = "model=bert: optimizer.lr=0.01 is the highest value tried; a better one may lie beyond: widen the range"


def searched(label: str, best: str, *, warnings: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `study.yaml` holds of a contestant: three values, a fourth that was stopped early and a fifth that failed."""
    scores = {"0.001": 2.5, "0.003": 2.25, "0.01": 2.375} | {best: 2.0}
    trials = [Trial(values={"optimizer.lr": value}, status="done", score=score, run="t") for value, score in scores.items()]
    trials.append(Trial(values={"optimizer.lr": "0.0001"}, status="hopeless", score=4.5, reason="hopeless: worse than the median", run="t"))
    trials.append(Trial(values={"optimizer.lr": "0.5"}, status="failed", reason="loss is nan at step 7", run="t"))
    return Tuned(chosen={"optimizer.lr": best}, trials=trials, warnings=list(warnings)).document(label)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = fabricated_study(tmp_path, three(), points=3)
    best = {"model=bert": ("0.01", (EDGE,)), "model=modernbert": ("0.003", ()), "model=gpt2": ("0.001", ())}
    plan = yaml.safe_load((folder / "study.yaml").read_text())
    tuned = [searched(label, value, warnings=warnings) for label, (value, warnings) in best.items()]
    (folder / "study.yaml").write_text(yaml.safe_dump(plan | {"tuned": tuned}))
    return folder


def known(folder: Path) -> StudyRecord:
    record = read_study(folder)
    assert record is not None
    assert record.problem == ""
    return record


def rows(text: str) -> list[list[str]]:
    return [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>(<td.*?)</tr>", text)]


def test_the_score_is_the_one_that_tuning_makes_small() -> None:
    assert SCORE == METRIC


def test_what_was_chosen_stands_with_the_number_of_trials_and_its_warning(study: Path) -> None:
    first, second, third = rows(trials_section([known(study)]))[:3]
    assert first == ["model=bert", "0.01", "2.000", "5", "1", "1", EDGE]
    assert second == ["model=modernbert", "0.003", "2.000", "5", "1", "1", "–"]
    assert third[:2] == ["model=gpt2", "0.001"]


def test_every_trial_is_listed_with_value_score_and_end(study: Path) -> None:
    text = trials_section([known(study)])
    assert "<summary>All 15 trials</summary>" in text
    assert rows(text)[3:8] == [
        ["model=bert", "1", "0.001", "2.500", "done", "–"],
        ["model=bert", "2", "0.003", "2.250", "done", "–"],
        ["model=bert", "3", "0.01", "2.000", "done", "–"],
        ["model=bert", "4", "0.0001", "4.500", "stopped early", "hopeless: worse than the median"],
        ["model=bert", "5", "0.5", "–", "failed", "loss is nan at step 7"],
    ]
    assert re.findall(r"<td class='best'>([^<]*)</td>", text) == ["0.01", "2.000", "0.003", "2.000", "0.001", "2.000"]


def test_the_chosen_value_stands_beside_the_contestant(study: Path) -> None:
    assert chosen_values(known(study)) == {"optimizer.lr": {"model=bert": "0.01", "model=modernbert": "0.003", "model=gpt2": "0.001"}}
    groups = group_runs(find_runs([study]), labelled=True)
    text = html("tuned", groups)
    summary = text[text.index('<section id="summary">') : text.index('<section id="curves">')]
    assert ">optimizer.lr, tuned</th>" in summary
    assert [row[:2] for row in rows(summary)[:3]] == [["model=bert", "0.01"], ["model=modernbert", "0.003"], ["model=gpt2", "0.001"]]
    assert '<a href="#tuning">Tuning</a>' in text


def test_the_head_of_the_report_says_how_it_was_tuned(study: Path) -> None:
    groups = group_runs(find_runs([study]), labelled=True)
    fair = fairness(groups, study=known(study))
    assert "Tuned with as many trials each (5): optimizer.lr." in fair.equal
    assert f"Tuning, {EDGE}." in fair.warnings
    plan = yaml.safe_load((study / "study.yaml").read_text())
    plan["tuned"][1]["trials"].pop()
    (study / "study.yaml").write_text(yaml.safe_dump(plan))
    told = "Not tuned with as many trials each (model=bert: 5; model=modernbert: 4; model=gpt2: 5): optimizer.lr."
    assert told in fairness(groups, study=known(study)).warnings


def test_many_trials_are_folded(study: Path) -> None:
    record = known(study)
    assert "<details open><summary>All 15" in trials_section([record])
    assert "<details><summary>All 45" in trials_section([record] * 3)


def test_without_tuning_nothing_is_said(tmp_path: Path) -> None:
    folder = fabricated_study(tmp_path, three(), points=3)
    groups = group_runs(find_runs([folder]), labelled=True)
    assert trials_section([known(folder)]) == ""
    assert "tun" not in summary_section(groups, chosen_values(known(folder)))
    assert not any("uned" in note for note in fairness(groups, study=known(folder)).notes)
    assert '<section id="tuning">' not in html("plain", groups)


def test_a_plan_whose_trials_were_not_made_yet_says_nothing(tmp_path: Path) -> None:
    folder = fabricated_study(tmp_path, three(), points=3)
    plan = yaml.safe_load((folder / "study.yaml").read_text())
    (folder / "study.yaml").write_text(yaml.safe_dump(plan | {"tuned": [{"keys": {"optimizer.lr": ["0.1", "0.2"]}, "trials": 2}]}))
    assert searches([known(folder)]) == []

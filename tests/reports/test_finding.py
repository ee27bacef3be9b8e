"""Run folders and studies read back: what they say, costs of phases, and damage that never raises."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports.folders import write_run, write_study
from transformer_zoo.experiments.results import read_run
from transformer_zoo.reports.finding import StudyRecord, find_runs, read_study, study_of
from transformer_zoo.reports.groups import group_runs

LOSSES = {"bert": (2.0, 2.1), "gpt2": (1.5,)}


def test_a_study_says_what_it_declared(tmp_path: Path) -> None:
    told = {"matched": ["flops"], "tolerance": 0.01, "baseline": "bert", "command": ["compare", "model=bert,gpt2"]}
    study = write_study(tmp_path, LOSSES, contestants=[{"name": "bert", "parameters": 9}], **told)
    found = read_study(study)
    assert found is not None
    assert (found.kind, found.declared, found.matched, found.tolerance) == ("compare", ("model",), ("flops",), 0.01)
    assert (found.baseline, found.command, found.problem) == ("bert", ("compare", "model=bert,gpt2"), "")
    assert found.contestants == ({"name": "bert", "parameters": 9},)
    assert [run.levels for run in find_runs([study])] == [{"model": "bert"}, {"model": "bert"}, {"model": "gpt2"}]
    assert read_study(tmp_path / "runs") is None


def test_an_older_study_declared_nothing(tmp_path: Path) -> None:
    found = read_study(write_study(tmp_path, LOSSES, declared=None))
    assert found is not None
    assert (found.declared, found.matched, found.baseline, found.tolerance) == (None, (), None, StudyRecord.tolerance)
    nameless = read_study(write_study(tmp_path / "nameless", LOSSES, baseline=""))
    assert nameless is not None
    assert nameless.baseline is None


def test_runs_know_their_study(tmp_path: Path) -> None:
    one, other = write_study(tmp_path / "one", LOSSES), write_study(tmp_path / "other", LOSSES)
    write_run(tmp_path / "alone")
    found = study_of(find_runs([one]))
    assert found is not None
    assert found.path == one.resolve()
    (alone,) = find_runs([one / "runs" / "bert-1"])
    assert (alone.label, alone.levels) == ("bert", {"model": "bert"})
    assert study_of([alone]) is not None
    assert study_of(find_runs([one, other])) is None
    assert study_of(find_runs([one, tmp_path / "alone"])) is None
    assert study_of([]) is None


@pytest.mark.parametrize(
    "text", ["cells: [", "- a list", "cells: 3", "cells: [3]", "cells: [{run: a}]", "declared: 3", "tolerance: [1]", "contestants: 3", "\x00"]
)
def test_a_damaged_plan_is_a_problem_of_its_own(tmp_path: Path, text: str) -> None:
    study = write_study(tmp_path, LOSSES)
    (study / "study.yaml").write_text(text)
    found = read_study(study)
    assert found is not None
    assert found.problem.startswith("study.yaml is damaged: ")
    assert "\n" not in found.problem
    assert len(find_runs([study])) == 3


def test_costs_of_earlier_phases_are_added(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", summary={"ledger": {"masking/predicted_tokens": 300}})
    for number in (1, 2):
        write_run(run / "phases" / str(number), summary={"tokens": 100 * number, "flops": 1e6, "predicted_tokens": 7})
    found = read_run(run)
    assert found.costs == {"steps": 60, "tokens": 2300, "predicted_tokens": 314, "flops": 6e6, "seconds": 6.0}
    assert found.before == {"steps": 40, "tokens": 300, "predicted_tokens": 14, "flops": 2e6, "seconds": 4.0}
    assert found.size("parameters") == 1000
    (group,) = group_runs([found])
    assert group.sizes("tokens") == [2300]
    alone = read_run(write_run(tmp_path / "alone"))
    assert alone.size("predicted_tokens") is None
    assert alone.before["tokens"] == 0


def test_a_cost_that_a_phase_does_not_tell_is_not_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    phase = write_run(run / "phases" / "1")
    (phase / "summary.json").write_text(json.dumps({"tokens": 5}))
    assert read_run(run).size("flops") is None
    (phase / "summary.json").unlink()
    found = read_run(run)
    assert (found.status, found.reason) == ("unreadable", "phases/1 has no summary.json, so that what the run cost is not known")
    (phase / "summary.json").write_text("{")
    assert read_run(run).reason.startswith("phases/1: summary.json is not JSON")


def test_a_start_from_an_own_phase_is_no_difference(tmp_path: Path) -> None:
    runs = []
    for seed in range(2):
        path = tmp_path / str(seed)
        write_run(path, seed=seed, config={"init_from": str(path / "phases" / "1")})
        write_run(path / "phases" / "1", seed=seed)
        runs.append(read_run(path))
    assert runs[0].config["init_from"] == "phases/1"
    assert len(group_runs(runs)) == 1
    assert read_run(write_run(tmp_path / "x", config={"init_from": "elsewhere"})).config["init_from"] == "elsewhere"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(
    parts=st.dictionaries(
        st.sampled_from(["metrics", "ledger", "tokens", "notes", "versions", "code", "attention_kernels", "status", "reason", "score", "words"]),
        JSON,
        max_size=4,
    ),
    bare=JSON,
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_never_raises(tmp_path: Path, parts: dict[str, Any], bare: Any) -> None:
    folder = tmp_path / "run"
    (folder / "measured").mkdir(parents=True, exist_ok=True)
    for name in ("status.json", "summary.json", "environment.json", "measured/probe.json"):
        (folder / name).write_text(json.dumps(parts))
    (folder / "metrics.jsonl").write_text(json.dumps(bare) + "\n" + json.dumps(parts) + "\n")
    (folder / "config.yaml").write_text(yaml.safe_dump(parts))
    run = read_run(folder)
    assert (run.final(), run.kernels, run.ledger, run.costs, run.metrics()) is not None
    for name, text in (("config.yaml", yaml.safe_dump(bare)), ("summary.json", json.dumps(bare))):
        kept = (folder / name).read_text()
        (folder / name).write_text(text)
        told = read_run(folder)
        assert told.status == (str(parts.get("status", "unreadable")) if isinstance(bare, dict) else "unreadable")
        (folder / name).write_text(kept)

"""What reports say of how fair a comparison is, and what they refuse."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.folders import write_run, write_study
from transformer_zoo.errors import ConfigError, RunNotFoundError
from transformer_zoo.reports.fairness import Fairness, fairness
from transformer_zoo.reports.finding import find_runs, read_study
from transformer_zoo.reports.groups import group_runs
from transformer_zoo.reports.report import report

LOSSES = {"bert": (2.0, 2.1), "gpt2": (1.5, 1.6)}


def told(*paths: Path, **more: Any) -> Fairness:
    return fairness(group_runs(find_runs(paths), labelled=(paths[0] / "study.yaml").is_file()), **more)


def of_study(folder: Path) -> Fairness:
    return told(folder, study=read_study(folder))


def change(run: Path, name: str, **values: Any) -> None:
    """Plant a difference in a file of a run."""
    file = run / name
    if name == "config.yaml":
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values))
    else:
        file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_fair_study_says_what_was_equal(tmp_path: Path) -> None:
    fair = of_study(write_study(tmp_path, LOSSES))
    assert (fair.warnings, fair.undeclared) == ([], [])
    assert fair.equal[:3] == ["Equal parameters: 1k.", "Equal training FLOPs: 4M.", "Equal training tokens: 2k."]
    assert "The same data and the same tokenizer (by their fingerprints)." in fair.equal
    assert "The same library versions, device, number of threads, processes throughout." in fair.equal
    assert "Settings that differ, as declared: model.kind." in fair.unequal
    fair.refuse("x")


def test_a_planted_difference_is_found_named_and_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = write_study(tmp_path / "s", LOSSES)
    report([study], tmp_path / "r.html")
    change(study / "runs" / "gpt2-1", "config.yaml", optimizer={"lr": 0.003})
    (one,) = of_study(study).undeclared
    assert str(one) == "optimizer.lr (0.001: bert, gpt2 | 0.003: gpt2)"
    with pytest.raises(
        ConfigError, match=r"^report: the runs of .*s differ in what the study did not declare: optimizer.lr \(0.001: bert, gpt2 \| 0.003"
    ):
        report([study], tmp_path / "r.html")
    assert "- Not declared by the study, and not the same in all runs: optimizer.lr" in (tmp_path / "r.md").read_text(encoding="utf-8")
    assert fairness(group_runs(find_runs([study])), declared=["model", "optimizer.lr"]).undeclared == []
    assert [one.key for one in fairness(group_runs(find_runs([study])), declared=["model", "optim"]).undeclared] == ["optimizer.lr"], (
        "no prefix of a name"
    )


def test_folders_collected_by_hand_list_all_that_differs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", config={"optimizer": {"lr": 0.003}, "model": {"kind": "gpt2"}})
    with caplog.at_level(logging.WARNING):
        report([tmp_path], tmp_path / "r.html")
    listed = "Settings that differ, which no study declared: "
    (line,) = [line for line in (tmp_path / "r.md").read_text(encoding="utf-8").splitlines() if listed in line]
    assert "optimizer.lr (0.001: " in line
    assert 'model.kind ("bert": ' in line
    assert listed in caplog.text


def test_studies_of_several_folders_declare_nothing_together(tmp_path: Path) -> None:
    for model in ("bert", "gpt2"):
        write_study(tmp_path / model, {model: (2.0, 2.1)})
    report([tmp_path / "bert", tmp_path / "gpt2"], tmp_path / "r.html")
    assert "which no study declared: model.kind" in (tmp_path / "r.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fact", "refusal"),
    [
        ({"data_fingerprint": "text-2"}, "data (text-1: bert, gpt2 | text-2: gpt2)"),
        ({"data_fingerprint": "text-2", "tokenizer_fingerprint": "words-2"}, "tokenizer (words-1: bert, gpt2 | words-2: gpt2)"),
        ({"code": {"commit": "b" * 40, "changed": False}}, f"code (1.0 {'a' * 12}: bert, gpt2 | 1.0 {'b' * 12}: gpt2)"),
    ],
)
def test_other_data_or_code_within_a_study_is_refused(tmp_path: Path, fact: dict[str, Any], refusal: str) -> None:
    study = write_study(tmp_path, LOSSES)
    change(study / "runs" / "gpt2-1", "environment.json", **fact)
    assert list(map(str, of_study(study).undeclared)) == [refusal]


def test_data_that_was_meant_to_differ_is_told_not_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path, LOSSES, declared=["model", "data.train"])
    change(study / "runs" / "gpt2-1", "environment.json", data_fingerprint="text-2")
    fair = of_study(study)
    assert fair.undeclared == []
    assert fair.warnings[0] == "Studies of different data: text-1: bert, gpt2 | text-2: gpt2: no metric is compared."


def test_another_tokenizer_does_not_make_other_data(tmp_path: Path) -> None:
    study = write_study(tmp_path, LOSSES, declared=["model", "tokenizer"])
    for seed in range(2):
        change(study / "runs" / f"gpt2-{seed}", "config.yaml", tokenizer={"kind": "bpe"})
        change(study / "runs" / f"gpt2-{seed}", "environment.json", data_fingerprint="text-1-bpe", tokenizer_fingerprint="bpe-1")
    fair = of_study(study)
    assert fair.undeclared == []
    assert not any("different data" in note for note in fair.notes)
    assert "Not the same tokenizer: words-1: bert | bpe-1: gpt2." in fair.unequal
    assert "The same text (by its fingerprint)." not in fair.equal
    for run in (study / "runs").iterdir():
        change(run, "environment.json", text_fingerprint="letters-1")
    assert "The same text (by its fingerprint)." in of_study(study).equal


def test_text_is_known_whatever_reads_it(tmp_path: Path) -> None:
    study = write_study(tmp_path, LOSSES, declared=["model", "tokenizer"])
    for run in (study / "runs").iterdir():
        of_gpt = run.name.startswith("gpt2")
        change(run, "config.yaml", tokenizer={"kind": "bpe" if of_gpt else "word"})
        facts = {"text_fingerprint": f"letters-{1 + of_gpt}", "tokenizer_fingerprint": f"t-{of_gpt}", "data_fingerprint": f"d-{of_gpt}"}
        change(run, "environment.json", **facts)
    assert list(map(str, of_study(study).undeclared)) == ["data (letters-1: bert | letters-2: gpt2)"]


def test_a_tokenizer_of_another_text_is_refused_also_where_models_choose_theirs(tmp_path: Path) -> None:
    study = write_study(tmp_path, LOSSES, declared=["model", "tokenizer", "objective"])
    for seed in range(2):
        change(study / "runs" / f"gpt2-{seed}", "environment.json", data_fingerprint="text-2", tokenizer_fingerprint="words-2")
    fair = of_study(study)
    assert list(map(str, fair.undeclared)) == ["tokenizer (words-1: bert | words-2: gpt2)"]
    told = "Other tokenizers by the same settings, so that other text or another file made them: words-1: bert | words-2: gpt2"
    assert f"{told}: no metric is compared." in fair.warnings
    for run in (study / "runs").iterdir():
        change(run, "environment.json", text_fingerprint="letters-1")
    assert f"{told}: nothing that is counted per token is compared." in of_study(study).warnings
    for seed in range(2):
        change(study / "runs" / f"gpt2-{seed}", "config.yaml", objective={"kind": "span_corruption", "sentinels": 9})
    assert of_study(study).undeclared == [], "an objective that adds tokens of its own makes another tokenizer"


def test_a_tokenizer_of_another_text_in_folders_collected_by_hand_is_warned_of_and_nothing_compared(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", {"bert": (2.0, 2.1, 2.05), "gpt2": (1.5, 1.602, 1.549)})
    (study / "study.yaml").unlink()
    report([study], tmp_path / "r.html")
    assert "**" in (tmp_path / "r.md").read_text(encoding="utf-8")
    for seed in range(3):
        change(study / "runs" / f"gpt2-{seed}", "environment.json", data_fingerprint="text-2", tokenizer_fingerprint="words-2")
    report([study], tmp_path / "r.html")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "no metric is compared" in text
    assert "**" not in text
    assert "Differences to" not in text


def test_other_ways_to_read_the_same_text_are_not_called_other_text(tmp_path: Path) -> None:
    for length in (16, 32):
        write_run(tmp_path / str(length), config={"data": {"sequence_length": length}}, environment={"text_fingerprint": "letters-1"})
    assert "The groups differ in data: the text is the same, read in other ways." in told(tmp_path).unequal
    (tmp_path / "16" / "environment.json").unlink()
    warning = "The groups differ in data (data.sequence_length): they were not tested on the same text, and no metric is compared."
    assert told(tmp_path).warnings[0] == warning


def test_the_terminal_gets_short_lines_and_the_gravest_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"setting_{number}" for number in range(60)]
    for n_documents, study in ((300, "a1"), (4000, "c1")):
        write_study(tmp_path / study, {f"{study}-{'x' * 80}-{number}": (2.0, 2.1) for number in range(12)})
        for number, run in enumerate(sorted((tmp_path / study / "runs").iterdir())):
            settings = dict.fromkeys(names, f"{study} {number}") | {"kind": f"{study}{number // 2}"}
            change(run, "config.yaml", data={"n_documents": n_documents}, model=settings)
            change(run, "environment.json", data_fingerprint=study, tokenizer_fingerprint=study)
            if study == "c1":
                change(run, "summary.json", metrics={"final": {"validation/accuracy": 0.5}})
    with caplog.at_level(logging.WARNING):
        report([tmp_path / "a1", tmp_path / "c1"], tmp_path / "r.html")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "The groups differ in data (data.n_documents): they were not tested on the same text, and no metric is compared."
    assert lines[-1].startswith("62 settings differ, which no study declared (")
    assert lines[-1].endswith(f" and 58 more); all with their values in {tmp_path / 'r.html'}.")
    assert "validation/loss is missing from 24 of 48 runs." in lines
    assert max(map(len, lines)) < 320 + len(str(tmp_path))
    assert "; and 50 more." in (tmp_path / "r.md").read_text(encoding="utf-8")
    caplog.clear()
    for study in ("a1", "c1"):
        for run in (tmp_path / study / "runs").iterdir():
            change(run, "environment.json", text_fingerprint=study)
    with caplog.at_level(logging.WARNING):
        report([tmp_path / "a1", tmp_path / "c1"], tmp_path / "r.html")
    assert caplog.records[0].getMessage() == "Studies of different data: a1 | c1: no metric is compared."


def test_of_many_warnings_the_terminal_gets_the_first(tmp_path: Path) -> None:
    study = write_study(tmp_path, {f"model-{number}": (2.0, 2.1) for number in range(10)})
    for number in range(10):
        change(study / "runs" / f"model-{number}-1", "status.json", status="failed")
    fair = of_study(study)
    assert len(fair.warnings) == 11, "each group lacks a run, and has no spread"
    assert fair.told("r.html") == [*fair.warnings[:8], "3 more warnings are told in r.html."]


def test_a_baseline_that_is_not_there_is_told_from_one_that_has_not_finished(tmp_path: Path) -> None:
    study = write_study(tmp_path, LOSSES, baseline="bert")
    alone = told(study / "runs" / "gpt2-0", study=read_study(study))
    assert "The baseline bert is not among these runs: nothing is compared with it." in alone.warnings
    for seed in range(2):
        change(study / "runs" / f"bert-{seed}", "status.json", status="failed")
    assert "The baseline bert has no finished run: nothing is compared with it." in of_study(study).warnings


def test_machines_and_libraries_are_told(tmp_path: Path) -> None:
    study = write_study(tmp_path, LOSSES)
    change(
        study / "runs" / "gpt2-0",
        "environment.json",
        threads=4,
        device={"type": "cuda", "name": "A GPU"},
        versions={"transformer-zoo": "1.0", "torch": "2.7"},
    )
    notes = of_study(study).unequal
    assert "Not the same number of threads: 2: bert, gpt2 | 4: gpt2." in notes
    assert "Not the same device: A CPU: bert, gpt2 | A GPU: gpt2." in notes
    assert "Not the same library versions: torch 2.6: bert, gpt2 | torch 2.7: gpt2." in notes
    for run in (study / "runs").iterdir():
        change(run, "environment.json", code={"commit": "a" * 40, "changed": True})
    assert any(note.startswith("Files differed from the commit") for note in of_study(study).warnings)
    (study / "runs" / "gpt2-0" / "environment.json").unlink()
    assert "1 of 4 runs do not tell of their data, code and machine (no environment.json)." in of_study(study).warnings


def test_what_was_matched_is_held_to_its_tolerance(tmp_path: Path) -> None:
    study = write_study(tmp_path, LOSSES, matched=["flops"], tolerance=0.02)
    for seed in range(2):
        change(study / "runs" / f"gpt2-{seed}", "summary.json", flops=4.06e6)
    assert "Matched training FLOPs: 4M to 4.06M, within 0.02." in of_study(study).equal
    for seed in range(2):
        change(study / "runs" / f"gpt2-{seed}", "summary.json", flops=4.4e6)
    assert "Matched in training FLOPs, but not equal within 0.02: 4M to 4.4M." in of_study(study).warnings
    change(study / "runs" / "gpt2-0", "summary.json", flops=None)
    change(study / "runs" / "gpt2-1", "summary.json", flops=None)
    assert "Matched in training FLOPs, but not all runs tell how many there were." in of_study(study).warnings


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    study = write_study(tmp_path, LOSSES, baseline="t5")
    change(study / "runs" / "gpt2-1", "summary.json", metrics={"final": {"validation/loss": 1.6, "validation/accuracy": 0.5}})
    change(study / "runs" / "bert-1", "status.json", status="failed")
    warnings = of_study(study).warnings
    assert "validation/accuracy is missing from bert seed 0, gpt2 seed 0." in warnings
    assert "bert: 1 of 2 runs finished, its figures are of these alone." in warnings
    assert "Not the same seeds (bert: 0; gpt2: 0, 1): only runs with the same seed are compared." in warnings
    assert "The baseline t5 is not among these runs: nothing is compared with it." in warnings


def test_repetitions_of_a_seed_are_pointed_out(tmp_path: Path) -> None:
    for name in "ab":
        write_run(tmp_path / name)
    assert any("several runs with seed 0 count as one" in note for note in told(tmp_path).warnings)


def test_no_finished_run_is_one_clear_line(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", status="failed", reason="out of memory")
    with pytest.raises(
        RunNotFoundError, match=r"^report: the run has not finished \(failed\), so there is nothing to compare yet; .*r.html shows how far"
    ):
        report([tmp_path / "runs"], tmp_path / "r.html")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "- No run has finished: there is nothing to compare yet." in text
    assert "failed, out of memory" in text


def test_folders_that_are_no_runs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    with pytest.raises(RunNotFoundError, match="holds no runs"):
        report([tmp_path / "notes"], tmp_path / "r.html")


def test_a_damaged_plan_is_told_and_costs_no_run(tmp_path: Path) -> None:
    study = write_study(tmp_path / "s", LOSSES)
    (study / "study.yaml").write_text("cells: [")
    report([study], tmp_path / "r.html")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "study.yaml is damaged" in text
    assert "2.050 ± 0.071" in text


def test_facts_of_the_wrong_kind_are_not_told(tmp_path: Path) -> None:
    study = write_study(tmp_path, LOSSES)
    change(study / "runs" / "gpt2-1", "environment.json", versions=3, code=[], device=None, attention_kernels={"a": 1})
    assert "Not the same device: A CPU: bert, gpt2 | not told: gpt2." in of_study(study).unequal

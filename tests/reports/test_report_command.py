"""`transformer-zoo report` as typed: what is wrong with folders is one line, and W&B gets the table and the page."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fabricated import fabricated_run, fabricated_study, three
from folders import write_run, write_study

from transformer_zoo.cli.main import main
from transformer_zoo.reports.frames import load_runs


class Told:
    """How a call ended and what it said, line by line."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str | Path) -> None:
        capsys.readouterr()
        self.code = main(["report", *map(str, words)])
        told = capsys.readouterr()
        self.out, self.lines = told.out.splitlines(), told.err.splitlines()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


DAMAGE = {
    "truncated": ("metrics.jsonl", '{"step": 1, "tokens": 2, "seconds": 1, "validation/loss": 3}\n{"step": 2, "tok'),
    "no_json": ("summary.json", "no json"),
    "broken_line": ("metrics.jsonl", '{"step": 1\n{"step": 2}\n'),
    "list": ("config.yaml", "- a\n- b\n"),
    "bytes": ("summary.json", "\x00"),
    "words": (
        "metrics.jsonl",
        '{"step": "x", "validation/loss": 2.0}\n{"step": 2, "validation/loss": "a"}\n[1]\n{"tokens": 5, "validation/loss": 1}\n',
    ),
    "nulls": ("metrics.jsonl", '{"step": 1, "tokens": null, "seconds": 1, "validation/loss": 2.0}\n{"step": 2, "validation/loss": null}\n'),
    "wrong_kinds": ("summary.json", '{"parameters": "many", "flops": [1], "tokens": {}, "notes": 3, "ledger": {"a": 1}, "metrics": [1]}'),
    "strange_seed": ("config.yaml", "seed: [1, 2]\nmodel: {kind: bert}\n"),
    "other_version": ("config.yaml", "seed: 9\nmodel: {kind: bert, new: {key: [1, 2]}, gone: null}\nodd: {}\n"),
}
UNREADABLE = ("no_json", "broken_line", "list", "bytes")


def damaged(folder: Path, name: str) -> Path:
    write_run(folder, seed=3)
    file, content = DAMAGE[name]
    (folder / file).write_text(content)
    return folder


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_run_beside_good_ones_is_told_and_costs_nothing(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        write_run(here / f"runs/{seed}", seed=seed)
    damaged(here / "runs" / name, name)
    told = Told(capsys, "runs")
    assert (told.code, told.out) == (0, ["report.html"])
    frame = load_runs("runs")
    assert list(frame["run"]) == ["0", "1", name]
    assert frame["status"][2] == ("unreadable" if name in UNREADABLE else "done")
    listed = "Not finished, and not in the tables" in Path("report.html").read_text(encoding="utf-8")
    assert listed == (name in UNREADABLE)


def test_a_mixture_of_all_is_reported_with_what_became_of_each(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        write_run(here / f"runs/bert{seed}", seed=seed)
        write_run(here / f"runs/gpt{seed}", seed=seed, config={"model": {"kind": "gpt2"}})
    write_run(here / "runs/failed", seed=2, status="failed", reason="loss is nan at step 12")
    write_run(here / "runs/running", seed=3, status="running")
    (write_run(here / "runs/no_config", seed=4) / "config.yaml").unlink()
    for name in DAMAGE:
        damaged(here / "runs" / name, name)
    told = Told(capsys, "runs")
    assert (told.code, told.out) == (0, ["report.html"])
    text = Path("report.md").read_text(encoding="utf-8")
    assert "- `failed` (" in text
    assert ": failed, loss is nan at step 12\n" in text
    assert ": running\n" in text
    assert "unreadable, summary.json is not JSON" in text
    assert "unreadable, metrics.jsonl, line 1 is not JSON" in text


def test_values_that_are_not_finite_cost_no_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        run = write_run(here / f"runs/{seed}", seed=seed, metrics={"validation/loss": 2.0, "validation/perplexity": float("inf")})
        lines = [{"step": step, "tokens": step, "seconds": step, "validation/perplexity": 9.0 / step if step else float("inf")} for step in (0, 1, 2)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert Told(capsys, "runs").code == 0
    assert "| inf |" in Path("report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [("empty",), ("notes",), ("good", "notes"), ("nowhere",), ("notes/a.txt",)])
def test_what_is_no_run_is_one_line(words: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(here / "good")
    (here / "empty").mkdir()
    (here / "notes" / "deep").mkdir(parents=True)
    (here / "notes" / "a.txt").write_text("x")
    told = Told(capsys, *words)
    assert (told.code, len(told.lines), told.out) == (2, 1, [])
    assert f"'{words[-1]}'" in told.lines[0]
    assert not Path("report.html").exists()


def test_no_finished_run_is_one_line_behind_the_page(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(here / "runs/a", status="failed", reason="out of memory")
    write_run(here / "runs/b", seed=1, status="running")
    write_run(here / "runs/c", seed=2, status="failed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    told = Told(capsys, "runs", "--publish", "wandb")
    line = "report: none of the 3 runs has finished (2 failed, 1 running), so there is nothing to compare yet; report.html shows how far they came"
    assert (told.code, told.out, told.lines) == (2, [], [f"transformer-zoo: {line}"])
    assert "out of memory" in Path("report.html").read_text(encoding="utf-8")
    assert not Path("wandb").exists()


@pytest.mark.parametrize("output", ["run/config.yaml", "run/config.yaml/r.html", "folder.html"])
def test_a_place_that_cannot_be_written_is_one_line(output: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(here / "run")
    (here / "folder.html").mkdir()
    before = (here / "run" / "config.yaml").read_text()
    told = Told(capsys, "run", "--output", output)
    assert (told.code, len(told.lines)) == (2, 1)
    assert told.lines[0].startswith(f"transformer-zoo: report: '{output}")
    assert told.lines[0].endswith("; name another place with --output")
    assert (here / "run" / "config.yaml").read_text() == before


def test_a_page_is_no_file_of_another_kind(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(here / "run")
    told = Told(capsys, "run", "--output", "foo.pdf")
    line = "report: 'foo.pdf' is neither a folder nor a page, whose name ends in .html; name another place with --output"
    assert (told.code, told.lines) == (2, [f"transformer-zoo: {line}"])
    assert sorted(path.name for path in here.iterdir()) == ["run"]
    (here / "v1.2").mkdir()
    assert Told(capsys, "run", "--output", "v1.2").out == ["v1.2/report.html"]
    assert Told(capsys, "run", "--output", "new").out == ["new/report.html"]
    found = {path.name for path in Path("new").iterdir()}
    assert {"runs.csv", "summary.csv", "summary.md", "summary.tex", "comparisons.tex", "report.html"} <= found


def test_the_same_folder_twice_counts_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_study(here / "study", {"bert": [2.0, 2.1], "gpt2": [2.2, 2.3]})
    assert Told(capsys, "study", "study", "study/runs/bert-0", "./study/../study").code == 0
    assert len(Path("report.csv").read_text().splitlines()) == 1 + 4


def test_studies_of_different_data_are_told_apart_and_not_compared(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, losses in (("one", [2.0, 2.1]), ("two", [3.0, 3.1])):
        write_study(here / name, {"bert": losses, "gpt2": losses})
    for run in (here / "two" / "runs").iterdir():
        facts = json.loads((run / "environment.json").read_text())
        (run / "environment.json").write_text(json.dumps(facts | {"data_fingerprint": "another-text"}))
    told = Told(capsys, "one", "two")
    assert told.code == 0
    assert [line for line in told.lines if line.startswith("Studies of different data: ") and line.endswith(": no metric is compared.")]
    frame = load_runs(["one", "two"])
    assert sorted(set(frame["group"])) == [f"model.kind={model} (data {text})" for model in ("bert", "gpt2") for text in ("another-", "text-1")]
    assert "2.050 ± 0.071" in Path("report.md").read_text(encoding="utf-8"), "text of one study is no repetition of the other's"


def test_a_metric_that_some_run_lacks_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(here / "runs/a")
    write_run(here / "runs/b", config={"model": {"kind": "gpt2"}}, metrics={"validation/loss": 2.0, "validation/bleu": 30.0})
    told = Told(capsys, "runs")
    assert (told.code, told.lines[0]) == (0, "validation/bleu is missing from model.kind=bert seed 0.")


@pytest.mark.parametrize(
    "damage",
    [
        {"contestants": [{"name": "bert", "costs": {"parts": [{"name": "a"}]}}]},
        {"contestants": [{"costs": 5}]},
        {"tuned": 5},
        {"tuned": [{"trials": [1, {"values": 3}], "warnings": 3, "chosen": [1]}]},
        {"cells": [1, 2]},
        {"declared": "model"},
    ],
)
def test_a_plan_of_the_wrong_kind_costs_no_report(damage: dict[str, Any], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(here / "study", {"bert": [2.0, 2.1], "gpt2": [2.2, 2.3]})
    plan = yaml.safe_load((study / "study.yaml").read_text())
    (study / "study.yaml").write_text(yaml.safe_dump(plan | damage))
    assert Told(capsys, "study").code == 0
    assert len(Path("report.csv").read_text().splitlines()) == 1 + 4


# --- W&B ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_wandb_gets_the_table_and_the_page(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    fabricated_study(here / "study", three(), seeds=2, points=3)
    told = Told(capsys, "study", "--output", "out/report.html", "--publish", "wandb")
    assert (told.code, told.out) == (0, ["out/report.html"])
    (kept,) = (here / "out" / "wandb").glob("offline-run-*")
    (table,) = kept.glob("files/media/table/runs_*.table.json")
    logged = json.loads(table.read_text())
    frame = load_runs("study")
    assert logged["columns"] == list(frame.columns)
    label, loss = (logged["columns"].index(name) for name in ("group", "validation/loss"))
    assert [row[label] for row in logged["data"]] == [name for name in three() for _ in range(2)]
    assert [row[loss] for row in logged["data"]] == pytest.approx(list(frame["validation/loss"]))
    (page,) = kept.glob("files/media/html/report_*.html")
    assert page.read_text(encoding="utf-8") == Path("out/report.html").read_text(encoding="utf-8")


def test_where_wandb_is_not_set_up_one_line_says_so_behind_the_page(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(here / "none"))
    fabricated_run(here / "run", {}, number=0, seed=0, size=10, points=3)
    told = Told(capsys, "run", "--publish", "wandb")
    assert (told.code, told.out) == (2, ["report.html"])
    assert told.lines[-1] == (
        "transformer-zoo: --publish wandb: W&B is not set up here: set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline; "
        "the report is in report.html"
    )


def test_another_place_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fabricated_run(here / "run", {}, number=0, seed=0, size=10, points=3)
    told = Told(capsys, "run", "--publish", "mlflow")
    assert (told.code, told.lines[-1]) == (2, "transformer-zoo: --publish mlflow: expected wandb")

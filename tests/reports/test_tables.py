"""The tables of runs and groups: tidy rows, intervals, what is marked as best, and what is missing or failed."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from reports.folders import write_run, write_study
from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.finding import find_runs
from transformer_zoo.reports.groups import Group, group_runs
from transformer_zoo.reports.readings import Reading
from transformer_zoo.reports.rows import Row, best_rows, comparable, summarise, verdict_notes, verdicts
from transformer_zoo.reports.statistics import ALPHA
from transformer_zoo.reports.tables import cell_text, runs_csv, summary_csv, summary_md, summary_tex

FAR = {"bert": (2.0, 2.1, 2.05), "gpt2": (1.5, 1.602, 1.549), "t5": (1.8, 1.903, 1.851)}
NEAR = {"bert": (2.0, 2.1, 2.05), "gpt2": (1.9, 2.15, 2.04)}


def rows_of(folder: Path) -> list[Row]:
    return summarise(group_runs(find_runs([folder]), labelled=True))


def test_only_what_is_better_than_all_others_beyond_chance_is_marked(tmp_path: Path) -> None:
    far = rows_of(write_study(tmp_path / "far", FAR))
    assert best_rows(far) == {"validation/loss": 1}
    assert "**1.550 ± 0.051**" in summary_md(far)
    assert verdict_notes(far) == []
    near = rows_of(write_study(tmp_path / "near", NEAR))
    assert best_rows(near) == {}
    assert "**" not in summary_md(near)
    assert "- validation/loss: no difference beyond chance between gpt2 (best mean) and bert." in summary_md(near)
    mixed = rows_of(write_study(tmp_path / "mixed", FAR | {"xlnet": (1.5, 1.6, 1.56)}))
    assert best_rows(mixed) == {}, "one that is as good is enough"
    assert verdicts(mixed)["validation/loss"].open == (3,)


def test_best_follows_the_metric_s_own_direction(tmp_path: Path) -> None:
    accuracies = {"bert": (0.5, 0.501, 0.504), "gpt2": (0.7, 0.701, 0.702)}
    for model, values in accuracies.items():
        for seed, value in enumerate(values):
            write_run(tmp_path / f"{model}{seed}", seed=seed, config={"model": {"kind": model}}, metrics={"validation/accuracy": value})
    rows = summarise(group_runs(find_runs([tmp_path])))
    assert {rows[row].label for row in best_rows(rows).values()} == {"model.kind=gpt2"}
    assert "validation/accuracy ↑" in summary_md(rows)


def test_with_no_spread_nothing_is_marked(tmp_path: Path) -> None:
    rows = rows_of(write_study(tmp_path, {"bert": (2.0,), "gpt2": (1.0,)}))
    text = summary_md(rows)
    assert "**" not in text
    assert "n=1, no spread" in text
    assert "nothing can be said of chance between gpt2 (best mean) and bert: they share fewer than two seeds" in text


def test_equal_groups_are_seldom_marked() -> None:
    """The best of five looks better than the rest; that it is marked stays below the nominal rate."""
    draws, marked = np.random.default_rng(0), 0
    for values in draws.normal(0, 0.1, size=(200, 5, 3)) + draws.normal(2, 1, size=(200, 1, 3)):
        seeds = [dict(enumerate(row.tolist())) for row in values]
        rows = [
            Row(label=str(n), finished=3, planned=3, sizes={}, cells={"x": (float(np.mean(list(one.values()))), 0.1)}, by_seed={"x": one})
            for n, one in enumerate(seeds)
        ]
        marked += bool(best_rows(rows))
    assert marked / 200 <= ALPHA


def test_repeated_seeds_are_one_observation(tmp_path: Path) -> None:
    for name, loss in (("a", 2.0), ("b", 2.0), ("c", 2.2)):
        write_run(tmp_path / name, seed=0 if name < "c" else 1, metrics={"validation/loss": loss})
    (row,) = summarise(group_runs(find_runs([tmp_path])))
    assert row.estimates["validation/loss"].n == 2
    assert row.cells["validation/loss"][0] == pytest.approx(2.1)


def test_nothing_is_called_best_where_tasks_tokenizers_or_texts_differ() -> None:
    cells: dict[str, tuple[float, float | None]] = dict.fromkeys(("validation/loss", "validation/bits_per_byte", "validation/bleu"), (1.0, None))

    def compared(*rows: dict[str, object]) -> set[str]:
        made = [Row(label="x", finished=1, planned=1, sizes={}, cells=cells, **row) for row in rows]  # type: ignore[arg-type]
        return {name.split("/")[1] for name in cells if comparable(name, made)}

    assert compared({"task": "mlm"}, {"task": "mlm"}) == {"loss", "bits_per_byte", "bleu"}
    assert compared({"task": "mlm"}, {"task": "clm"}) == {"bleu"}
    asked = [{"task": task, "measured": {"validation/loss": words}} for task, words in (("mlm", "probe"), ("clm", "other probe"))]
    assert compared(*asked) == {"bleu"}, "measured in other ways"
    assert compared({"task": "mlm", "tokens": "bpe"}, {"task": "mlm", "tokens": "word"}) == {"bits_per_byte", "bleu"}
    assert compared({"data": "a"}, {"data": "b"}) == {"loss", "bits_per_byte"}, "texts are compared on the same text"

    def read(*readings: Reading, **more: str) -> dict[str, object]:
        return {"readings": frozenset(readings), **more}

    assert compared(read(Reading(data="one", tokenizer="t")), read(Reading(data="two", tokenizer="t"))) == set()
    assert compared(read(Reading(data="one", tokenizer="t")), read(Reading(data="two", tokenizer="u"))) == set(), "by the same settings"
    assert compared(read(Reading(data="one", tokenizer="t"), Reading(data="two", tokenizer="t")), read()) == set(), "within one group"
    other = read(Reading(asked="bpe", data="two", tokenizer="u"), tokens="bpe")
    assert compared(read(Reading(data="one", tokenizer="t")), other) == {"bits_per_byte", "bleu"}
    assert compared(read(Reading(text="a", tokenizer="t")), read(Reading(text="a", tokenizer="u"))) == {"bits_per_byte", "bleu"}
    assert compared(read(Reading(asked="x", text="a")), read(Reading(text="b"))) == set()
    assert compared(read(Reading(text="a"), data="a"), read(Reading(text="a"), data="b")) == {"loss", "bits_per_byte", "bleu"}


def test_what_is_measured_after_the_end_in_the_same_way_is_compared_between_tasks() -> None:
    def rows(words: str, name: str = "validation/sst2_accuracy", tokens: tuple[str, str] = ("a", "a")) -> bool:
        made = [
            Row(label="x", finished=1, planned=1, sizes={}, cells={}, task=task, tokens=token, measured={name: words})
            for task, token in zip(("mlm", "clm"), tokens, strict=True)
        ]
        return comparable(name, made)

    assert rows("['evaluation=probe']")
    assert not rows("['evaluation=loss']"), "every run is asked for its own task"
    assert rows("['evaluation=pseudo_perplexity']", "validation/text_bits_per_byte", ("a", "b"))
    assert not rows("['evaluation=pseudo_perplexity']", "validation/text_perplexity", ("a", "b"))


def test_runs_csv_is_tidy(tmp_path: Path) -> None:
    study = write_study(tmp_path, {"bert": (2.0, 2.1), "gpt2": (1.5,)})
    write_run(study / "runs" / "broken", status="failed", reason="loss is nan")
    plan = (study / "study.yaml").read_text()
    (study / "study.yaml").write_text(plan.replace("run: runs/gpt2-0", "run: runs/broken"))
    runs = find_runs([study])
    rows = list(csv.DictReader(io.StringIO(runs_csv(runs, group_runs(runs, labelled=True)))))
    assert len(rows) == 3
    first, last = rows[0], rows[-1]
    assert {key: first[key] for key in ("run", "group", "seed", "status", "model", "code")} == {
        "run": "bert-0",
        "group": "bert",
        "seed": "0",
        "status": "done",
        "model": "bert",
        "code": f"1.0 {'a' * 12}",
    }
    assert (float(first["parameters"]), float(first["flops"]), float(first["tokens_per_second"]), first["predicted_tokens"]) == (1000, 4e6, 1000, "")
    assert (first["validation/loss"], first["best validation/loss"]) == ("2.0", "2.0")
    assert (last["status"], last["reason"], last["validation/loss"], last["parameters"]) == ("failed", "loss is nan", "", "")


def test_runs_csv_has_every_column_once_and_the_best_only_of_what_can_be_better(tmp_path: Path) -> None:
    ledger = {"masking/selected": 0.15}
    run = write_run(tmp_path / "a", summary={"ledger": ledger})
    line = {"step": 1, "tokens": 9, "seconds": 1.0, "train/loss": 3.0, "lr": 0.1, "grad_norm": 2.0, "tokens_per_second": 9.0, "mask_ratio": 0.15}
    (run / "metrics.jsonl").write_text(json.dumps(line | ledger) + "\n")
    runs = find_runs([run])
    columns = next(csv.reader(io.StringIO(runs_csv(runs, group_runs(runs)))))
    assert len(columns) == len(set(columns))
    assert columns[columns.index("peak_memory_bytes") + 1 :] == [
        *("train/loss", "masking/selected", "validation/loss"),
        *("best train/loss", "best validation/loss"),
    ]


def test_summary_has_intervals_in_every_format(tmp_path: Path) -> None:
    rows = rows_of(write_study(tmp_path, FAR))
    (bert, *_) = csv.DictReader(io.StringIO(summary_csv(rows)))
    low, high = float(bert["validation/loss low"]), float(bert["validation/loss high"])
    assert (low, high) == (pytest.approx(1.92579, abs=1e-4), pytest.approx(2.17421, abs=1e-4))
    assert bert["validation/loss n"] == "3"
    assert "| bert | 3 | 1k | 2.050 ± 0.050 | 1.93 to 2.17 | 1k |" in summary_md(rows)
    latex = summary_tex(rows)
    assert r"bert & 3 & 1k & 2.050 $\pm$ 0.050 & 1.93 to 2.17 \\" in latex
    assert r"\textbf{1.550 $\pm$ 0.051}" in latex
    assert {line.count("&") for line in latex.splitlines() if line.endswith(r"\\")} == {4}


def test_latex_escapes() -> None:
    text = summary_tex([Row(label="a_b & 10% \\x", finished=1, planned=1, sizes={}, cells={"validation/mlm_accuracy": (0.5, None)})])
    assert r"validation/mlm\_accuracy $\uparrow$" in text
    assert r"a\_b \& 10\% \textbackslash{}x &" in text


def test_failed_and_missing_cells_are_shown_as_such(tmp_path: Path) -> None:
    def run(status: str, **final: float) -> RunRecord:
        return RunRecord(
            path=tmp_path / status,
            status=status,
            config={"seed": 0},
            summary={"metrics": {"final": {f"validation/{k}": v for k, v in final.items()}}},
        )

    groups = [
        Group(label="here", runs=[run("done", loss=1.0)]),
        Group(label="failed", runs=[run("failed"), run("missing")]),
        Group(label="other metric", runs=[run("done", accuracy=0.5)]),
    ]
    rows = summarise(groups)
    assert [cell_text(row, "validation/loss") for row in rows] == ["1.000", "failed, missing", "not measured"]
    assert "| failed | 0 of 2 | – | failed, missing | – |" in summary_md(rows)
    assert "here,1,1,," in summary_csv(rows)
    assert 'failed,0,2,"failed, missing"' in summary_csv(rows)

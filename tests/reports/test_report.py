"""Reports from run folders alone: tables, spread, failed runs, curves, one file."""

import csv
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from transformer_zoo.errors import RunNotFoundError
from transformer_zoo.experiments.results import read_run
from transformer_zoo.reports.curves import mean_curve
from transformer_zoo.reports.finding import find_runs
from transformer_zoo.reports.groups import group_runs
from transformer_zoo.reports.report import report, study_files
from transformer_zoo.reports.rows import summarise
from transformer_zoo.reports.svg import Series, figure, line_chart, log_ticks, nice_ticks, short_number
from transformer_zoo.reports.tables import spread_text


def write_run(folder: Path, *, model: str = "bert", seed: int = 0, status: str = "done", reason: str | None = None, loss: float = 2.0) -> Path:
    folder.mkdir(parents=True)
    config = {"seed": seed, "run_dir": str(folder), "model": {"kind": model, "d_model": 64}, "objective": {"kind": "mlm"}, "tracker": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "overrides.txt").write_text(f"model={model}\nseed={seed}\ntraining.steps=20\n")
    lines = [
        {"step": 10, "tokens": 1000, "seconds": 1.0, "train/loss": loss + 1},
        {"step": 10, "tokens": 1000, "seconds": 1.1, "validation/loss": loss + 0.5, "validation/mlm_accuracy": 0.1},
        {"step": 20, "tokens": 2000, "seconds": 2.0, "train/loss": loss + 0.2},
        {"step": 20, "tokens": 2000, "seconds": 2.1, "validation/loss": loss, "validation/mlm_accuracy": 0.5},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "status.json").write_text(json.dumps({"status": status, "reason": reason}))
    if status == "done":
        summary = {"status": status, "parameters": 1234, "steps": 20, "tokens": 2000, "seconds": 2.1, "tokens_per_second": 950.0}
        (folder / "summary.json").write_text(json.dumps({**summary, "metrics": {"final": {"validation/loss": loss}}}))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    write_run(folder / "a", seed=0, loss=2.0)
    write_run(folder / "b", seed=1, loss=2.2)
    write_run(folder / "c", model="albert", seed=0, loss=1.9)
    write_run(folder / "d", model="albert", seed=1, status="failed", reason="loss is nan at step 12")
    return folder


def test_mean_and_sample_deviation_over_seeds(runs: Path) -> None:
    bert, albert = summarise(group_runs(find_runs([runs])))
    mean, deviation = bert.cells["validation/loss"]
    assert (bert.label, bert.finished, mean) == ("model=bert", 2, pytest.approx(2.1))
    assert deviation == pytest.approx(math.sqrt(0.02))  # divided by n − 1
    assert (albert.finished, albert.planned, albert.cells["validation/loss"]) == (1, 2, (1.9, None))


def test_report_writes_one_html_file_with_csv_and_markdown_beside_it(runs: Path, tmp_path: Path) -> None:
    written = report([runs], tmp_path / "out" / "report.html", title="Two models & more")
    text = written.read_text(encoding="utf-8")
    assert written == tmp_path / "out" / "report.html"
    assert "Two models &amp; more" in text
    assert "2.10 ± 0.14" in text
    assert "1 of 2, no spread" in text
    assert "loss is nan at step 12" in text
    assert text.count("<svg") >= 3 * 3
    outside = re.compile(r"""(src|href)\s*=\s*["']?(?!["']?#)|url\s*\(|@import|https?:""")
    assert not outside.search(text.replace('"http://www.w3.org/2000/svg"', "")), "the page asks for something outside itself"
    rows = list(csv.DictReader((tmp_path / "out" / "report.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["run"], row["model.kind"], row["seed"], row["status"]) for row in rows][-1] == ("d", "albert", "1", "failed")
    assert float(rows[0]["best validation/mlm_accuracy"]) == 0.5
    assert "- `d` (model=albert): failed, loss is nan at step 12" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_the_page_is_well_formed(runs: Path, tmp_path: Path) -> None:
    write_run(runs / "e", model="<b>&'\"")
    stack: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in {"meta", "input"}:
                stack.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert stack.pop() == tag

    text = report([runs], tmp_path).read_text(encoding="utf-8")
    Checker().feed(text)
    assert stack == []
    assert "<b>&'" not in text


def test_a_single_run_is_reported_without_spread(runs: Path, tmp_path: Path) -> None:
    report([runs / "a"], tmp_path / "one.html")
    text = (tmp_path / "one.md").read_text(encoding="utf-8")
    assert "| model=bert seed=0 |" not in text
    assert "n=1, no spread" in text
    assert "±" not in text.splitlines()[4]


def test_groups_that_differ_in_tokens_or_objective_are_pointed_out(runs: Path, tmp_path: Path) -> None:
    summary = json.loads((runs / "c" / "summary.json").read_text())
    (runs / "c" / "summary.json").write_text(json.dumps(summary | {"tokens": 4000}))
    config = yaml.safe_load((runs / "c" / "config.yaml").read_text())
    (runs / "c" / "config.yaml").write_text(yaml.safe_dump(config | {"objective": {"kind": "clm"}}))
    report([runs], tmp_path / "r.html")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "Not equal: training tokens, 2k to 4k." in text
    assert "Equal parameters: 1.23k." in text
    assert "differ in objective: their losses measure different things" in text


def test_damage_is_listed_not_raised(runs: Path, tmp_path: Path) -> None:
    (runs / "a" / "summary.json").write_text("{")
    with (runs / "b" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "tok')  # the writer was killed
    assert read_run(runs / "b").status == "done"
    assert read_run(runs / "a").status == "unreadable"
    report([runs], tmp_path / "r.html")
    assert "unreadable, summary.json is not JSON" in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_nothing_to_report_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"there is no run, study or folder '.*nowhere'"):
        report([tmp_path / "nowhere"], tmp_path / "r.html")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunNotFoundError, match=r"'.*empty' holds no runs \(a run has status.json"):
        report([tmp_path / "empty"], tmp_path / "r.html")


def test_a_study_lists_planned_runs_that_are_missing(runs: Path) -> None:
    cells = [{"label": f"model={m}", "seed": s, "run": f"{r}"} for m, s, r in (("bert", 0, "a"), ("bert", 1, "b"), ("t5", 0, "z"))]
    (runs / "study.yaml").write_text(yaml.safe_dump({"cells": cells}))
    study_files(runs, "A study")
    assert {path.name for path in runs.iterdir() if path.is_file()} == {
        *("study.yaml", "runs.csv", "summary.csv", "summary.md", "summary.tex", "report.html"),
        *("comparisons.csv", "comparisons.md", "comparisons.tex"),
        *("curves-train-loss.svg", "curves-validation-loss.svg", "curves-validation-mlm_accuracy.svg"),
    }
    assert "- `z` (model=t5): missing, not started" in (runs / "summary.md").read_text(encoding="utf-8")


def test_curves_are_averaged_at_common_steps(runs: Path) -> None:
    pair = [read_run(runs / name) for name in "ab"]
    pair[1].history.append({"step": 30, "tokens": 3000, "seconds": 3.0, "validation/loss": 9.0})
    points, spread = mean_curve(pair, "validation/loss", "tokens")
    assert points == [(1000, pytest.approx(2.6)), (2000, pytest.approx(2.1))]
    assert spread == [pytest.approx(math.sqrt(0.02))] * 2
    assert mean_curve(pair[:1], "validation/loss", "steps") == ([(10, 2.5), (20, 2.0)], None)


def test_a_curve_with_nan_is_broken_not_dropped() -> None:
    chart = line_chart([Series(label="x", points=[(0, 1), (1, math.nan), (2, 3), (3, 2)], colour=0)], name="n", x_label="steps")
    path = re.search(r'class="line c0" d="([^"]*)"', chart)
    assert path is not None
    assert (path[1].count("M"), path[1].count("L")) == (2, 1)
    assert "nan" not in chart


def test_a_figure_is_one_svg_file_with_its_style(tmp_path: Path) -> None:
    chart = line_chart([Series(label="x", points=[(0, 1), (1, 2)], colour=0)], name="n", x_label="steps", reference=("best <possible>", 0.5))
    text = figure([("A & B", chart), ("C", chart)])
    tree = ElementTree.fromstring(text)
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(tree.findall("{http://www.w3.org/2000/svg}svg")) == 2
    assert text.count("best &lt;possible&gt;") == 2
    assert "prefers-color-scheme:dark" in text


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_round_and_inside(low: float, width: float) -> None:
    high = low + width
    if high - low < 1e-6 * abs(low):
        return  # finer than the labels of an axis can tell
    ticks = nice_ticks(low, high)
    slack = (high - low) * 1e-6
    assert 1 <= len(ticks) <= 9
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.25, "0.25"), (1200, "1.2k"), (3_500_000, "3.5M"), (-2e9, "-2G")])
def test_short_numbers(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [(2.31449, 0.0123, "2.314 ± 0.012"), (35.21, 1.2, "35.2 ± 1.2"), (0.5, None, "0.5000"), (math.nan, None, "–"), (1234.5, 230.0, "1234 ± 230")],
)
def test_digits_follow_the_spread(mean: float, deviation: float | None, text: str) -> None:
    assert spread_text(mean, deviation) == text


def test_a_comparison_across_kernels_is_pointed_out(runs: Path, tmp_path: Path) -> None:
    def told(**kernels: str) -> str:
        for name, kernel in kernels.items():
            ran = [{"attention": "stack: self-attention", "layers": "0-3", "kernel": kernel, "advice": ""}]
            (runs / name / "environment.json").write_text(json.dumps({"attention_kernels": ran, "matrix_products": "BLAS"}))
        report([runs], tmp_path / "r.html")
        return (tmp_path / "r.md").read_text(encoding="utf-8")

    assert "kernels" not in told(a="sdpa: flash, no mask")  # the other group did not tell
    assert "The same kernels throughout (matrix products: BLAS; sdpa: flash, no mask)." in told(
        a="sdpa: flash, no mask", b="sdpa: flash, no mask", c="sdpa: flash, no mask"
    )
    assert (
        "The groups ran by different kernels, so that seconds and tokens/s compare these too: "
        "model=bert: matrix products: BLAS; sdpa: flash, no mask | model=albert: matrix products: BLAS; sdpa: math, score bias with a gradient."
    ) in told(c="sdpa: math, score bias with a gradient")
    assert "<td class='word long'>sdpa: math, score bias with a gradient; matrix products: BLAS</td>" in (tmp_path / "r.html").read_text(
        encoding="utf-8"
    )


def test_a_logarithmic_chart_has_even_steps_for_equal_factors() -> None:
    assert log_ticks(0.3, 30) == pytest.approx([0.5, 1, 2, 5, 10, 20])
    assert log_ticks(1, 1e6) == pytest.approx([1, 10, 100, 1e3, 1e4, 1e5, 1e6])
    series = [Series(label="a", points=[(1, 0.01), (10, 1), (100, 100)], colour=0)]
    circles = ElementTree.fromstring(line_chart(series, name="n", x_label="x", logarithmic=True)).iter("circle")
    places = [(float(circle.get("cx", 0)), float(circle.get("cy", 0))) for circle in circles]
    assert places[1][0] - places[0][0] == pytest.approx(places[2][0] - places[1][0], abs=0.2)
    assert places[1][1] - places[0][1] == pytest.approx(places[2][1] - places[1][1], abs=0.2)

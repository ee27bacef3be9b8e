"""Curves: every axis, means and bands, drawn."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from fabricated import fabricated_run, fabricated_study, three

from transformer_zoo.experiments.results import RunRecord, read_run
from transformer_zoo.reports.curves import Curve, charts, curve, curve_files, curves, legend, place
from transformer_zoo.reports.finding import find_runs
from transformer_zoo.reports.groups import group_runs
from transformer_zoo.reports.report import references


def run_of(tmp_path: Path, **settings: int) -> RunRecord:
    fabricated_run(tmp_path / "r", {"model": "bert"}, number=0, seed=0, size=1000, points=settings.get("points", 4))
    return read_run(tmp_path / "r")


def test_flops_are_the_run_s_own_spread_over_its_tokens(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    half = {"step": 100, "tokens": run.summary["tokens"] / 2, "seconds": 1.0}
    assert place(run, half, "flops") == pytest.approx(run.summary["flops"] / 2)
    del run.summary["flops"]
    assert place(run, half, "flops") is None
    assert curve([run], "validation/loss").places.keys() == {"steps", "tokens", "seconds"}  # type: ignore[union-attr]


def test_a_curve_begins_behind_the_earlier_phases(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    alone = curve([run], "validation/loss")
    run.phases = [{"steps": 7, "tokens": 70, "flops": 700.0, "seconds": 0.5}]
    behind = curve([run], "validation/loss")
    assert alone is not None
    assert behind is not None
    shift = {axis: behind.places[axis][0] - alone.places[axis][0] for axis in alone.places}
    assert shift == pytest.approx({"steps": 7, "tokens": 70, "flops": 700, "seconds": 0.5})


def test_mean_and_band_over_two_seeds(tmp_path: Path) -> None:
    runs = find_runs([fabricated_study(tmp_path, three(), seeds=2, points=3)])[:2]
    found = curve(runs, "train/loss")
    assert found is not None
    first = [next(line["train/loss"] for line in run.history) for run in runs]
    assert found.values[0] == pytest.approx(sum(first) / 2)
    assert found.spread is not None
    assert found.spread[0] == pytest.approx(abs(first[0] - first[1]) / 2**0.5)


def test_thinning_averages_and_keeps_the_ends() -> None:
    whole = Curve(places={"steps": [1, 2, 3, 4]}, values=[1.0, 3.0, 5.0, 7.0], spread=[0.0, 2.0, 4.0, 6.0])
    thin = whole.thinned(2)
    assert (thin.points("steps"), thin.spread) == ([(1.5, 2.0), (3.5, 6.0)], [1.0, 5.0])
    assert whole.thinned(4) is whole


def test_without_a_script_every_axis_is_drawn_and_can_be_chosen(tmp_path: Path) -> None:
    groups = group_runs(find_runs([fabricated_study(tmp_path, three(), points=3)]), labelled=True)
    text = curves(groups, charts(groups))
    for axis in ("steps", "tokens", "flops", "seconds"):
        assert text.count(f'id="axis-{axis}"') == 1
        assert text.count(f'<div class="by-{axis}"><svg') == len(charts(groups))
    assert curves(groups, []) == ""


def test_the_best_possible_value_is_drawn_where_all_agree(tmp_path: Path) -> None:
    groups = group_runs(find_runs([fabricated_study(tmp_path, three(), points=3)]), labelled=True)
    for group in groups:
        group.runs[0].summary["metrics"] = {"final": {"validation/floor": 1.5, "validation/bits_per_byte_floor": 0.5}}
    assert references(groups) == {"validation/loss": ("best possible", 1.5), "validation/bits_per_byte": ("best possible", 0.5)}
    assert curves(groups, charts(groups, references(groups))).count("best possible") == 2 * 4
    groups[0].runs[0].summary["metrics"] = {"final": {"validation/floor": 1.4}}
    assert references(groups) == {}


def test_pictures_name_their_groups(tmp_path: Path) -> None:
    groups = group_runs(find_runs([fabricated_study(tmp_path, three(), points=3)]), labelled=True)
    files = curve_files(groups, charts(groups))
    assert set(files) == {f"curves-{name}.svg" for name in ("train-loss", "validation-loss", "validation-bits_per_byte", "validation-mlm_accuracy")}
    tree = ElementTree.fromstring(files["curves-train-loss.svg"])
    words = {element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")}
    assert {*three(), "train/loss ↓ over flops"} <= words


def test_colours_repeat_with_other_dashes() -> None:
    text = legend([str(number) for number in range(17)])
    assert '<li data-group="0"><svg viewBox="0 0 24 8" aria-hidden="true"><path class="line c0"' in text
    assert 'class="line dash1 c0"' in text
    assert 'class="line dash2 c0"' in text

"""What the script draws from: means and single runs on every axis, and pages that stay small."""

import json
from pathlib import Path
from typing import Any

import pytest
from fabricated import fabricated_run, fabricated_study, sixty, three

from transformer_zoo.experiments.results import read_run
from transformer_zoo.reports.curve_data import POINTS_OF_A_PAGE, data
from transformer_zoo.reports.curves import charts, share
from transformer_zoo.reports.finding import find_runs
from transformer_zoo.reports.groups import Group, group_runs
from transformer_zoo.reports.report import html


def told(groups: list[Group]) -> dict[str, Any]:
    return data(groups, charts(groups))


def study(folder: Path, **settings: int) -> list[Group]:
    return group_runs(find_runs([fabricated_study(folder, three(), **settings)]), labelled=True)


def test_groups_are_named_and_every_axis_is_there(tmp_path: Path) -> None:
    page = told(study(tmp_path, seeds=2, points=3))
    assert [group["label"] for group in page["groups"]] == list(three())
    first = page["charts"][0]
    assert first["metric"] == "train/loss"
    assert set(first["lines"][0]["x"]) == {"steps", "tokens", "flops", "seconds"}
    assert len(first["lines"][0]["y"]) == len(first["lines"][0]["sd"]) == 3


def test_every_run_of_a_group_is_there_under_its_seed(tmp_path: Path) -> None:
    groups = study(tmp_path, seeds=2, points=3)
    page = told(groups)
    assert page["groups"][0]["runs"] == [{"label": "seed 0", "finished": True}, {"label": "seed 1", "finished": True}]
    line = page["charts"][0]["lines"][0]
    assert [one["run"] for one in line["runs"]] == [0, 1]
    for one, run in zip(line["runs"], groups[0].runs, strict=True):
        assert one["y"] == pytest.approx([entry["train/loss"] for entry in run.history if "train/loss" in entry], rel=1e-4)


def test_places_are_told_once_where_runs_share_them(tmp_path: Path) -> None:
    groups = study(tmp_path, seeds=2, points=3)
    second = groups[0].runs[1]
    for entry in second.history:
        entry["seconds"] += 1
    del second.summary["flops"]
    first, other = told(groups)["charts"][0]["lines"][0]["runs"]
    assert set(first["x"]) == {"steps", "tokens", "flops", "seconds"}
    assert other["x"] == {"seconds": [value + 1 for value in first["x"]["seconds"]], "flops": None}


def test_a_run_that_did_not_finish_is_named_so_and_no_part_of_the_mean(tmp_path: Path) -> None:
    groups = study(tmp_path, seeds=3, points=6, failed=1)
    page = told(groups)
    assert page["groups"][2]["runs"][2] == {"label": "seed 2, failed", "finished": False}
    line = page["charts"][0]["lines"][2]
    assert [len(one["y"]) for one in line["runs"]] == [6, 6, 2]
    assert len(line["y"]) == 6


def test_the_same_seed_twice_is_told_apart_by_the_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fabricated_run(tmp_path / name, {}, number=0, seed=7, size=10, points=3)
    page = told(group_runs([read_run(tmp_path / name) for name in ("a", "b")]))
    assert [one["label"] for one in page["groups"][0]["runs"]] == ["seed 7 (a)", "seed 7 (b)"]


def test_a_single_run_is_its_group(tmp_path: Path) -> None:
    page = told(study(tmp_path, points=3))
    assert [group["runs"] for group in page["groups"]] == [[], [], []]
    assert page["charts"][0]["lines"][0]["runs"] == []


def test_values_that_are_not_finite_are_null(tmp_path: Path) -> None:
    fabricated_run(tmp_path / "r", {"model": "bert"}, number=0, seed=0, size=1000, points=4)
    run = read_run(tmp_path / "r")
    run.history[0]["train/loss"] = float("inf")
    page = told(group_runs([run]))
    assert page["charts"][0]["lines"][0]["y"][0] is None
    assert json.dumps(page, allow_nan=False)


@pytest.mark.slow
def test_pages_of_sixty_runs_are_small(tmp_path: Path) -> None:
    apart = group_runs(find_runs([fabricated_study(tmp_path / "groups", sixty(), points=150)]), labelled=True)
    together = dict(list(sixty().items())[:20])
    seeds = group_runs(find_runs([fabricated_study(tmp_path / "seeds", together, seeds=3, points=150)]), labelled=True)
    assert share(60 * len(charts(seeds)), POINTS_OF_A_PAGE) == 14_000 // (60 * 4)
    assert [len(html("sixty", groups).encode()) < 2_000_000 for groups in (apart, seeds)] == [True, True]
    line = told(seeds)["charts"][0]["lines"][0]
    assert len(line["runs"]) == 3
    assert all(len(one["y"]) <= 58 for one in line["runs"])

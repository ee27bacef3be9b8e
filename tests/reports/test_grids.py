"""The mask grid in reports: what stands in the tables, and when runs may be compared."""

import json
from pathlib import Path

import pytest
import yaml

from transformer_zoo.reports.finding import find_runs
from transformer_zoo.reports.grids import grid_md, grid_section, grids, lines
from transformer_zoo.reports.groups import Group, group_runs
from transformer_zoo.reports.report import report, study_files
from transformer_zoo.reports.rows import scores


def write_run(folder: Path, *, ratio: float, seed: int, losses: dict[str, float], floor: bool = True, masks: str = "a") -> None:
    folder.mkdir(parents=True)
    config = {"seed": seed, "run_dir": str(folder), "objective": {"kind": "mlm", "mask_ratio": ratio}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "overrides.txt").write_text(f"objective.mask_ratio={ratio}\nseed={seed}\n")
    (folder / "status.json").write_text(json.dumps({"status": "done", "reason": ""}))
    final = {"validation/loss": 2.0}
    notes = {}
    for at, loss in losses.items():
        place = f"validation/mask_grid/{at}"
        final |= {f"{place}/loss": loss, f"{place}/accuracy": 1 - loss / 4, f"{place}/bits_per_byte": loss / 3, f"{place}/predicted": 100}
        final |= {f"{place}/floor": 0.5 + float(at)} if floor else {}
        notes[f"{place}/positions_sha256"] = masks + at
    (folder / "summary.json").write_text(json.dumps({"status": "done", "parameters": 9, "metrics": {"final": final}, "notes": notes}))


def groups_of(folder: Path) -> list[Group]:
    return group_runs(find_runs([folder]))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    write_run(folder / "a", ratio=0.15, seed=0, losses={"0.15": 1.0, "0.8": 2.0})
    write_run(folder / "b", ratio=0.15, seed=1, losses={"0.15": 1.2, "0.8": 2.2})
    write_run(folder / "c", ratio=0.4, seed=0, losses={"0.15": 1.3, "0.8": 1.8})
    return folder


def test_a_line_per_group_with_the_gap_and_the_best_possible(runs: Path) -> None:
    (grid,) = grids(groups_of(runs))
    assert (grid.split, grid.ratios, grid.same_masks) == ("validation", ["0.15", "0.8"], True)
    cells, best = lines(grid, "loss")
    assert cells == [
        ["objective.mask_ratio=0.15", "1.10 ± 0.14 (+0.450)", "2.10 ± 0.14 (+0.800)"],
        ["objective.mask_ratio=0.4", "1.300 (+0.650)", "1.800 (+0.500)"],
        ["best possible", "0.6500", "1.300"],
    ]
    assert best == set(), "one run of a group tells nothing of chance"
    cells, best = lines(grid, "accuracy")
    assert [line[1] for line in cells] == ["0.725 ± 0.035", "0.6750"]
    assert best == set()


def test_what_is_best_beyond_chance_is_marked(tmp_path: Path) -> None:
    for seed, (noise, wobble) in enumerate([(0.0, 0.0), (0.1, 0.001), (0.05, -0.001)]):
        write_run(tmp_path / f"a{seed}", ratio=0.15, seed=seed, losses={"0.15": 1.0 + noise, "0.8": 2.2 + noise})
        write_run(tmp_path / f"b{seed}", ratio=0.4, seed=seed, losses={"0.15": 1.3 + noise + wobble, "0.8": 1.8 + noise + wobble})
        write_run(tmp_path / f"c{seed}", ratio=0.5, seed=seed, losses={"0.15": 1.4 + noise + 2 * wobble, "0.8": 1.8 + noise - 3 * wobble})
    (grid,) = grids(groups_of(tmp_path))
    assert lines(grid, "loss")[1] == {(0, 1)}, "at 0.8 two are as good"
    assert lines(grid, "accuracy")[1] == {(0, 1)}
    assert "| **1.050 ± 0.050" in grid_md(groups_of(tmp_path))


def test_what_was_not_asked_alike_is_not_compared(runs: Path) -> None:
    write_run(runs / "d", ratio=0.6, seed=0, losses={"0.15": 0.1, "0.8": 0.1}, masks="b")
    (grid,) = grids(groups_of(runs))
    assert not grid.same_masks
    assert lines(grid, "loss")[1] == set()
    assert "- Not all runs were asked for the same tokens (the hashes differ)" in grid_md(groups_of(runs))
    assert "**" not in grid_md(groups_of(runs))


def test_without_a_floor_there_is_no_gap(runs: Path) -> None:
    write_run(runs / "d", ratio=0.6, seed=0, losses={"0.15": 1.4, "0.8": 1.9}, floor=False)
    text = grid_md(groups_of(runs))
    assert "best possible" not in text
    assert "(+" not in text


def test_reports_show_the_grid_and_the_main_table_does_not(runs: Path, tmp_path: Path) -> None:
    assert scores(groups_of(runs)) == ["validation/loss"]
    report([runs], tmp_path / "r.html")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    assert "## Mask grid (validation)" in text
    assert "| objective.mask_ratio=0.15 | 1.10 ± 0.14 (+0.450) | 2.10 ± 0.14 (+0.800) |" in text
    assert "- In brackets: how far the loss is above the best possible one on the same masks." in text
    assert "- All runs were asked for the same tokens: the hashes of the positions are equal." in text
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<h2>Mask grid</h2>" in page
    assert 'aria-label="validation loss over hidden share"' in page
    assert study_files(runs, "A study").is_file()
    assert "Mask grid" in (runs / "summary.md").read_text(encoding="utf-8")


def test_runs_without_a_grid_have_no_section(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", ratio=0.15, seed=0, losses={})
    assert grid_md(groups_of(tmp_path / "runs")) == grid_section(groups_of(tmp_path / "runs")) == ""

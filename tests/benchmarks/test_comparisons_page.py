"""docs/comparisons.md is written from the folders of studies alone."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from reports.folders import write_study
from transformer_zoo.experiments import config_tree

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("comparisons_page", ROOT / "scripts" / "comparisons_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with the page as it is, and room for what belongs to it."""
    for folder in ("docs/figures", "benchmarks/results"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    (tmp_path / "root" / "docs" / "comparisons.md").write_text((ROOT / "docs" / "comparisons.md").read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path / "root"


def study(folder: Path, name: str = "positions", **more: object) -> Path:
    losses = {"rotary": [1.0, 1.1, 1.2], "learned": [2.0, 2.15, 2.2]}
    write_study(folder, losses, command=["ablate", f"study={name}", f"study_dir={folder}"], matched=["steps"], baseline="rotary", **more)
    for run in (folder / "runs").iterdir():
        (run / "measured").mkdir()
        metrics = {"validation/lengths/1/loss": 1.0, "validation/lengths/4/loss": 3.5}
        (run / "measured" / "lengths.json").write_text(json.dumps({"score": None, "words": ["evaluation=lengths"], "metrics": metrics}))
    return folder


def parts(text: str) -> tuple[str, str, str]:
    """What stands before, in and behind the place of the study of positions."""
    head, _, rest = text.partition("<!-- positions: begin -->")
    inside, _, tail = rest.partition("<!-- positions: end -->")
    return head, inside, tail


def test_a_study_fills_its_own_place_and_no_other(page: ModuleType, root: Path, tmp_path: Path) -> None:
    before = (root / "docs" / "comparisons.md").read_text(encoding="utf-8")
    page.main([study(tmp_path / "study")], root)
    text = (root / "docs" / "comparisons.md").read_text(encoding="utf-8")
    head, inside, tail = parts(text)
    assert (head, tail) == (parts(before)[0], parts(before)[2])
    assert "`transformer-zoo ablate study=positions`" in inside
    assert "6 of 6 runs, 3 seeds; Made equal: steps (within 2%)." in inside
    assert "| rotary | 1.10 ± 0.10 |" in inside
    assert "learned is worse beyond chance by" in inside
    assert "| rotary | 1.000 ± 0 | 3.500 ± 0 |" in inside
    assert "\n#### Differences to rotary" in inside, "no heading above the study's own"
    assert (root / "docs" / "figures" / "comparison_positions.svg").read_text(encoding="utf-8").startswith("<svg")
    assert (root / "benchmarks" / "results" / "study_positions.csv").read_text(encoding="utf-8").count("\n") == 7
    page.main([tmp_path / "study"], root)
    assert (root / "docs" / "comparisons.md").read_text(encoding="utf-8") == text, "writing again changes nothing"


def test_where_a_study_lay_before_it_was_moved_is_nobodys_business(page: ModuleType, root: Path, tmp_path: Path) -> None:
    folder = study(tmp_path / "study")
    for run in (folder / "runs").glob("learned-*"):
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"init_from": f"/elsewhere/study/runs/{run.name}/phases/1"}))
    page.main([folder], root)
    kept = (root / "benchmarks" / "results" / "study_positions.csv").read_text(encoding="utf-8")
    assert ",runs/learned-0/phases/1," in kept
    assert "elsewhere" not in kept


def test_what_is_no_such_study_is_said(page: ModuleType, root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="this is no study"):
        page.main([tmp_path / "empty"], root)
    with pytest.raises(SystemExit, match="its command names none of architectures, "):
        page.main([study(tmp_path / "other", "mask_ratio")], root)
    unfinished = write_study(tmp_path / "unfinished", {}, command=["ablate", "study=positions"])
    (unfinished / "study.yaml").write_text("command: [ablate, study=positions]\ncells: [{label: a, seed: 0, run: runs/a, failure: ''}]\n")
    with pytest.raises(SystemExit, match="no run is finished"):
        page.main([unfinished], root)


def test_every_study_of_the_page_ships_and_has_its_place(page: ModuleType) -> None:
    shipped = config_tree.options("study", config_tree.roots())
    text = (ROOT / "docs" / "comparisons.md").read_text(encoding="utf-8")
    for name in page.NAMES:
        assert name in shipped
        assert text.index(f"<!-- {name}: begin -->") < text.index(f"<!-- {name}: end -->")

"""Pictures of factors: which files there are, what their heat maps say, and that nothing is drawn outside."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from fabricated import fabricated_study, sixty, three

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.effect_files import effect_files, heat_chart
from transformer_zoo.reports.effects import Design, levels_of
from transformer_zoo.reports.finding import find_runs
from transformer_zoo.reports.groups import Group, group_runs
from transformer_zoo.reports.report import study_files

SVG = "{http://www.w3.org/2000/svg}"


def group(levels: dict[str, str], *losses: float, status: str = "done") -> Group:
    label = " ".join(levels.values())
    summaries = [{"metrics": {"final": {"validation/loss": loss}}} if status == "done" else {} for loss in losses]
    runs = [
        RunRecord(path=Path(label), status=status, levels=levels, summary=summary, config={"seed": seed}) for seed, summary in enumerate(summaries)
    ]
    return Group(label=label, runs=runs)


@pytest.fixture
def square() -> list[Group]:
    return [
        group({"norm": "pre", "objective.ratio": "0.4"}, 1.0),
        group({"norm": "pre", "objective.ratio": "0.15"}, 2.0),
        group({"norm": "post", "objective.ratio": "0.4"}, 3.0, 5.0),
        group({"norm": "post", "objective.ratio": "0.15"}, 0.0, status="failed"),
    ]


def words(tree: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in tree.iter(f"{SVG}text")]


def test_factors_alone_and_two_by_two(square: list[Group]) -> None:
    files = effect_files(square)
    assert set(files) == {"factors-validation-loss.svg", "factors-validation-loss-norm-objective.ratio.svg"}
    alone = ElementTree.fromstring(files["factors-validation-loss.svg"])
    assert {"validation/loss ↓ by norm", "validation/loss ↓ by objective.ratio", "pre", "post"} <= set(words(alone))
    both = ElementTree.fromstring(files["factors-validation-loss-norm-objective.ratio.svg"])
    titles = {"validation/loss ↓", "objective.ratio × norm"}
    assert titles | {"objective.ratio=0.15", "objective.ratio=0.4"} <= set(words(both))


def test_a_heat_map_is_darkest_at_the_best_and_says_what_is_missing(square: list[Group]) -> None:
    text = heat_chart(Design(groups=square, levels=levels_of(square)), "validation/loss", "norm", "objective.ratio")
    tree = ElementTree.fromstring(text)
    cells = {cell.findtext("title"): cell.get("opacity") for cell in tree.iter("rect")}
    assert cells == {
        "norm=pre objective.ratio=0.15: 2.000": "0.367",
        "norm=pre objective.ratio=0.4: 1.000": "0.550",
        "norm=post objective.ratio=0.15: failed": None,
        "norm=post objective.ratio=0.4: 4.0 ± 1.4": "0.000",
    }
    assert [element.text for element in tree.iter("text")][-3:] == ["post", "failed", "4.0 ± 1.4"]


def test_cells_too_narrow_for_the_spread_have_it_as_a_tip() -> None:
    groups = [group({"a": f"level-{i}", "b": str(j)}, 1.0 + i, 2.0 + i + j) for i in range(12) for j in range(2)]
    tree = ElementTree.fromstring(heat_chart(Design(groups=groups, levels=levels_of(groups)), "validation/loss", "b", "a"))
    said = [element.text or "" for element in tree.iter("text")]
    assert {*(f"level-{i}" for i in range(12))} <= set(said)
    assert not any("±" in text for text in said)
    assert said[-12:] == [*(f"{mean}.0" for mean in range(2, 10)), *[""] * 4], "a mean that is too wide as well is in the tip alone"
    assert len([element for element in tree.iter("text") if "rotate(-90)" in element.get("transform", "")]) == 12
    assert len([cell for cell in tree.iter("rect") if "±" in (cell.findtext("title") or "")]) == 24


def test_a_study_has_them_beside_its_other_pictures(tmp_path: Path) -> None:
    study_files(fabricated_study(tmp_path / "three", three(), points=3), "three")
    names = {path.name for path in (tmp_path / "three").glob("factors-*")}
    assert names == {f"factors-validation-{name}.svg" for name in ("loss", "bits_per_byte", "mlm_accuracy")}


def test_panels_are_as_tall_as_their_drawings(tmp_path: Path) -> None:
    files = effect_files(group_runs(find_runs([fabricated_study(tmp_path, sixty(), points=3)]), labelled=True))
    assert len(files) == 3 * (1 + 3)
    for text in files.values():
        tree = ElementTree.fromstring(text)
        panels = tree.findall(f"{SVG}svg")
        assert [panel.get("viewBox") for panel in panels] == [f"0 0 380 {panel.get('height')}" for panel in panels]
        lowest = max(30 + int(panel.get("height", 0)) for panel in panels)
        labels = [float(element.get("y", 0)) for element in tree.findall(f"{SVG}text")]
        assert max(lowest, *labels) <= float(tree.get("height", 0))


def test_runs_that_are_no_combinations_of_levels_have_none() -> None:
    assert effect_files([group({}, 1.0)]) == {}

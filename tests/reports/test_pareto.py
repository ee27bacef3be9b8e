"""The Pareto front: by hand, by its definition, and drawn with its members' names."""

from pathlib import Path

from fabricated import fabricated_study, three
from hypothesis import given
from hypothesis import strategies as st

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.finding import find_runs
from transformer_zoo.reports.groups import Group, group_runs
from transformer_zoo.reports.pareto import dots, front, pareto_files, pareto_section

POINTS = [(1, 5.0), (2, 4.0), (2, 3.0), (3, 3.0), (4, 3.5), (5, 1.0)]


def group(label: str, cost: float, loss: float, **more: float) -> Group:
    summary = {"parameters": cost, "metrics": {"final": {"validation/loss": loss}}, **more}
    return Group(label=label, runs=[RunRecord(path=Path(label), status="done", label=label, summary=summary)])


def test_by_hand() -> None:
    assert front(POINTS, higher=False) == [0, 2, 5]
    assert front(POINTS, higher=True) == [0]
    assert front([(1, 1.0), (1, 1.0)], higher=False) == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=20))
def test_whoever_is_left_out_is_beaten_by_a_member(points: list[tuple[int, int]]) -> None:
    members = front(points, higher=False)
    for number, (cost, loss) in enumerate(points):
        beaten = [points[m] for m in members if points[m] != (cost, loss) and points[m][0] <= cost and points[m][1] <= loss]
        assert bool(beaten) == (number not in members)


def test_members_are_named_and_others_pale() -> None:
    groups = [group("small", 1e3, 3.0), group("wasteful", 2e3, 3.1), group("large", 4e3, 2.0)]
    assert [dot.number for dot in dots(groups, "validation/loss", "parameters")] == [1, 0, 2]
    text = pareto_section(groups)
    assert "<li>small: 3.000 at 1k</li><li>large: 2.000 at 4k</li>" in text
    assert text.count('class="dot off c1"') == 1
    assert "against FLOPs" not in text


def test_equal_costs_and_single_groups_are_not_drawn() -> None:
    assert dots([group("a", 1000, 3.0), group("b", 1001, 2.0)], "validation/loss", "parameters") == []
    assert pareto_section([group("a", 1000, 3.0)]) == ""


def test_files_and_sections_of_a_study(tmp_path: Path) -> None:
    groups = group_runs(find_runs([fabricated_study(tmp_path, three(), seeds=2, points=3)]), labelled=True)
    assert set(pareto_files(groups)) == {f"pareto-validation-{name}.svg" for name in ("loss", "bits_per_byte", "mlm_accuracy")}
    text = pareto_section(groups)
    assert text.count("<h4>against parameters</h4>") == text.count("<h4>against bytes of memory at most</h4>") == 3
    assert "against tokens" not in text
    assert text.count("<details>") == 2

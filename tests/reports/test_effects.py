"""What factors do: means over levels, interaction plots, heat maps with holes that say why."""

from pathlib import Path

import pytest

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.effects import Design, effects_section, heat_map, levels_of
from transformer_zoo.reports.groups import Group


def group(levels: dict[str, str], *losses: float, status: str = "done", config: dict[str, str] | None = None) -> Group:
    label = " ".join(f"{factor}={level}" for factor, level in levels.items())
    runs = [
        RunRecord(
            path=Path(f"{label}-{seed}"),
            status=status,
            label=label,
            levels=levels,
            config={"seed": seed, **(config or {})},
            summary={"metrics": {"final": {"validation/loss": loss}}} if status == "done" else {},
        )
        for seed, loss in enumerate(losses)
    ]
    return Group(label=label, runs=runs)


@pytest.fixture
def square() -> list[Group]:
    return [
        group({"norm": "pre", "ratio": "0.4"}, 1.0),
        group({"norm": "pre", "ratio": "0.15"}, 2.0),
        group({"norm": "post", "ratio": "0.4"}, 3.0, 5.0),
        group({"norm": "post", "ratio": "0.15"}, 0.0, status="failed"),
    ]


def test_levels_that_are_numbers_are_in_order(square: list[Group]) -> None:
    design = Design(groups=square, levels=levels_of(square))
    assert design.factors == {"norm": ["pre", "post"], "ratio": ["0.15", "0.4"]}
    assert design.values("validation/loss", {"ratio": "0.4"}) == [1.0, 3.0, 5.0]


def test_a_heat_map_is_darkest_at_the_best_and_says_what_is_missing(square: list[Group]) -> None:
    text = heat_map(Design(groups=square, levels=levels_of(square)), "validation/loss", "norm", "ratio")
    assert '--h:1.000">1.000</td>' in text
    assert '--h:0.000">4.0 ± 1.4</td>' in text
    assert "<td>post</td><td>failed</td>" in text


def test_both_kinds_of_plot_stand_in_the_section(square: list[Group]) -> None:
    text = effects_section(square)
    assert "<h4>norm</h4>" in text
    assert "<h4>norm for each ratio</h4>" in text
    assert "<h4>norm × ratio</h4>" in text
    assert '<text class="tick" x="46.0" y="228" text-anchor="middle">pre</text>' in text, "words stand on the axis"


def test_three_numeric_levels_make_a_line() -> None:
    text = effects_section([group({"lr": level}, loss) for level, loss in (("0.1", 1.0), ("0.2", 2.0), ("0.4", 3.0))])
    assert 'aria-label="validation/loss over lr"' in text
    assert "<h4>lr</h4>" in text


def test_without_a_plan_few_differing_settings_are_factors() -> None:
    few = [group({}, 1.0, config={"a": "1", "b": x}) for x in "xy"]
    assert levels_of(few) == [{"b": "x"}, {"b": "y"}]
    many = [group({}, 1.0, config=dict.fromkeys("abcdef", x)) for x in "xy"]
    assert effects_section(many) == ""

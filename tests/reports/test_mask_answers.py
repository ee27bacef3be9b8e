"""The part of a report about the mask grid: the matrix, what it is drawn over, and what it dares to say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.grids import grid_section, grids, shades
from transformer_zoo.reports.groups import Group
from transformer_zoo.reports.mask_answers import answers_md, answers_section, conclusion, grid_to_compare, trained_at

LOSSES = {0.15: {0.15: 2.0, 0.4: 3.0}, 0.4: {0.15: 2.1, 0.4: 2.5}}
"""Trained at → evaluated at → loss."""


def run(trained: float, seed: int, losses: dict[float, float], *, size: str = "tiny", **more: Any) -> RunRecord:
    final = {f"validation/mask_grid/{ratio}/loss": loss + 0.01 * seed * (1 + trained) for ratio, loss in losses.items()}
    return RunRecord(
        path=Path(f"{trained}-{size}-{seed}"),
        status="done",
        config={"objective.mask_ratio": trained, "recipe.size": size, "model.d_model": {"tiny": 128}.get(size, 256), "seed": seed},
        summary={
            "metrics": {"final": final},
            "ledger": {"masking/predicted": trained, "masking/predicted_tokens": 5000},
            "notes": {f"validation/mask_grid/{ratio}/positions_sha256": "the same" for ratio in losses},
            "tokens": 100,
            "flops": 1e9,
        },
        **more,
    )


def groups(n_seeds: int, losses: dict[float, dict[float, float]] = LOSSES) -> list[Group]:
    return [
        Group(label=f"objective.mask_ratio={trained}", runs=[run(trained, seed, row) for seed in range(n_seeds)]) for trained, row in losses.items()
    ]


def test_nothing_is_said_where_there_is_nothing_to_compare() -> None:
    one = [Group(label="a", runs=[RunRecord(path=Path("a"), status="done", summary={"metrics": {"final": {"validation/loss": 1.0}}})])]
    assert answers_section(one) == answers_md(one) == ""
    assert answers_section(groups(2)[:1]) == "", "one group makes no comparison"
    other = groups(2)
    for run_ in other[1].runs:
        run_.summary["notes"] = dict.fromkeys(run_.summary["notes"], "another")
    assert answers_md(other) == "", "they were asked for other tokens"


def test_losses_are_shaded_by_how_far_they_are_above_the_best_of_their_column() -> None:
    (grid,) = grids(groups(1))
    assert shades(grid) == pytest.approx({(0, 1): 0.0, (0, 2): 1.0, (1, 1): 0.2, (1, 2): 0.0})
    assert "<td class='heat' style=\"--h:1.000\">3.000</td>" in grid_section(groups(1))


def test_a_difference_is_told_with_its_interval_and_judged() -> None:
    grid = grid_to_compare(groups(3))
    assert grid is not None
    text = conclusion(grid)
    assert "Evaluated at 15%, objective.mask_ratio=0.15 has the lowest mean (2.011)." in text, "the baseline itself is compared with nothing"
    assert "Evaluated at 40%, objective.mask_ratio=0.4 has the lowest mean (2.514)" in text
    assert "-0.498 against objective.mask_ratio=0.15 (± 0.009 over 3 pairs: beyond chance)" in text
    assert "Intervals are 95% for all comparisons with the baseline together" in text
    assert "Which group is best depends on the ratio it is evaluated at" in text


def test_a_difference_that_chance_explains_is_called_so() -> None:
    close = [
        Group(label="objective.mask_ratio=0.15", runs=[run(0.15, seed, {0.4: 2.5 + wobble}) for seed, wobble in enumerate((0.0, 0.2, -0.1))]),
        Group(label="objective.mask_ratio=0.4", runs=[run(0.4, seed, {0.4: 2.49}) for seed in range(3)]),
    ]
    grid = grid_to_compare(close)
    assert grid is not None
    assert "within chance" in conclusion(grid)
    assert "beyond chance" not in conclusion(grid)


def test_equal_groups_are_seldom_told_apart_however_many_there_are() -> None:
    """The best of seven looks better than one of them; what is told allows for that."""
    draws = np.random.default_rng(0)
    apart = 0
    for _ in range(200):
        ratios = (0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
        equal = [Group(label=str(ratio), runs=[run(ratio, seed, {0.15: 2.0 + float(draws.normal(0, 0.1))}) for seed in range(3)]) for ratio in ratios]
        for group in equal:
            for one in group.runs:
                final = one.summary["metrics"]["final"]
                final["validation/mask_grid/0.15/loss"] -= 0.01 * one.seed * (1 + one.config["objective.mask_ratio"])  # no effect of the ratio
        grid = grid_to_compare(equal)
        assert grid is not None
        apart += "beyond chance" in conclusion(grid)
    assert apart <= 14


def test_single_runs_conclude_nothing() -> None:
    grid = grid_to_compare(groups(1))
    assert grid is not None
    assert "one pair of runs: no interval" in conclusion(grid)
    assert "no difference here is more than an observation" in conclusion(grid)


def without_noise(n_seeds: int, wobble: float) -> list[Group]:
    """Two groups whose seeds make the same difference, but for `wobble`."""
    both = groups(n_seeds, {0.15: {0.4: 2.5}, 0.4: {0.4: 2.4}})
    for number, group in enumerate(both):
        for one in group.runs:
            one.summary["metrics"]["final"]["validation/mask_grid/0.4/loss"] = 2.5 - 0.1 * number + wobble * number * (one.seed % 5)
    return both


def test_pairs_without_spread_have_no_interval_and_many_have_one_with_two_ends() -> None:
    few, many = grid_to_compare(without_noise(3, 0.0)), grid_to_compare(without_noise(20, 0.001))
    assert few is not None
    assert many is not None
    assert "-0.1 against objective.mask_ratio=0.15 (3 pairs without spread: no interval)." in conclusion(few)
    assert "-0.098 against objective.mask_ratio=0.15 (-0.0987 to -0.0973 over 20 pairs: beyond chance)." in conclusion(many)


def test_sizes_are_lines_over_the_ratio() -> None:
    both = [
        Group(label=f"objective.mask_ratio={ratio} model/size={size}", runs=[run(ratio, 0, row, size=size)])
        for size in ("tiny", "mini")
        for ratio, row in sorted(LOSSES.items(), reverse=True)
    ]
    grid = grid_to_compare(both)
    assert grid is not None
    found = trained_at(grid)
    assert found is not None
    assert found[0] == "objective.mask_ratio"
    assert [(name, [ratio for ratio, _ in points]) for name, points in found[1]] == [
        ("model/size=tiny", [0.15, 0.4]),
        ("model/size=mini", [0.15, 0.4]),
    ]
    text = conclusion(grid)
    assert "With model/size=mini, Evaluated at 40%, objective.mask_ratio=0.4 model/size=mini has the lowest mean" in text
    assert "-0.5 against objective.mask_ratio=0.15 model/size=mini (one pair" in text, "each size has a baseline of its own"


def test_scores_measured_after_the_end_are_drawn_and_judged() -> None:
    def with_score(trained: float, seed: int) -> RunRecord:
        measured = {"reviews": {"score": "validation/probe/accuracy", "metrics": {"validation/probe/accuracy": 0.6 + trained / 10}}}
        return run(trained, seed, LOSSES[trained], measured=measured)

    scored = [Group(label=f"objective.mask_ratio={ratio}", runs=[with_score(ratio, seed) for seed in range(2)]) for ratio in LOSSES]
    page = answers_section(scored)
    assert 'aria-label="validation/reviews_accuracy over objective.mask_ratio"' in page
    grid = grid_to_compare(scored)
    assert grid is not None
    assert "In validation/reviews_accuracy, objective.mask_ratio=0.4 is best (0.64), +0.025" in conclusion(grid)


def test_labels_are_text() -> None:
    strange = [Group(label="<b>", runs=groups(1)[0].runs), groups(1)[1]]
    assert "<b>" not in answers_section(strange)

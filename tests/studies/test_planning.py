"""A plan tells what contestants became and how long runs would take."""

import re
from pathlib import Path

import pytest
import torch

from transformer_zoo.experiments import compose
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.costs import Costs
from transformer_zoo.studies.cells import Cell, Contestant, Study
from transformer_zoo.studies.planning import SHARE, duration, estimate, plan_table, product_rate


def price(config: ExperimentConfig) -> Costs:
    """A thousand operations a step for each layer."""
    layers = config.model.n_layers  # type: ignore[attr-defined]
    return Costs(
        parameters=10 * layers,
        parameters_embedding=4,
        parts=(),
        forward=300.0 * layers,
        backward=600.0 * layers,
        optimizer=100.0 * layers,
        tokens_per_step=8.0,
        predicted_per_step=2.0,
        steps=config.training.steps,
    )


def study(*, phases: bool = False, seconds: bool = False) -> Study:
    budget = "training.seconds=30" if seconds else "training.steps=100"
    cells = []
    for label, layers in (("small", 2), ("large", 4)):
        words = ["model=bert", "model/size=tiny", f"model.n_layers={layers}", budget]
        for seed in (0, 1):
            cell = Cell(label=label, overrides=words, seed=seed, config=compose.experiment([*words, f"seed={seed}"]), run=f"runs/{label}-{seed}")
            cell.phases = [[*words[:3], "training.steps=50"]] if phases else []
            cells.append(cell)
    return Study(folder=Path("s"), kind="compare", cells=cells, contestants=[Contestant(name="small"), Contestant(name="large")])


def test_costs_add_up_and_are_compared_with_the_first() -> None:
    found = estimate(study(), compose.experiment, price=price, rate=1e3)
    small, large = found["contestants"]
    assert (small["name"], small["d_model"], small["n_layers"], small["d_ff"], small["runs"]) == ("small", 128, 2, 512, 2)
    assert (small["parameters"], small["parameters_without_embeddings"], small["flops"], small["tokens"], small["predicted_tokens"]) == (
        *(20, 16, 200_000.0, 800.0, 200.0),
    )
    assert small["seconds_per_run"] == pytest.approx(200 / SHARE)
    assert found["seconds"] == pytest.approx(2 * (200 + 400) / SHARE)
    assert large["ratio"] == {"parameters": 2.0, "flops": 2.0, "steps": 1.0, "tokens": 1.0, "predicted_tokens": 1.0}
    assert f"{SHARE:.0%} of 1e+03 a second" in found["basis"]


def test_costs_that_are_known_are_not_asked_for_again() -> None:
    planned = study()
    for one, cell in zip(planned.contestants, planned.cells[::2], strict=True):
        one.costs = price(cell.config)

    def fail(config: ExperimentConfig) -> Costs:
        raise AssertionError(config)

    assert estimate(planned, compose.experiment, price=fail, rate=1e3) == estimate(study(), compose.experiment, price=price, rate=1e3)


def test_phases_cost_together() -> None:
    small, _ = estimate(study(phases=True), compose.experiment, price=price, rate=1e3)["contestants"]
    assert (small["steps"], small["flops"], small["seconds_per_run"]) == (150, 300_000.0, pytest.approx(300 / SHARE))


def test_a_budget_in_seconds_is_taken_at_its_word() -> None:
    found = estimate(study(seconds=True), compose.experiment, price=price, rate=1e3)
    assert (found["seconds"], found["contestants"][0]["flops"]) == (120.0, None)
    assert "by the clock" in plan_table(found)[1]


def test_the_table_has_a_line_for_each_and_one_for_all() -> None:
    head, small, large, last = plan_table(estimate(study(), compose.experiment, price=price, rate=1e3))
    columns = "contestant|width|layers|heads|d_ff|parameters|without embeddings|FLOPs|steps|tokens|predicted|a run|runs"
    assert re.split(r"\s{2,}", head.strip()) == columns.split("|")
    assert small.startswith("small ")
    assert "2e+05 (1.00)" in small
    assert "4e+05 (2.00)" in large
    assert last.startswith("about 50.0 min for 4 runs one after another")
    assert [duration(number) for number in (5, 90, 5400, 1e6)] == ["5 s", "1.5 min", "1.5 h", "11.6 days"]


def test_the_rate_is_one_that_this_machine_can_have() -> None:
    assert 1e8 < product_rate(torch.device("cpu")) < 1e14

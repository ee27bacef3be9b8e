"""Trained for a minute or two on the built-in language, objectives come near the best possible loss, where that is known."""

from pathlib import Path
from typing import Any

import pytest

from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.floor import best_possible
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.loaded_run import load_run
from transformer_zoo.experiments.run import train

pytestmark = pytest.mark.slow


def trained(path: Path, *overrides: str) -> tuple[dict[str, float], EvaluationContext]:
    """The best held-out figures, and what they were measured on."""
    given = [*overrides, "training.threads=1", "device=cpu", f"run_dir='{path}'"]
    metrics: dict[str, Any] = train(experiment(given), given).summary["metrics"]["best"]
    data, objective = load_run(path).context()
    return metrics, EvaluationContext(data=data, objective=objective)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))


def test_a_decoder_with_prefixes(tmp_path: Path):
    found, context = trained(tmp_path / "run", "experiment=pocket_gpt", "objective=prefix_lm", "training.steps=1200")
    floor = best_possible(LossConfig(), context)
    assert floor is not None
    assert floor["validation/loss"] - 0.01 < found["validation/loss"] < floor["validation/loss"] + 0.06  # 0.01: what the place of the split tells


def test_filling_in_costs_little_from_left_to_right(tmp_path: Path):
    """The paper's finding: what is not cut is told about as well as by a model that was trained without cutting."""
    plain, context = trained(tmp_path / "plain", "experiment=pocket_gpt", "objective=clm")
    floor = best_possible(LossConfig(), context)
    assert floor is not None
    found, _ = trained(tmp_path / "run", "experiment=pocket_gpt", "objective=fill_in_the_middle")
    assert floor["validation/loss"] < found["validation/left_to_right_loss"] < plain["validation/loss"] + 0.1

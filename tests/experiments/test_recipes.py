"""Every named model trains as it is, with the objective and the kind of tokenizer its recipe names."""

from pathlib import Path

import pytest

from transformer_zoo.experiments import catalog, config_tree
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.run import train

RECIPES = list(config_tree.options("model", [config_tree.own_root()]))
SMALL = (
    *("model/size=tiny", "data.n_documents=24", "data.n_held_out=6", "data.sequence_length=32", "tokenizer=word", "device=cpu"),
    *("training.steps=2", "training.batch_size=4", "training.threads=1"),
)


LIKE_ANOTHER = ("roberta", "modernbert", "bigbird", "gpt1", "gpt3", "marian", "t5_v1_1")
"""Recipes whose shape and parts others train already."""


@pytest.mark.parametrize("model", [pytest.param(model, marks=[pytest.mark.slow] if model in LIKE_ANOTHER else []) for model in RECIPES])
def test_it_trains_and_its_weights_come_back(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))
    overrides = [f"model={model}", *SMALL, f"run_dir='{tmp_path / 'run'}'"]
    config = experiment(overrides)
    assert catalog.kind_of(type(config.objective)) == config.recipe.objective
    first = train(config, overrides).summary
    assert (first["status"], first["steps"]) == ("done", 2)
    overrides[-1] = f"run_dir='{tmp_path / 'other'}'"
    continued = experiment([*overrides, f"init_from='{tmp_path / 'run'}'"])
    assert train(continued, overrides).summary["status"] == "done"


@pytest.mark.parametrize("model", RECIPES)
def test_what_it_names_exists(model: str) -> None:
    recipe = experiment([f"model={model}"]).recipe
    assert recipe.paper is not None
    assert recipe.paper.startswith("https://")
    assert recipe.ancestor in {*RECIPES, None}
    assert (recipe.ancestor is None) == (model == "transformer")
    assert recipe.tokenizer in catalog.options("tokenizer")
    assert recipe.objective in catalog.options("objective")
    for size in recipe.sizes:
        assert experiment([f"model={model}", f"model/size={size}"]).recipe.size == size

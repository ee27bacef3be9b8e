"""Names and shapes of every recipe's parameters, as they stand in checkpoints. A change of a file here breaks everyone's saved weights.

To write them anew, on purpose: `python tests/golden/test_parameter_shapes.py`.
"""

import json
from pathlib import Path

import pytest

from transformer_zoo.experiments.assemble import build_on_meta
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.config_tree import options, roots

RECIPES = tuple(options("model", roots()))


def shapes(recipe: str) -> dict[str, list[int]]:
    """By parameter name, at the smallest size of its paper with the published vocabulary and the recipe's own objective."""
    smallest = experiment([f"model={recipe}"]).recipe.sizes[0]
    config = experiment([f"model={recipe}", f"model/size={smallest}"])
    model = build_on_meta(config.model, config.model.vocab_size, config.objective.needs().heads)
    return {name: list(parameter.shape) for name, parameter in model.named_parameters()}


def file(recipe: str) -> Path:
    return Path(__file__).parent / f"{recipe}.json"


@pytest.mark.parametrize("recipe", RECIPES)
def test_parameter_names_and_shapes_have_not_changed(recipe: str):
    assert shapes(recipe) == json.loads(file(recipe).read_text())


if __name__ == "__main__":
    for name in RECIPES:
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in shapes(name).items())
        file(name).write_text(f"{{\n{lines}\n}}\n")

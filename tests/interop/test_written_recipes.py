"""Named models can be written as the family that has them: what a family writes of a recipe's settings, it reads as the same settings."""

from typing import Any

import pytest
import torch
from torch import Tensor

from transformer_zoo.experiments import config_tree
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.exporting import spelt_out
from transformer_zoo.experiments.public import settings_from, skeleton
from transformer_zoo.interop.config_file import ConfigFile, Plain
from transformer_zoo.interop.families import FAMILIES
from transformer_zoo.interop.writing import their_tensors
from transformer_zoo.records import HeadNeed

NAMED = config_tree.options("model", config_tree.roots())
RECIPES = {recipe: family for family in FAMILIES.values() for recipe in family.recipes if recipe in NAMED}
SIZES = ["model.d_model=12", "model.n_layers=2", "model.n_heads=3", "model.d_ff=48", "model.max_length=9", "model.vocab_size=31"]


def settings_of(recipe: str, *overrides: str) -> Plain:
    """Those of the part one keeps after training."""
    return to_dict(experiment([f"model={recipe}", "model/size=tiny", *SIZES, *overrides]).model.kept())


def written_and_read(recipe: str, settings: Plain) -> Plain:
    family = RECIPES[recipe]
    config = ConfigFile(family.write(settings))
    tensors: dict[str, Tensor] = their_tensors(family, settings, drawn(settings), prefixed=True)
    back = family.settle(family.read(config), tensors)
    config.check()
    assert family.recipe(back) == recipe
    return to_dict(settings_from(back))


def drawn(settings: Plain) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = skeleton(settings, {"vocabulary": HeadNeed(kind="vocabulary")})
    return {name: torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}


def meaning(settings: Plain) -> dict[str, Any]:
    """All that decides what a model computes."""
    return {key: value for key, value in spelt_out(settings).items() if key not in ("initialization", "classifier")}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_written(recipe: str):
    settings = settings_of(recipe)
    assert meaning(written_and_read(recipe, settings)) == meaning(settings)


@pytest.mark.parametrize("recipe", ["bart", "marian"])
def test_sides_of_their_own(recipe: str):
    settings = settings_of(recipe, "model.encoder.n_layers=1", "model.decoder.n_heads=4", "model.encoder.d_ff=7", "model.vocabulary_head.tied=false")
    assert meaning(written_and_read(recipe, settings)) == meaning(settings)


def test_a_width_of_heads_that_others_spell_out():
    settings = settings_of("t5", "model.attention.head_width=null", "model.encoder.n_layers=3")
    assert meaning(written_and_read("t5", settings)) == meaning(settings)
    assert RECIPES["t5"].write(settings)["d_kv"] == 4


@pytest.mark.parametrize(
    "recipe, override",
    [
        ("t5", "model.decoder.d_ff=7"),
        ("t5", "model.norm_placement.final_dropout=false"),
        ("bart", "model.positions.offset=0"),
        ("bart", "model.norm.eps=1e-3"),
        ("marian", "model.positions.layout=interleaved"),
        ("llama", "model.positions.rotated_share=0.5"),
        ("gpt1", "model.feedforward.activation=gelu"),
        ("gpt1", "model.d_ff=21"),
    ],
)
def test_what_a_format_cannot_express_is_seen(recipe: str, override: str):
    settings = settings_of(recipe, override)
    family = RECIPES[recipe]
    back = to_dict(settings_from(family.read(ConfigFile(family.write(settings)))))
    assert meaning(back) != meaning(settings)

"""What every family in the table promises, without reference."""

import pytest

from transformer_zoo.experiments.compose import recipe
from transformer_zoo.experiments.config_tree import options, roots
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.public import settings_from, skeleton
from transformer_zoo.interop.config_file import ConfigFile
from transformer_zoo.interop.families import FAMILIES, WITHOUT_COUNTERPART, family_for, family_of
from transformer_zoo.interop.tensors import link
from transformer_zoo.training.checkpoints import config_differences

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
WRITTEN = [(family, name) for family in FAMILIES.values() for name in family.recipes]


@families
def test_an_empty_config_is_a_model_with_the_defaults_of_the_format(family):
    config = ConfigFile({"model_type": family.model_type})
    settings_from(family.read(config))
    config.check()
    assert family_of(family.model_type, "here") is family
    assert set(family.heads) >= {head for heads in family.architectures.values() for head in heads}


@families
def test_every_tensor_of_ours_has_its_place_and_comes_back(family):
    config = ConfigFile({"model_type": family.model_type})
    settings = family.read(config)
    needs = {head: family.need(head, config) for head in family.heads}
    ours = skeleton(settings, needs)
    links, left = link(family.rules(settings), ours)
    assert not left
    for one in links:
        parts = one.layout.theirs(ours[one.ours])
        assert len(parts) == len(one.theirs)
        assert one.layout.ours(parts).shape == ours[one.ours].shape, one.ours
    names = {name for one in links for name in one.theirs}
    body = [name for one in links if not one.ours.startswith("heads.") for name in one.theirs]
    assert all(name.startswith(family.prefix) for name in body)
    assert len(set(body)) == len(body)
    assert all(copy.of in names for copy in family.copies(settings))


@pytest.mark.parametrize(("family", "name"), WRITTEN, ids=[name for _, name in WRITTEN])
def test_our_recipe_is_what_the_format_says(family, name):
    """The settings of our named model survive being written and read; only the law of first weights is ours alone."""
    assert name in options("model", roots())
    assert family_for(name, "here") is family
    settings = to_dict(recipe(name).kept())
    written = family.write(settings) | {"architectures": family.classes({"vocabulary"} & set(family.heads)) or []}
    config = ConfigFile(written)
    back = to_dict(settings_from(family.read(config)))
    config.check()
    assert [key for key, *_ in config_differences(settings, back) if not key.startswith("initialization.")] == []
    assert family.recipe(settings) == name


def test_models_without_counterpart_are_real_ones():
    assert set(WITHOUT_COUNTERPART) <= set(options("model", roots()))
    assert not set(WITHOUT_COUNTERPART) & {name for _, name in WRITTEN}

"""What every family in the table promises, without reference."""

import pytest

from transformer_zoo.experiments.config_tree import options, roots
from transformer_zoo.experiments.public import settings_from, skeleton
from transformer_zoo.interop.config_file import ConfigFile
from transformer_zoo.interop.families import FAMILIES, WITHOUT_COUNTERPART, family_of
from transformer_zoo.interop.tensors import link

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
WRITTEN = {name for family in FAMILIES.values() for name in family.recipes}


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


def test_models_without_counterpart_are_real_ones():
    assert set(WITHOUT_COUNTERPART) <= set(options("model", roots()))
    assert set(options("model", roots())) >= WRITTEN
    assert not set(WITHOUT_COUNTERPART) & WRITTEN

"""The table and the `configs/` tree say the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

import transformer_zoo
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog, compose, config_tree
from transformer_zoo.layers.norms import LayerNormConfig, NormConfig
from transformer_zoo.settings import Config

ROOT = config_tree.own_root()
OPTIONS = [(group, name) for group in config_tree.groups([ROOT]) for name in config_tree.options(group, [ROOT])]


@pytest.mark.parametrize(("slot", "name"), [(slot, name) for slot, names in catalog.SLOTS.items() for name in names if slot != "model"])
def test_every_class_has_its_file(slot: str, name: str) -> None:
    content = yaml.safe_load((ROOT / slot / f"{name}.yaml").read_text(encoding="utf-8"))
    assert content["kind"] == name


@pytest.mark.parametrize(("slot", "name"), [(slot, name) for slot, names in catalog.SLOTS.items() for name in names])
def test_every_class_belongs_to_its_slot(slot: str, name: str) -> None:
    cls = catalog.SLOTS[slot][name]
    assert cls.slot == slot
    assert catalog.kind_of(cls) == name
    assert cls.__name__.endswith("Config")
    assert cls.__doc__


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_file_is_described_and_chooses_something_known(group: str, name: str) -> None:
    assert config_tree.options(group, [ROOT])[name], "begins with a comment that describes it"
    content = yaml.safe_load((ROOT / group / f"{name}.yaml").read_text(encoding="utf-8"))
    slot = catalog.groups().get(group)
    if slot is not None:
        assert content["kind"] in catalog.options(slot)


def test_every_group_without_a_slot_is_known() -> None:
    plain = {group for group in config_tree.groups([ROOT]) if group not in catalog.groups()}
    assert {group for group in plain if not group.startswith("model/size")} <= {"experiment", "study", "training", "objective/masking"}


@dataclass(kw_only=True)
class MyNormConfig(NormConfig):
    """A norm from somebody's own package."""

    gain: float = 1.0
    """How much."""


@pytest.fixture
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_registered", {})


@pytest.mark.usefixtures("empty")
def test_a_registered_class_is_a_choice_like_any_other(tmp_path: Path) -> None:
    transformer_zoo.register("model/norm", {"mine": MyNormConfig})
    transformer_zoo.register("model/norm", {"mine": MyNormConfig})
    assert compose.recipe("bert", "model/norm=mine", "model.norm.gain=2").norm == MyNormConfig(gain=2.0)
    assert compose.recipe("bert", "model/attention/qk_norm=mine").attention.qk_norm == MyNormConfig()
    (tmp_path / "model" / "norm").mkdir(parents=True)
    (tmp_path / "model" / "norm" / "mine.yaml").write_text("# Mine\nkind: mine\ngain: 3\n")
    assert compose.recipe("bert", "model/norm=mine", config_dirs=[tmp_path]).norm == MyNormConfig(gain=3.0)
    with pytest.raises(ConfigError, match=r"model/norm has no 'mne'; did you mean mine\?"):
        compose.recipe("bert", "model/norm=mne")


@pytest.mark.usefixtures("empty")
def test_a_new_slot_of_a_plugin_is_a_group() -> None:
    @dataclass(kw_only=True)
    class OtherConfig(Config):
        slot: ClassVar[str | None] = "other"

    transformer_zoo.register("other", {"one": OtherConfig})
    assert catalog.options("other") == {"one": OtherConfig}
    with pytest.raises(ConfigError, match="other: the configuration has no setting 'other'"):
        compose.experiment(["+other=one"])


@pytest.mark.usefixtures("empty")
def test_a_taken_name_and_a_wrong_class_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model/norm=layernorm is taken by transformer_zoo\.layers\.norms\.LayerNormConfig"):
        transformer_zoo.register("model/norm", {"layernorm": MyNormConfig})
    with pytest.raises(ConfigError, match=r"is no settings class with slot = 'model/positions'"):
        transformer_zoo.register("model/positions", {"mine": MyNormConfig})
    transformer_zoo.register("model/norm", {"layernorm": LayerNormConfig})
    assert catalog.registered() == {}

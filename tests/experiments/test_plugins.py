"""Components of somebody's own package: found in three ways, none of them a YAML file."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog, compose, plugins

MODULE = """
from dataclasses import dataclass
from transformer_zoo import register
from transformer_zoo.layers.norms import NormConfig

@dataclass(kw_only=True)
class {name}Config(NormConfig):
    pass

def enter():
    register("model/norm", {{"{option}": {name}Config}})

{call}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and nothing loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "_loaded", [])
    monkeypatch.setattr(catalog, "_registered", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    return tmp_path


def write(folder: Path, module: str, *, name: str = "Mine", option: str = "mine", call: str = "enter()") -> None:
    (folder / f"{module}.py").write_text(MODULE.format(name=name, option=option, call=call))


def test_by_name(folder: Path) -> None:
    write(folder, "plugin_by_name")
    assert plugins.load(["plugin_by_name"]) == ["plugin_by_name"]
    assert plugins.load(["plugin_by_name"]) == ["plugin_by_name"], "read once"
    assert type(compose.recipe("bert", "model/norm=mine").norm).__name__ == "MineConfig"


def test_by_a_function_of_a_module(folder: Path) -> None:
    write(folder, "plugin_function", call="")
    plugins.load(["plugin_function:enter"])
    assert "mine" in catalog.options("model/norm")


def test_by_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "plugin_one", option="one")
    write(folder, "plugin_two", option="two")
    monkeypatch.setenv(plugins.VARIABLE, "plugin_one, plugin_two,")
    assert plugins.load() == ["plugin_one", "plugin_two"]
    assert {"one", "two"} <= set(catalog.options("model/norm"))


def test_by_an_entry_point(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "plugin_installed")
    entry = metadata.EntryPoint(name="mine", value="plugin_installed", group=plugins.GROUP)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry] if group == plugins.GROUP else [])
    assert plugins.load() == ["plugin_installed"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_plugin", "plugin 'no_such_plugin': there is no module 'no_such_plugin' (searched "),
        ("../evil", "plugin '../evil': name a module, for example my_lab.attention"),
        ("os:system x", "plugin 'os:system x': name a module"),
        ("plugin_broken", "plugin 'plugin_broken' cannot be imported: ZeroDivisionError: division by zero"),
        ("plugin_needs", "plugin 'plugin_needs' cannot be imported: No module named 'no_such_thing'"),
        ("plugin_fine:leave", "plugin 'plugin_fine:leave': plugin_fine has no function 'leave'"),
        ("plugin_taken", "model/norm=layernorm is taken by transformer_zoo.layers.norms.LayerNormConfig"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_one_line(folder: Path, name: str, message: str) -> None:
    (folder / "plugin_broken.py").write_text("1 / 0\n")
    (folder / "plugin_needs.py").write_text("import no_such_thing\n")
    write(folder, "plugin_fine")
    write(folder, "plugin_taken", option="layernorm")
    with pytest.raises(ConfigError) as caught:
        plugins.load([name])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_run_says_which_plugins_it_needs(folder: Path) -> None:
    write(folder, "plugin_here")
    plugins.load(["plugin_here"])
    plugins.require(["plugin_here"], "run=a")
    with pytest.raises(ConfigError, match=r"^run=a was made with the plugin b, c, which is not loaded: add --plugin b --plugin c$"):
        plugins.require(["plugin_here", "b", "c"], "run=a")


@pytest.mark.parametrize("content", ["plugin: plugin_evil", "plugins: [plugin_evil]", "model: {plugin: plugin_evil}"])
def test_a_file_cannot_name_one(folder: Path, content: str) -> None:
    (folder / "plugin_evil.py").write_text("open('canary', 'w')\n")
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{content}\n")
    with pytest.raises(ConfigError, match="has no setting 'plugin"):
        compose.experiment(["experiment=mine"], config_dirs=[folder])
    assert not (folder / "canary").exists()

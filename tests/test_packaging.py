"""What pip installs: the metadata, the pinned versions, the wheel's contents, and a console command that works from any folder."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import transformer_zoo

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_metadata() -> None:
    supported = SpecifierSet(PROJECT["requires-python"])
    assert [minor for minor in range(8, 16) if f"3.{minor}" in supported] == [11, 12, 13]
    assert "torch>=2.10" in PROJECT["dependencies"]
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert metadata("transformer-zoo")["Version"] == transformer_zoo.__version__


def test_the_version_has_an_entry_in_the_changelog() -> None:
    assert f"## {transformer_zoo.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_constraints_pin_every_requirement_to_a_version_it_allows() -> None:
    versions = pinned()
    extras = PROJECT["optional-dependencies"]
    requirements = [Requirement(text) for text in [*PROJECT["dependencies"], *(text for extra in extras.values() for text in extra)]]
    for requirement in requirements:
        assert versions[requirement.name.lower().replace("_", "-")] in requirement.specifier, requirement
    assert versions["torch"] == "2.13.0"


def test_constraints_hold_plain_versions_only() -> None:
    """No hosts, no paths, no local builds: the file works with any index."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    odd = [line for line in lines if not line.startswith("#") and not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)]
    assert odd == []


def test_the_console_command_leads_to_the_command_line() -> None:
    (command,) = [one for one in entry_points(group="console_scripts") if one.name == "transformer-zoo"]
    assert callable(command.load())


def test_works_from_any_folder(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "transformer_zoo", "list", "model"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert {"bert", "gpt2", "transformer"} <= set(result.stdout.split())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `pip install .` builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    isolated = [] if importlib.util.find_spec("hatchling") is None else ["--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", *isolated, "--wheel-dir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution found for hatchling" in result.stderr:
        pytest.skip("the build backend is neither installed nor to be had without a network")
    assert result.returncode == 0, result.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_code_configs_and_licence_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    inside = {name for name in names if name.startswith("transformer_zoo/")}
    expected = {f"transformer_zoo/{path.relative_to(ROOT / 'src/transformer_zoo').as_posix()}" for path in (ROOT / "src").rglob("*.py")}
    expected |= {f"transformer_zoo/configs/{path.relative_to(ROOT / 'configs').as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assets = [path for ending in ("js", "css") for path in (ROOT / "src").rglob(f"*.{ending}")]
    expected |= {f"transformer_zoo/{path.relative_to(ROOT / 'src/transformer_zoo').as_posix()}" for path in assets}
    assert len(assets) == 3
    assert {name for name in inside if name.endswith((".py", ".yaml", ".js", ".css"))} == expected
    assert "transformer_zoo/py.typed" in inside
    others = [name for name in names if name not in inside and ".dist-info/" not in name]
    assert others == []
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_installed_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True)
    environment = os.environ | {"PYTHONPATH": str(site)}
    script = "import transformer_zoo, sys; from transformer_zoo.cli.main import main; print(transformer_zoo.__file__); sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "describe", "model=bert", "model/size=tiny", "--json"]
    result = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(site))

"""Imports go downward only. Parses every file of the package, so that also imports inside functions are seen."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "transformer_zoo"
SOURCE = Path(__file__).parents[2] / "src" / PACKAGE

GROUND = {"errors", "settings", "records", "randomness"}
LOWER = {"layers", "models", "data", "objectives"}
SEES = {
    "layers": GROUND,
    "models": GROUND | {"layers"},
    "data": GROUND,
    "objectives": GROUND,
    "generation": GROUND | LOWER,
    "training": GROUND | LOWER,
    "interop": GROUND | LOWER,
    "evaluation": GROUND | LOWER | {"generation", "training", "interop"},
    "experiments": GROUND | LOWER | {"generation", "training", "interop", "evaluation"},
    "benchmark": GROUND | LOWER | {"generation", "training", "interop", "evaluation", "experiments"},
    "reports": GROUND | {"experiments"},
    "studies": GROUND | LOWER | {"generation", "training", "interop", "evaluation", "experiments", "reports"},
    "cli": GROUND | LOWER | {"generation", "training", "interop", "evaluation", "experiments", "benchmark", "reports", "studies"},
    **dict.fromkeys(GROUND, GROUND),
    # The package's own face and `python -m`: they only forward, and lazily.
    "__init__": GROUND | {"experiments", "reports", "studies", "cli"},
    "__main__": {"cli"},
}
"""What each floor may import, besides itself."""

ALLOWED_IN = {
    "hydra": ("experiments.compose", "cli"),
    "omegaconf": ("experiments.compose", "cli"),
    "wandb": ("training.trackers", "reports.publishing"),
    "tensorboard": ("training.trackers",),
    "datasets": ("data.sources", "benchmark"),
    "transformers": ("interop", "benchmark"),
    "x_transformers": ("benchmark",),
    "accelerate": ("benchmark",),
    "sacrebleu": ("evaluation",),
    "sklearn": ("evaluation",),
    "optuna": ("studies",),
    "submitit": ("studies",),
    "pandas": ("reports",),
}
"""Libraries that stand in one place only (a module, or a package and what is below it)."""

LAZY = {
    "wandb",
    "tensorboard",
    "datasets",
    "transformers",
    "x_transformers",
    "accelerate",
    "sacrebleu",
    "matplotlib",
    "scipy",
    "sklearn",
    "pandas",
    "rich",
    "optuna",
    "submitit",
}
"""Libraries that are slow to import: only inside functions."""

BRICKS = {"torch", "einops"}
"""All that layers and models may use besides the standard library."""


@dataclass(frozen=True)
class Import:
    """One name that a module imports: `target` is dotted; `eager` is False inside functions and under TYPE_CHECKING."""

    module: str
    line: int
    target: str
    eager: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def module_name(path: Path, source: Path) -> str:
    """`layers.norms` for layers/norms.py, `layers` for layers/__init__.py, `__init__` for the package's own."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def import_nodes(node: ast.AST, eager: bool = True) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, eager
        deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(child)
        yield from import_nodes(child, eager and not deferred)


def imports_of(path: Path, source: Path) -> list[Import]:
    module = module_name(path, source)
    package = [PACKAGE, *path.relative_to(source).parent.parts]
    found = []
    for node, eager in import_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [Import(module, node.lineno, alias.name, eager) for alias in node.names]
        else:
            parts = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            found += [Import(module, node.lineno, f"{base}.{alias.name}", eager) for alias in node.names]
    return found


def all_imports(source: Path) -> list[Import]:
    return [one for path in sorted(source.rglob("*.py")) for one in imports_of(path, source)]


def internal_target(target: str, modules: set[str]) -> str | None:
    """The module of this package that an import leads to; None for other packages'."""
    root, _, rest = target.partition(".")
    if root != PACKAGE:
        return None
    while rest and rest not in modules:
        rest = rest.rpartition(".")[0]
    return rest or "__init__"


def modules_of(source: Path) -> set[str]:
    return {module_name(path, source) for path in source.rglob("*.py")}


def floor_violations(source: Path) -> list[str]:
    modules, wrong = modules_of(source), []
    for one in all_imports(source):
        target = internal_target(one.target, modules)
        if target is None:
            continue
        floor, below = one.module.split(".")[0], target.split(".")[0]
        version_only = one.target in {PACKAGE, f"{PACKAGE}.__version__"}
        if floor != below and below not in SEES.get(floor, set()) and not version_only:
            wrong.append(str(one))
    return wrong


def library_violations(source: Path) -> list[str]:
    wrong = []
    for one in all_imports(source):
        library = one.target.split(".")[0] if not one.target.startswith("torch.utils.tensorboard") else "tensorboard"
        places = ALLOWED_IN.get(library)
        if places is not None and not any(one.module == place or one.module.startswith(f"{place}.") for place in places):
            wrong.append(f"{one}, which belongs in {' or '.join(places)}")
        if library in LAZY and one.eager:
            wrong.append(f"{one} when it is imported itself; import {library} inside the function that needs it")
        if one.module.split(".")[0] in {"layers", "models"} and library not in BRICKS | {PACKAGE} | sys.stdlib_module_names:
            wrong.append(f"{one}; layers and models use {' and '.join(sorted(BRICKS))} only")
        inside = one.module.startswith("experiments.compose")
        if one.eager and not inside and one.target.startswith(f"{PACKAGE}.experiments.compose"):
            wrong.append(f"{one} when it is imported itself; it brings Hydra, so import it inside a function")
    return wrong


def circle(source: Path) -> list[str]:
    """A ring of modules that import each other while being imported; empty where there is none."""
    modules = modules_of(source)
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for one in all_imports(source):
        target = internal_target(one.target, modules)
        if one.eager and target is not None and target != one.module:
            graph[one.module].add(target)
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph[module]):
            if ring := visit(target, [*path, module]):
                return ring
        done.add(module)
        return []

    return next((ring for module in sorted(modules) if (ring := visit(module, []))), [])


def test_every_module_has_a_floor() -> None:
    floors = {module.split(".")[0] for module in modules_of(SOURCE)}
    assert floors <= set(SEES), f"no floor is given for {sorted(floors - set(SEES))}"


def test_imports_go_downward() -> None:
    assert floor_violations(SOURCE) == []


def test_libraries_stand_where_they_belong() -> None:
    assert library_violations(SOURCE) == []


def test_no_import_circles() -> None:
    assert circle(SOURCE) == []


@pytest.mark.parametrize("module", ["transformer_zoo", "transformer_zoo.cli", "transformer_zoo.experiments"])
def test_nothing_heavy_comes_with(module: str) -> None:
    heavy = {"torch", "numpy", "hydra", "omegaconf", *LAZY}
    script = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tiny package with nothing wrong in it."""
    for name in ("layers", "data", "training", "experiments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "__init__.py").touch()
    (tmp_path / "records.py").write_text("import torch\n")
    (tmp_path / "layers" / "norms.py").write_text("from torch import nn\nfrom transformer_zoo.records import Record\n")
    return tmp_path


def test_the_rules_see_what_they_forbid(tree: Path) -> None:
    assert floor_violations(tree) == library_violations(tree) == circle(tree) == []

    (tree / "layers" / "norms.py").write_text("def build():\n    from ..training import trainer\n")
    assert floor_violations(tree) == ["layers.norms:2 imports transformer_zoo.training.trainer"]

    (tree / "layers" / "norms.py").write_text("import numpy as np\n")
    assert library_violations(tree) == ["layers.norms:1 imports numpy; layers and models use einops and torch only"]

    (tree / "layers" / "norms.py").touch()
    (tree / "training" / "trainer.py").write_text("import datasets\n")
    misplaced, eager = library_violations(tree)[-2:]
    assert misplaced == "training.trainer:1 imports datasets, which belongs in data.sources or benchmark"
    assert eager.startswith("training.trainer:1 imports datasets when it is imported itself")

    (tree / "data" / "a.py").write_text("from transformer_zoo.data import b\n")
    (tree / "data" / "b.py").write_text("from transformer_zoo.data.a import x\n")
    assert circle(tree) == ["data.a", "data.b", "data.a"]
    (tree / "data" / "b.py").write_text("def later():\n    from transformer_zoo.data.a import x\n")
    assert circle(tree) == []

"""House rules that a linter does not know, checked on the syntax tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "transformer_zoo"
TREES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}

SHORT = 10
"""Lines of a function that may go without a docstring."""


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    for name, tree in TREES.items():
        yield from ((name, node) for node in ast.walk(tree) if isinstance(node, kinds))


def test_no_keyword_catch_alls_in_constructors_and_forwards() -> None:
    found = [
        f"{name}:{node.lineno} {node.name}(**{node.args.kwarg.arg})"
        for name, node in nodes(ast.FunctionDef)
        if isinstance(node, ast.FunctionDef) and node.name in {"__init__", "forward", "build"} and node.args.kwarg
    ]
    assert found == []


def test_no_file_is_a_drawer_for_everything() -> None:
    assert [name for name in TREES if Path(name).stem in {"utils", "util", "misc", "common", "helpers"}] == []


def test_no_literal_types() -> None:
    """The configuration library cannot hold them; words have `Annotated[str, OneOf(...)]`."""
    found = [f"{name}:{node.lineno}" for name, node in nodes(ast.Name) if isinstance(node, ast.Name) and node.id == "Literal"]
    assert found == []


def test_what_is_public_says_what_it_is() -> None:
    """Modules and public classes carry a docstring, and so do public functions that are not short enough to say it themselves."""
    missing = [f"{name}:1" for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree) and "__init__" not in name]
    for name, tree in TREES.items():
        public = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")]
        long = [node for node in public if isinstance(node, ast.ClassDef) or (node.end_lineno or 0) - node.lineno > SHORT]
        missing += [f"{name}:{node.lineno} {node.name}" for node in long if not ast.get_docstring(node)]
    assert missing == []


def test_settings_are_keyword_only_and_explained() -> None:
    """A `…Config` dataclass is keyword-only and has a docstring under each of its fields."""
    wrong = []
    for name, node in nodes(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        if not node.name.endswith("Config") or not node.decorator_list:
            continue
        if "kw_only=True" not in "".join(ast.unparse(decorator) for decorator in node.decorator_list):
            wrong.append(f"{name}:{node.lineno} {node.name} is not keyword-only")
        for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(statement, ast.AnnAssign) or "ClassVar" in ast.unparse(statement.annotation):
                continue
            explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
            if not explained:
                wrong.append(f"{name}:{statement.lineno} {node.name}.{ast.unparse(statement.target)} has no docstring")
    assert wrong == []

"""The page of all models says what the recipes say."""

from pathlib import Path

from transformer_zoo.experiments import config_tree
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.zoo_table import COLUMNS, markdown, row

PAGE = Path(__file__).parents[2] / "docs" / "zoo.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), "write it anew: python scripts/zoo_table.py"


def test_every_recipe_stands_in_it() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in config_tree.options("model", config_tree.roots()):
        assert f"| [`{name}`](https://" in page


def test_a_row_tells_what_the_settings_are() -> None:
    told = dict(zip(COLUMNS, row("bert", experiment(["model=bert", "model/norm=rmsnorm", "model.positions.offset=3"])), strict=True))
    assert told["layout"] == "encoder"
    assert told["norm"] == "rmsnorm, post"
    assert told["positions"] == "learned (offset=3)"
    electra = dict(zip(COLUMNS, row("electra", experiment(["model=electra", "model/size=small"])), strict=True))
    assert electra["layout"] == "encoder; beside a generator of width 64"

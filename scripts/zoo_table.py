"""Writes docs/zoo.md, the table of all named models."""

from pathlib import Path

from transformer_zoo.experiments.zoo_table import markdown

if __name__ == "__main__":
    (Path(__file__).parents[1] / "docs" / "zoo.md").write_text(markdown(), encoding="utf-8")

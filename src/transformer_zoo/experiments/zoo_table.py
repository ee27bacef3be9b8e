"""The table of all named models as Markdown, told from their recipes: what `docs/zoo.md` holds."""

from collections.abc import Sequence

from transformer_zoo.experiments import assemble, config_tree, words
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.describe import count_parameters
from transformer_zoo.models.base import TransformerConfig

HEAD = """# The zoo

Every named model is a recipe in `configs/model/`: which part fills which slot, and what its paper sets otherwise than the part's default.
`transformer-zoo describe model=NAME` tells the whole of one, and what each generation changed back to the 2017 Transformer.
This page is written by `python scripts/zoo_table.py`; a test compares it with the recipes.

A choice's settings stand in brackets where they are not its default. *Parity* names the implementation that the tests hold a model equal to:
hidden states and scores within 1e-5, loss and gradients within 1e-4, at several odd shapes. BigBird is compared as in training: in evaluation the
reference swaps its random blocks ([long_attention.md](long_attention.md)).
"""
SIZES = """## The sizes their papers name

Parameters of the whole model with the heads of its own objective, each tied matrix once; of its body; and of the body with the pooler that its
classifier would have, as BERT's sizes are often given.
"""
COLUMNS = ("model", "layout", "positions", "norm", "attention", "feed-forward", "objective", "tokenizer", "ancestor", "parity")


def markdown() -> str:
    """The whole page."""
    from transformer_zoo.experiments.compose import experiment

    configs = {name: experiment([f"model={name}"]) for name in config_tree.options("model", config_tree.roots())}
    rows = [row(name, config) for name, config in configs.items()]
    sizes = [line for name, config in configs.items() for line in sizes_of(name, config)]
    return "\n".join(
        [HEAD, "## What each is made of\n", table(COLUMNS, rows), SIZES, table(("model", "size", "total", "body", "with pooler"), sizes)]
    )


def row(name: str, config: ExperimentConfig) -> list[str]:
    """One model."""
    model, recipe = config.model, config.recipe
    assert isinstance(model, TransformerConfig), f"{name} is not told by the table"
    sides = list(model.sides())
    (first, *_) = model.sides().values()
    return [
        f"[`{name}`]({recipe.paper})",
        "; ".join([" and ".join(sides), *words.extras(model), *_sharing(model)]),
        words.choice(model.positions),
        f"{words.choice(model.norm)}, {words.choice(model.norm_placement)}",
        words.choice(first.attention, hidden=frozenset(words.RATES | words.SIZES)),
        words.choice(model.feedforward),
        recipe.objective or "–",
        recipe.tokenizer or "–",
        recipe.ancestor or "–",
        recipe.parity or "–",
    ]


def sizes_of(name: str, config: ExperimentConfig) -> list[list[str]]:
    """One model's published sizes with their parameters."""
    from transformer_zoo.experiments.compose import experiment

    lines = []
    for size in config.recipe.sizes:
        model_config = experiment([f"model={name}", f"model/size={size}"]).model
        assert isinstance(model_config, TransformerConfig)
        assert model_config.vocab_size is not None
        model = assemble.build_on_meta(model_config, model_config.vocab_size, config.objective.needs().heads)
        count = count_parameters(model_config, model)
        lines.append([f"`{name}`", size, *(f"{number:,}" for number in (count.total, count.body, count.body_and_pooler))])
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _sharing(model: TransformerConfig) -> list[str]:
    return [f"layers {words.choice(model.stack)}"] if words.choice(model.stack) != "plain" else []

"""transformer_zoo: compose any Transformer from small parts, train it with any objective, compare fairly.

`transformer_zoo.recipe("bert", "model/size=tiny")` gives the settings of a named model, `.build(...)` the module;
`transformer_zoo.register("model/attention", {"mine": MyAttentionConfig})` adds a component of your own;
`transformer_zoo.from_pretrained(path)` opens a run, an imported model, or a folder in the Hugging Face format;
`transformer_zoo.load_runs(path)` reads runs and studies back as a pandas data frame.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformer_zoo.experiments.catalog import register as register
    from transformer_zoo.experiments.compose import recipe as recipe
    from transformer_zoo.experiments.pretrained import from_pretrained as from_pretrained
    from transformer_zoo.reports.frames import load_runs as load_runs

__version__ = "0.1.0"

_LAZY = {
    "recipe": "transformer_zoo.experiments.compose",
    "register": "transformer_zoo.experiments.catalog",
    "from_pretrained": "transformer_zoo.experiments.pretrained",
    "load_runs": "transformer_zoo.reports.frames",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for, so that `import transformer_zoo` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]

"""The price of an experiment, told without training; see `experiments.costs` for what is in the account."""

import json
from collections.abc import Callable

from transformer_zoo.data.module import DataModule
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.costs import Costs, PartCost, costs_of, size_of

__all__ = ["Costs", "OpenData", "PartCost", "Price", "Pricer", "pricer", "size_of"]

Price = Callable[[ExperimentConfig], Costs]
"""What an experiment costs."""
OpenData = Callable[[ExperimentConfig], DataModule]


class Pricer:
    """Prices experiments, opening the data once for all that share data, tokenizer and objective's needs."""

    def __init__(self) -> None:
        self._opened: dict[str, DataModule] = {}

    def __call__(self, config: ExperimentConfig) -> Costs:
        return costs_of(config, self.open(config))

    def size(self, config: ExperimentConfig, *, embeddings: bool) -> int:
        """Parameters alone, which takes no counting of operations."""
        return size_of(config, self.open(config), embeddings=embeddings)

    def open(self, config: ExperimentConfig) -> DataModule:
        from transformer_zoo.experiments import assemble

        key = json.dumps([to_dict(config.data), to_dict(config.tokenizer), str(config.objective.needs())], default=str)
        if key not in self._opened:
            self._opened[key] = assemble.open_data(config)
        return self._opened[key]


def pricer() -> Price:
    """One that opens each data set once."""
    return Pricer()

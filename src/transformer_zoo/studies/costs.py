"""The price of an experiment, told without training; see `experiments.costs` for what is in the account."""

import json
from collections.abc import Callable

from transformer_zoo.data.module import DataModule
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.costs import Costs, PartCost, Sample, costs_of, sample, size_of

__all__ = ["Costs", "OpenData", "PartCost", "Price", "Pricer", "pricer", "size_of"]

Price = Callable[[ExperimentConfig], Costs]
"""What an experiment costs."""
OpenData = Callable[[ExperimentConfig], DataModule]


class Pricer:
    """Prices experiments, opening the data once for all that share data, tokenizer and objective's needs."""

    def __init__(self) -> None:
        self._opened: dict[str, DataModule] = {}
        self._samples: dict[str, list[Sample]] = {}

    def __call__(self, config: ExperimentConfig) -> Costs:
        data = self.open(config)
        key = json.dumps([to_dict(part) for part in (config.data, config.tokenizer, config.objective, config.training)] + [config.seed], default=str)
        if key not in self._samples:
            self._samples[key] = sample(config, data)
        return costs_of(config, data, self._samples[key])

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

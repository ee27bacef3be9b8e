"""Sizes in `config.json` that no model with these tensors can have, told before a model of that size is built."""

from math import prod

from transformer_zoo.interop.config_file import ConfigFile
from transformer_zoo.interop.files import WeightFiles

LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers", "num_hidden_groups")
SHARED_LAYERS = 256
"""Layers that a file may have more of than tensors, since layers can share theirs."""
WIDTHS = (
    "hidden_size", "n_embd", "d_model", "intermediate_size", "n_inner", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "embedding_size", "head_dim",
    "d_kv", "vocab_size", "type_vocab_size",
)  # fmt: skip
"""Each is a side of some tensor, so it is at most the number of numbers in the file."""


def refuse_implausible(config: ConfigFile, weights: WeightFiles) -> None:
    """Raises ConfigError where the file is too small for a size."""
    layers = max(len(weights.files), SHARED_LAYERS)
    numbers = sum(prod(weights.shape(name)) for name in weights.files)
    for keys, most, held in ((LAYERS, layers, f"{len(weights.files)} tensors"), (WIDTHS, numbers, f"{numbers} numbers")):
        for key in keys:
            value = config.values.get(key)
            if isinstance(value, int) and value > most:
                config.wrong(key, value, f"{weights.label} holds {held} only, which cannot belong to a model of this size")
    config.check()

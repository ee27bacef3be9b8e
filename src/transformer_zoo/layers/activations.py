"""Functions between two projections, by the names that settings give them."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from transformer_zoo.settings import OneOf

Function = Callable[[Tensor], Tensor]


def same(x: Tensor) -> Tensor:
    """No activation."""
    return x


ACTIVATIONS: dict[str, Function] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "tanh": F.tanh,
}
Activation = Annotated[str, OneOf(*ACTIVATIONS)]

ONEDNN: dict[Function, tuple[str, str]] = {
    same: ("none", ""),
    ACTIVATIONS["relu"]: ("relu", ""),
    ACTIVATIONS["gelu"]: ("gelu", "none"),
    ACTIVATIONS["gelu_tanh"]: ("gelu", "tanh"),
    ACTIVATIONS["silu"]: ("swish", ""),
    ACTIVATIONS["tanh"]: ("tanh", ""),
}
"""What oneDNN calls them where it applies one to a product while that is in the cache: name and variant."""

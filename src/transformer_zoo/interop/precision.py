"""Whole computations in float64, whoever wrote them."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class InDouble(TorchFunctionMode):
    """Inside, what asks for float32 by name (a norm, a softmax) gets float64, so that a model of doubles computes in doubles throughout."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Collection[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*(_double(one) for one in args), **{key: _double(one) for key, one in (kwargs or {}).items()})


def _double(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value

"""Runs operations on tensors without memory, each kind once: on the meta device the result's shape is all there is, and it follows from shapes alone.

PyTorch works such shapes out in Python, at a good part of a millisecond an operation, and a model of many equal layers, or of many sizes that are
tried, asks for the same ones over and over.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

Spec = tuple[torch.Size, tuple[int, ...], torch.dtype] | None
"""A tensor of a result; None where the operation gives none at this place."""
MOST = 50_000
"""Results that are kept."""

_known: dict[Any, tuple[bool, tuple[Spec, ...]]] = {}
_UNKNOWN = object()


def run_on_meta(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `function`, an operator of PyTorch, gives. Only what reads tensors of the meta device and changes none is remembered."""
    key = _key(function, args, kwargs) if _makes_new(function) else _UNKNOWN
    if key is _UNKNOWN:
        return function(*args, **kwargs)
    if key in _known:
        several, specs = _known[key]
        made = tuple(None if spec is None else torch.empty_strided(spec[0], spec[1], dtype=spec[2], device="meta") for spec in specs)
        return made if several else made[0]
    result = function(*args, **kwargs)
    several = isinstance(result, tuple)
    tensors = result if several else (result,)
    if all(one is None or (isinstance(one, Tensor) and one.is_meta) for one in tensors) and len(_known) < MOST:
        _known[key] = several, tuple(None if one is None else (one.shape, one.stride(), one.dtype) for one in tensors)
    return result


@cache
def _makes_new(function: Any) -> bool:
    """Whether results share no memory with what is given, and nothing given is changed."""
    schema = function._schema
    return not any(one.alias_info for one in (*schema.arguments, *schema.returns))


def _key(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """All that the shape of the result can depend on; `_UNKNOWN` where a value takes part, or nothing without memory does."""
    found: list[Any] = [function]
    n_tensors = 0
    waiting: list[Any] = [*reversed(args), *(part for name in reversed(kwargs) for part in (kwargs[name], name))]
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind is Tensor or kind is nn.Parameter:
            if not value.is_meta:
                return _UNKNOWN
            n_tensors += 1
            found += (value.shape, value.stride(), value.dtype)
        elif kind is list or kind is tuple:
            found += (kind, len(value))
            waiting += value
        elif kind in _PLAIN:
            found += (kind, value)  # 1, 1.0 and True are equal
        else:
            return _UNKNOWN
    return tuple(found) if n_tensors else _UNKNOWN


_PLAIN = {int, float, bool, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format}

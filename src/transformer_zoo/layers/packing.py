"""Weights laid out for products of few rows.

Such a product takes as long as its weights take to be read, and for most shapes no library reads them well as a model keeps them: oneDNN lays them
out anew at every call, and the BLAS reads a wide one three times slower than it could. While a model decodes, its weights do not change; laid out
once, in float32 on a CPU, a step takes half the time or less.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch.nn.functional as F
from torch import Tensor

from transformer_zoo.layers.activations import Function, same
from transformer_zoo.layers.layouts import MOST_ROWS, SMALL, Bags, Blocks, Columns
from transformer_zoo.layers.linear import has_onednn, is_plain, product
from transformer_zoo.layers.screening import Screen

Layout = type[Blocks] | type[Columns]


class Packed:
    """x [M, I] -> activation(x · weight [O, I]ᵀ + bias [O]) [M, O]. The weight is laid out when few rows first meet it and must stay as it is."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Function = same) -> None:
        self.weight, self.bias, self.activation = weight.detach(), None if bias is None else bias.detach(), activation
        small = weight.numel() <= SMALL
        self._few: Layout = Columns if small else Blocks
        self._single: Layout = self._few if small or not Bags.gain(weight) else Bags
        self._laid_out: dict[Layout, Blocks | Columns] = {}

    def __call__(self, x: Tensor) -> Tensor:
        if len(x) > MOST_ROWS:
            return self.activation(product(x, self.weight, self.bias))
        layout = self._single if len(x) == 1 else self._few
        if layout not in self._laid_out:
            self._laid_out[layout] = layout(self.weight)
        return self._laid_out[layout](x, self.bias, self.activation)


class Packing:
    """The weights of one model, each packed once."""

    def __init__(self) -> None:
        self._packed: dict[tuple[Function | int, ...], Packed] = {}
        self._screens: dict[int, Screen] = {}

    def product(self, weight: Tensor, bias: Tensor | None, activation: Function = same) -> Function:
        """x [M, I] -> [M, O]: the activation of the product with a weight, which may be rows of a parameter."""
        if not (has_onednn() and is_plain(weight, bias)):
            return lambda x: activation(F.linear(x, weight, bias))
        place = activation, weight.data_ptr(), *weight.shape
        if place not in self._packed:
            self._packed[place] = Packed(weight, bias, activation)
        return self._packed[place]

    def screen(self, weight: Tensor, bias: Tensor | None) -> Screen | None:
        """The search for the highest of the product's columns without computing all in full; None where that gains nothing."""
        if not (has_onednn() and is_plain(weight, bias) and Screen.gains(weight)):
            return None
        if weight.data_ptr() not in self._screens:
            self._screens[weight.data_ptr()] = Screen(weight, bias)
        return self._screens[weight.data_ptr()]


_KEPT: WeakKeyDictionary[Any, Packing] = WeakKeyDictionary()


@contextmanager
def weights_stay(model: Any) -> Iterator[None]:
    """While it lasts, the model's weights do not change: what is packed for one decoding serves the next one too."""
    outer = _KEPT.get(model)
    if outer is None:
        _KEPT[model] = Packing()
    try:
        yield
    finally:
        if outer is None:
            _KEPT.pop(model, None)


def packing_of(model: Any) -> Packing:
    """What is packed of a model already, where its weights are known to stay; nothing yet otherwise."""
    return _KEPT.get(model) or Packing()

"""Weights laid out for products of few rows.

Such a product takes as long as its weights take to be read, and for most shapes no library reads them as a model keeps them: oneDNN lays them out
anew at every call, and the BLAS reads a wide one three times slower than it could. While a model decodes, its weights do not change; laid out
once, in float32 on a CPU, a step takes about half the time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_zoo.layers.linear import has_onednn, is_plain, product
from transformer_zoo.layers.screening import Screen

Product = Callable[[Tensor], Tensor]
"""[M, I] -> [M, O]."""

MOST_ROWS = 64
"""With more rows laying out the weights costs little beside the product."""
FEWEST_ROWS = 4
"""oneDNN is slower with fewer rows than with this many."""
SMALL = 2**16
"""Elements of a weight up to which it stays in the cache and the BLAS is as fast."""
ALONE = 2**18
"""Elements of a weight up to which one core, which is all that the BLAS takes for a single row, is done before oneDNN has woken the others."""


class Packed:
    """x [M, I] · weight [O, I]ᵀ + bias [O] -> [M, O], with the weight laid out when few rows first meet it; it must not change after that."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.small = weight.numel() <= SMALL
        self.wide = weight.shape[0] > weight.shape[1]
        self._blocks: Tensor | None = None
        """As oneDNN reads it."""
        self._columns: Tensor | None = None
        """[I, O], as the BLAS reads a wide one best for a single row."""

    def __call__(self, x: Tensor) -> Tensor:
        n_rows = x.shape[0]
        if n_rows > MOST_ROWS:
            return product(x, self.weight, self.bias)
        if n_rows == 1:
            if self.small:
                row = x[0]
                return (self.weight.mv(row) if self.bias is None else torch.addmv(self.bias, self.weight, row)).unsqueeze(0)
            if self._blocks is None and (self.weight.numel() <= ALONE or torch.get_num_threads() == 1):
                return self._single(x)
        if self.small and n_rows < FEWEST_ROWS:
            return F.linear(x, self.weight, self.bias)
        if self._blocks is None:
            self._blocks = torch.ops.mkldnn._reorder_linear_weight(self.weight, MOST_ROWS)
        if n_rows >= FEWEST_ROWS:
            return torch.ops.mkldnn._linear_pointwise(x, self._blocks, self.bias, "none", [], "")
        filled = torch.cat((x, x[:1].expand(FEWEST_ROWS - n_rows, -1)))
        return torch.ops.mkldnn._linear_pointwise(filled, self._blocks, self.bias, "none", [], "")[:n_rows]

    def _single(self, x: Tensor) -> Tensor:
        if not self.wide:
            return F.linear(x, self.weight, self.bias)
        if self._columns is None:
            self._columns = self.weight.t().contiguous()
        return x @ self._columns if self.bias is None else torch.addmm(self.bias, x, self._columns)


class Packing:
    """The weights of one model, each packed once."""

    def __init__(self) -> None:
        self._packed: dict[tuple[int, ...], Packed] = {}
        self._screens: dict[int, Screen] = {}

    def product(self, weight: Tensor, bias: Tensor | None) -> Product:
        """The product with a weight, which may be rows of a parameter."""
        if not (has_onednn() and is_plain(weight, bias)):
            return partial(F.linear, weight=weight, bias=bias)
        place = weight.data_ptr(), *weight.shape
        if place not in self._packed:
            self._packed[place] = Packed(weight, bias)
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

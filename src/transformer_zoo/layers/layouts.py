"""Layouts of a weight [O, I] in which few rows x [M, I] meet it about as fast as it is read, on a CPU: activation(x · weightᵀ + bias [O]) [M, O]."""

import torch
from torch import Tensor

from transformer_zoo.layers.activations import ONEDNN, Function, same

MOST_ROWS = 64
"""With more rows laying out a weight gains little beside the product."""
SMALL = 2**15
"""Elements of a weight up to which calling the BLAS costs least."""
CACHED = 2**22
"""Elements of a weight up to which it stays in a processor's cache, where bags read it twice as fast as anything else."""
_FEWEST_ROWS = 4
"""oneDNN is slower with fewer rows than with this many."""
_BAGS = 8


class Blocks:
    """As oneDNN reads it, for 1 to `MOST_ROWS` rows, in float32 or bfloat16."""

    def __init__(self, weight: Tensor) -> None:
        self._blocks: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, MOST_ROWS)

    def __call__(self, x: Tensor, bias: Tensor | None = None, activation: Function = same) -> Tensor:
        n_rows = len(x)
        if n_rows < _FEWEST_ROWS:
            x = torch.cat((x, x[:1].expand(_FEWEST_ROWS - n_rows, -1)))
        name, variant = ONEDNN.get(activation, ONEDNN[same])
        made: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._blocks, bias, name, [], variant)
        return made[:n_rows] if activation in ONEDNN else activation(made[:n_rows])


class Columns:
    """[I, O], as the BLAS reads it."""

    def __init__(self, weight: Tensor) -> None:
        self.columns = weight.t().contiguous()

    def __call__(self, x: Tensor, bias: Tensor | None = None, activation: Function = same) -> Tensor:
        return activation(x @ self.columns if bias is None else torch.addmm(bias, x, self.columns))


class Bags(Columns):
    """A single row's product as a weighted sum of the columns. PyTorch sums bags of embeddings by code that it makes for their width (FBGEMM) and
    that reads twice as fast as its products of a matrix and a vector do. Each bag, one per core at a time, sums a share of the columns."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight)
        width = weight.shape[1]
        self._every = torch.arange(width)
        self._starts = torch.arange(_BAGS) * width // _BAGS
        self._ones = torch.ones(1, _BAGS)

    @staticmethod
    def gain(weight: Tensor) -> bool:
        """Whether they are faster than what else there is."""
        return weight.numel() <= CACHED and "fbgemm" in torch.backends.quantized.supported_engines

    def __call__(self, x: Tensor, bias: Tensor | None = None, activation: Function = same) -> Tensor:
        # Arguments by place: a bag's sum (mode 0), weighted, neither sparse nor scaled by how often a column comes.
        sums = torch.embedding_bag(self.columns, self._every, self._starts, False, 0, False, x[0])[0]  # [8,O]
        return activation(self._ones @ sums if bias is None else torch.addmm(bias, self._ones, sums))

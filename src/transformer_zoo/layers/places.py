"""Some positions of a batch, where what follows is wanted nowhere else."""

from torch import Tensor


def at_places(x: Tensor, at: Tensor) -> Tensor:
    """[B, T, …] at flat positions [N] in B·T -> [1, N, …], as if they were one row."""
    return x.flatten(0, 1).index_select(0, at).unsqueeze(0)

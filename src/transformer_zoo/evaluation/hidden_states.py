"""The hidden states of every layer of a stack, seen while it runs, so that no forward has to carry them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from transformer_zoo.layers.stacks import Stack


@contextmanager
def layer_states(stack: Stack) -> Iterator[list[Tensor]]:
    """A list that after every forward of the stack holds [B,T,D] for its layers 0 to n: what enters the first block (the embeddings), and what
    leaves each block in the order of execution, the last one behind the stack's final norm. A block that serves several layers (ALBERT) gives one
    for each time it runs."""
    states: list[Tensor] = []

    def entered(_: Any, arguments: tuple[Any, ...]) -> None:
        states[:] = [arguments[0]]

    def ran(_: Any, __: Any, output: Tensor) -> None:
        states.append(output)

    def left(_: Any, __: Any, output: Tensor) -> None:
        assert len(states) == len(stack.order) + 1, "every layer ran once"
        states[-1] = output

    with ExitStack() as hooks:
        hooks.callback(stack.register_forward_pre_hook(entered).remove)
        hooks.callback(stack.register_forward_hook(left).remove)
        for block in stack.blocks:
            hooks.callback(block.register_forward_hook(ran).remove)
        yield states

"""Counts the floating-point operations of a forward and of its backward pass, module by module.

Matrix products count, a multiplication and an addition as two operations, by the formulas of torch's own `FlopCounterMode`; attention runs by its
plain formula, so that it counts whatever kernel a device would take. Unlike torch's counter this one knows of every product of a backward pass which
module it belongs to, also where a module runs several times or its inputs have no gradient.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.hooks import RemovableHandle

from transformer_zoo.experiments.shapes import run_on_meta
from transformer_zoo.layers.linear import has_onednn
from transformer_zoo.layers.vocabulary_scores import VocabularyScores
from transformer_zoo.models.base import Model
from transformer_zoo.records import Inputs, ModelOutput

NO_VALUES = "meta tensor"
"""In the error of a model without memory whose operations depend on values of the batch."""


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Floating-point operations by module path; what stands at "" is all."""

    forward: dict[str, float]
    backward: dict[str, float]


class OperationCounter(TorchDispatchMode):
    """While it is entered, every product is counted for the modules that are running, and in a backward pass for those that ran when its node of the
    graph was made."""

    def __init__(self) -> None:
        super().__init__()
        self.forward: dict[str, float] = defaultdict(float)
        self.backward: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since: list[tuple[int, tuple[str, ...]]] = [(0, ())]
        """From which number of the graph's nodes on which modules were running."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        result = run_on_meta(func, args, kwargs)
        packet = func._overloadpacket
        if packet in _FORMULAS:
            operations = _FORMULAS[packet](*args, **kwargs, out_val=result)
            node = torch._C._current_autograd_node()
            counts, modules = (self.forward, self._running) if node is None else (self.backward, self._ran_at(node._sequence_nr()))
            for path in ("", *modules):
                counts[path] += operations
        return result

    def _ran_at(self, node: int) -> tuple[str, ...]:
        return self._since[bisect_right(self._since, node, key=lambda entry: entry[0]) - 1][1]

    def _note(self) -> None:
        self._since.append((torch.autograd._get_sequence_nr(), tuple(self._running)))

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Within this the modules of a model say when they run."""

        def enter(path: str, *_: Any) -> None:
            self._running.append(path)
            self._note()

        def leave(*_: Any) -> None:
            self._running.pop()
            self._note()

        handles: list[RemovableHandle] = []
        for path, module in model.named_modules():
            if path:
                handles += [module.register_forward_pre_hook(partial(enter, path)), module.register_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def count_forward(model: Model, inputs: Inputs) -> dict[str, float]:
    """Floating-point operations of one forward by module path; "" is all, scores over the vocabulary included."""
    counter = OperationCounter()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter.watching(model), counter:
        output = model(inputs)
    counter.forward[""] += sum(map(_scores, _vocabulary(output)))
    return dict(counter.forward)


def count_step(model: Model, inputs: Inputs) -> Operations:
    """Of one forward and the backward pass from all heads, which are what an objective scores. Scores over the vocabulary count by their products:
    one forward, one each for the gradients of the hidden states and of the matrix. Gradients stay on the model.

    Raises:
        RuntimeError: the model has no memory, and what it computes depends on values of the batch (see NO_VALUES).
    """
    counter, scored = OperationCounter(), list[Tensor]()

    def note(tensor: Tensor) -> Tensor:
        if tensor.requires_grad:
            scored.append(tensor)
        return tensor

    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter.watching(model), counter:
        output = model(inputs)
    replace(output, hidden=output.hidden.detach()).map_tensors(note)
    with sdpa_kernel(SDPBackend.MATH), counter:
        torch.autograd.backward(scored, [torch.ones_like(tensor) for tensor in scored])
    for scores in _vocabulary(output):
        counter.forward[""] += _scores(scores)
        counter.backward[""] += _scores(scores) * (scores.hidden.requires_grad + scores.weight.requires_grad)
    return Operations(forward=dict(counter.forward), backward=dict(counter.backward))


def _vocabulary(output: ModelOutput) -> list[VocabularyScores]:
    return [head for head in output.heads.values() if isinstance(head, VocabularyScores)]


def _scores(scores: VocabularyScores) -> float:
    return 2.0 * scores.hidden.numel() * scores.weight.shape[0]


def _of_onednn(x: Any, weight: Any, *_: Any, out_val: Any) -> float:
    """`out_val` is what a counter's formulas are told besides."""
    del out_val
    return 2.0 * x.numel() * weight.shape[0]


_FORMULAS: dict[Any, Callable[..., float]] = dict(flop_registry) | {torch.ops.aten.addmm_: flop_registry[torch.ops.aten.addmm]}
"""Torch's own, and those of products that it does not count."""
if has_onednn():
    _FORMULAS[torch.ops.mkldnn._linear_pointwise] = _of_onednn

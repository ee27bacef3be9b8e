"""Which kernel an attention really ran by: watched for one forward and backward, so that it costs later ones nothing.

A kernel says which way it takes (`Kernel.took`). Which backend PyTorch's fused attention picks is asked of PyTorch's own selection, with the very
tensors it was called with. Compiled code is not looked into: there the selection is asked with tensors of the same kind.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend
from torch.overrides import TorchFunctionMode

from transformer_zoo.layers.attention.base import Attention
from transformer_zoo.layers.attention.kernels import BIAS, CAUSAL, DENSE, LEARNED, OWN, UNMASKED, Kernel
from transformer_zoo.layers.blocks import Block

DROPOUT = "dropout of attention weights"
ADVICE = {
    DROPOUT: "on this device PyTorch's fused kernels drop no attention weights; model.attention.dropout=0 lets them run",
    LEARNED: "PyTorch's fused kernel has no gradient for a learned score bias here; model/positions=alibi or rotary lets it run",
    "window": "a score bias makes a window cost as much as all pairs; model/positions=rotary computes it along its band",
    "packed": "a mask as a tensor of all pairs; model/attention/kernel=flex skips what it forbids (with model.attention.dropout=0)",
    "reference": "the formula spelt out is slow; model/attention/kernel=sdpa computes the same",
}
"""What is slow, and what is at hand instead."""


@dataclass(frozen=True, kw_only=True)
class AttentionKernel:
    """What layers of one stack ran by."""

    attention: str
    """Where they stand: `stack: self-attention`, `decoder: cross-attention`."""
    layers: str
    """Their numbers: `0-3`, `0, 2`; empty outside a stack."""
    kernel: str
    """`sdpa: flash, causal flag`."""
    advice: str = ""
    """What would be faster; empty where nothing is at hand."""

    def __str__(self) -> str:
        return f"{self.attention}{f' (layers {self.layers})' if self.layers else ''}: {self.kernel}"


@dataclass
class Watch:
    """Call `found` after the watched forward."""

    model: nn.Module
    compiled: bool
    dtype: torch.dtype
    """What the scores are computed in, where nothing can be seen of compiled code."""
    calls: dict[str, list[str]] = field(default_factory=dict)
    """Backends and reasons by the module that called, of all that ran."""
    device: torch.device = field(init=False)
    attentions: dict[str, Attention] = field(init=False)

    def __post_init__(self) -> None:
        self.device = next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))
        self.attentions = {name: module for name, module in self.model.named_modules() if isinstance(module, Attention)}

    def found(self) -> list[AttentionKernel]:
        """What ran, layers that ran alike together; modules that did not run are left out."""
        places = {name: self._place(name) for name in self.attentions}
        told = {name: self._told(name, module) for name, module in self.attentions.items()}
        together: dict[tuple[str, str, str], list[int]] = {}
        for name, (where, layer) in places.items():
            kernel, advice = told[name]
            if kernel:
                together.setdefault((where, kernel, advice), []).extend([] if layer is None else [layer])
        return [
            AttentionKernel(attention=where, layers=spans(layers), kernel=kernel, advice=advice)
            for (where, kernel, advice), layers in together.items()
        ]

    def _place(self, name: str) -> tuple[str, int | None]:
        """Where an attention stands, in words, and the number of its layer."""
        owner, _, role = name.rpartition(".")
        parent = self.model.get_submodule(owner)
        if not isinstance(parent, Block):
            return name or "attention", None
        stack, _, number = owner.rpartition(".blocks.")
        return f"{stack or 'stack'}: {'cross' if role == 'cross_attention' else 'self'}-attention", int(number)

    def _told(self, name: str, module: Attention) -> tuple[str, str]:
        """The kernel of one attention in words, and what would be faster. One that does not say which way it took is told by its name."""
        kernel = getattr(module, "kernel", None)
        known = kernel if isinstance(kernel, Kernel) else None
        took = "" if known is None else known.took
        calls = self.calls.get(name, [])
        if self.compiled and known is not None and known.asks_sdpa:
            if not took:
                return "", ""  # it did not run
            calls = [] if took.startswith(OWN) else [self._expected(module, took)]
        elif not self.compiled and name not in self.calls:
            return "", ""
        label = type(module).__name__ if known is None else known.name
        backends = " and ".join(dict.fromkeys(calls))
        text = ", ".join(part for part in (backends, took) if part and part != label)
        return f"{label}: {text}" if text else label, self._advice(module, f"{label} {text}")

    def _advice(self, module: Attention, text: str) -> str:
        if text.startswith("reference"):
            return ADVICE["reference"]
        if DROPOUT in text:
            return ADVICE[DROPOUT]
        if LEARNED in text and ("math" in text or (OWN in text and not getattr(module, "attention_dropout", 0.0))):
            return ADVICE[LEARNED]
        if BIAS in text and max(module.own_mask.reach()) < float("inf"):
            return ADVICE["window"]
        return ADVICE["packed"] if self.device.type == "cuda" and text.endswith(DENSE) else ""

    def _expected(self, module: Attention, took: str) -> str:
        """What PyTorch would pick for tensors of the same kind."""
        dropout = float(getattr(module, "attention_dropout", 0.0)) if module.training else 0.0
        q, k, v = (torch.empty(1, 2, 128, module.head_width, dtype=self.dtype, device=self.device).requires_grad_() for _ in range(3))
        mask = None
        if BIAS in took:
            mask = q.new_zeros(1, 2, 128, 128, requires_grad=LEARNED in took)
        elif took not in (CAUSAL, UNMASKED):
            mask = torch.ones(1, 1, 128, 128, dtype=torch.bool, device=self.device)
        return picked(q, k, v, mask, dropout, took == CAUSAL)


def picked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, causal: bool, scale: float | None = None) -> str:
    """The backend that `scaled_dot_product_attention` picks for these arguments, and that dropout is why where it is none of the fused ones."""
    if torch.is_autocast_enabled(q.device.type):
        dtype = torch.get_autocast_dtype(q.device.type)
        q, k, v = (x.to(dtype) for x in (q, k, v))
        mask = mask.to(dtype) if mask is not None and mask.is_floating_point() else mask
    choice = SDPBackend(torch._fused_sdp_choice(q, k, v, mask, dropout, causal, scale=scale))
    name = choice.name.split("_")[0].lower()
    return f"{name} ({DROPOUT})" if choice == SDPBackend.MATH and dropout else name


class _Listener(TorchFunctionMode):
    """Hears every call of the fused attention, and knows in which module it stands."""

    def __init__(self, calls: dict[str, list[str]]) -> None:
        super().__init__()
        self.calls = calls
        self.inside: list[str] = []

    def enter(self, name: str) -> None:
        self.inside.append(name)
        self.calls.setdefault(name, [])

    def leave(self) -> None:
        self.inside.pop()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        given = kwargs or {}
        if function is F.scaled_dot_product_attention and self.inside:
            q, k, v = args[:3]
            choice = picked(q, k, v, given.get("attn_mask"), given.get("dropout_p", 0.0), given.get("is_causal", False), given.get("scale"))
            self.calls[self.inside[-1]].append(choice)
        return function(*args, **given)


@contextmanager
def watched(model: nn.Module, *, compiled: bool = False, dtype: torch.dtype = torch.float32) -> Iterator[Watch]:
    """Watches a model's attentions while it runs. `compiled`: its forward is compiled, and must stay as it is."""
    watch = Watch(model=model, compiled=compiled, dtype=dtype)
    for module in watch.attentions.values():
        if isinstance(kernel := getattr(module, "kernel", None), Kernel):
            kernel.took = ""
    if compiled:
        yield watch
        return
    listener = _Listener(watch.calls)
    with ExitStack() as stack:
        for name, module in watch.attentions.items():
            stack.callback(module.register_forward_pre_hook(lambda *_, name=name: listener.enter(name)).remove)
            stack.callback(module.register_forward_hook(lambda *_: listener.leave(), always_call=True).remove)
        stack.enter_context(listener)
        yield watch


def spans(numbers: Iterable[int]) -> str:
    """`0-3, 5` for 0, 1, 2, 3 and 5."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(sorted(set(numbers))), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)

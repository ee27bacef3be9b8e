"""What is told of kernels is what ran: PyTorch's profiler says the same."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from contracts.builders import attention, build, config, inputs, tokens
from transformer_zoo.experiments import catalog
from transformer_zoo.layers.attention import kernels
from transformer_zoo.layers.attention.bigbird import BigBirdConfig
from transformer_zoo.layers.attention.watching import AttentionKernel, picked, spans, watched
from transformer_zoo.layers.lowering import LoweredMask
from transformer_zoo.layers.positions import Site
from transformer_zoo.models.base import Model
from transformer_zoo.records import SequenceInputs

OPERATIONS = {
    "aten::_scaled_dot_product_flash_attention_for_cpu": "flash",
    "aten::_scaled_dot_product_attention_math": "math",
}
T = 24


def profiled(run: Callable[[], object]) -> set[str]:
    """Backends of PyTorch's fused attention that the profiler saw."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    return {OPERATIONS[event.key] for event in seen.key_averages() if event.key in OPERATIONS}


ARGUMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "causal": lambda: {"is_causal": True},
    "dense": lambda: {"attn_mask": torch.ones(1, 1, T, T, dtype=torch.bool).tril()},
    "bias": lambda: {"attn_mask": torch.randn(1, 4, T, T)},
    "learned bias": lambda: {"attn_mask": torch.randn(1, 4, T, T, requires_grad=True)},
    "dropout": lambda: {"dropout_p": 0.1},
    "scaled": lambda: {"scale": 1.0},
}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", list(ARGUMENTS))
def test_the_selection_is_what_the_profiler_saw(name: str, autocast: bool):
    q, k, v = (torch.randn(2, 4, T, 16, requires_grad=True) for _ in range(3))
    v = v.bfloat16() if autocast else v  # as projections leave it; queries and keys were turned in float32
    given = ARGUMENTS[name]()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        told = picked(q, k, v, given.get("attn_mask"), given.get("dropout_p", 0.0), given.get("is_causal", False), given.get("scale"))
        assert {told.split()[0]} == profiled(lambda: F.scaled_dot_product_attention(q, k, v, **given))


def watched_step(model: Model, record: Any) -> list[AttentionKernel]:
    with watched(model.train()) as watch:
        model(record).hidden.square().sum().backward()
    return watch.found()


def kernel_of(model: Model, record: Any) -> str:
    (told,) = watched_step(model, record)
    return told.kernel


def padded(length: int = T) -> SequenceInputs:
    return SequenceInputs(token_ids=tokens(length=length), valid=torch.arange(length) < torch.tensor([[length], [length - 2], [3]]))


def packed() -> SequenceInputs:
    return SequenceInputs(token_ids=tokens(length=T), document_ids=(torch.arange(T) // 9).expand(3, -1))


CASES: dict[str, tuple[str, dict[str, Any], SequenceInputs, str]] = {
    "encoder": ("encoder", {}, inputs("encoder", tokens()), "sdpa: flash, no mask"),
    "decoder": ("decoder", {}, inputs("decoder", tokens()), "sdpa: flash, causal flag"),
    "padding": ("encoder", {}, padded(), "sdpa: flash, dense mask"),
    "packed": ("decoder", {}, packed(), "sdpa: flash, dense mask"),
    "rotary": ("decoder", {"positions": "rotary"}, inputs("decoder", tokens()), "sdpa: flash, causal flag"),
    "alibi": ("encoder", {"positions": "alibi"}, inputs("encoder", tokens()), "sdpa: flash, score bias"),
    "alibi, padding": ("encoder", {"positions": "alibi"}, padded(), "sdpa: flash, dense mask and score bias"),
    "alibi, causal": ("decoder", {"positions": "alibi"}, inputs("decoder", tokens()), "sdpa: flash, dense mask and score bias"),
    "t5": ("encoder", {"positions": "t5"}, inputs("encoder", tokens()), "sdpa: own, score bias with a gradient"),
    "t5, causal": ("decoder", {"positions": "t5"}, padded(), "sdpa: own, dense mask and score bias with a gradient"),
    "window": ("encoder", {"attention": attention(window=3), "max_length": 512}, inputs("encoder", tokens(length=400)), "sdpa: flash, band"),
    "wide window": ("encoder", {"attention": attention(window=3)}, inputs("encoder", tokens(length=T)), "sdpa: flash, dense mask"),
    "bigbird": (
        "encoder",
        {"attention": BigBirdConfig(kernel=kernels.SDPAConfig(), qk_norm=catalog.options("model/norm")["none"](), block_size=2, n_random=1)},
        inputs("encoder", tokens(length=T)),
        "sdpa: flash, blocks",
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_every_way_is_told_and_the_profiler_agrees(name: str):
    shape, choices, record, expected = CASES[name]
    model = build(shape, **choices)
    assert kernel_of(model, record) == expected
    assert profiled(lambda: model.train()(record)) == {expected.split(": ")[1].split(",")[0]} - {"own"}


def test_dropped_weights_and_the_formula_are_told_with_what_is_faster():
    (dropping,) = watched_step(build("decoder", attention=attention(dropout=0.1)), inputs("decoder", tokens()))
    assert dropping.kernel == "sdpa: own, dense mask"
    assert dropping.advice == ""
    (learned,) = watched_step(build("decoder", positions="t5", attention=attention(dropout=0.1)), inputs("decoder", tokens()))
    assert learned.advice == "", "nothing else drops faster"
    (learned,) = watched_step(build("decoder", positions="t5"), inputs("decoder", tokens()))
    assert learned.advice.endswith("model/positions=alibi or rotary lets it run")
    windowed = build("encoder", attention=attention(window=3, dropout=0.1), max_length=512)
    (dropping,) = watched_step(windowed, inputs("encoder", tokens(length=400)))
    assert dropping.kernel == "sdpa: math (dropout of attention weights), band"
    assert dropping.advice.endswith("model.attention.dropout=0 lets them run")
    choice = attention()
    choice.kernel = kernels.ReferenceConfig()  # type: ignore[attr-defined]
    (spelt_out,) = watched_step(build("decoder", attention=choice), inputs("decoder", tokens()))
    assert spelt_out.kernel == "reference"
    assert "model/attention/kernel=sdpa computes the same" in spelt_out.advice


def test_advice_is_given_where_something_faster_is_at_hand():
    advice = {name: watched_step(build(shape, **choices), record)[0].advice for name, (shape, choices, record, _) in CASES.items()}
    assert {name for name, text in advice.items() if text} == {"t5", "t5, causal"}
    assert "no gradient for a learned score bias" in advice["t5"]
    (windowed,) = watched_step(build("encoder", positions="alibi", attention=attention(window=3)), inputs("encoder", tokens(length=T)))
    assert windowed.advice.startswith("a score bias makes a window cost as much as all pairs")


def test_stacks_and_layers_are_told_apart():
    made = config("encoder_decoder")
    model = made.build(vocab_size=40, heads={})
    told = watched_step(model, inputs("encoder_decoder", tokens()))
    assert [(one.attention.partition(": ")[2], one.layers, one.kernel) for one in told] == [
        ("self-attention", "0-1", "sdpa: flash, no mask"),
        ("self-attention", "0-1", "sdpa: flash, causal flag"),
        ("cross-attention", "0-1", "sdpa: flash, no mask"),
    ]
    assert len({one.attention for one in told}) == 3


def test_layers_that_differ_are_told_apart():
    model = build("encoder", n_layers=4, max_length=512)
    for layer in (0, 3):
        windowed = attention(window=3).build(d_model=24, n_heads=3)
        block: Any = model.stack.blocks[layer]  # type: ignore[union-attr, index]
        block.attention, block.mask = windowed, block.mask & windowed.own_mask
    told = watched_step(model, inputs("encoder", tokens(length=400)))
    assert [str(one) for one in told] == [
        "stack: self-attention (layers 0, 3): sdpa: flash, band",
        "stack: self-attention (layers 1-2): sdpa: flash, no mask",
    ]


def test_longformer_is_told_by_the_way_of_most_tokens():
    model = build("encoder", attention=attention("longformer", window=3), max_length=512)
    record = inputs("encoder", tokens(length=400))
    record.global_positions = torch.zeros(3, 400, dtype=torch.bool)  # type: ignore[union-attr]
    record.global_positions[:, 0] = True  # type: ignore[union-attr, index]
    assert kernel_of(model, record) == "sdpa: flash, band"


def test_nothing_is_left_of_a_watch():
    model = build("decoder")
    watched_step(model, inputs("decoder", tokens()))
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_modules_that_do_not_run_are_left_out():
    model = build("decoder")
    with watched(model) as watch:
        pass
    assert watch.found() == []


@torch.no_grad()
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("bias", [None, torch.zeros(1, 3, T, T), torch.zeros(1, 3, T, T, requires_grad=True)])
def test_compiled_code_is_told_alike_and_compiled_once(causal: bool, dropout: float, bias: Tensor | None):
    module = attention(dropout=dropout).build(d_model=24, n_heads=3)
    x, graphs = torch.randn(2, T, 24), []

    def run(x: Tensor) -> Tensor:
        return module(x, mask=LoweredMask(causal=causal), positions=Site(bias=bias))

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(run, backend=backend)
    with watched(module, compiled=True) as watch:
        compiled(x)
    (told,), n_graphs = watch.found(), len(graphs)
    compiled(x)
    assert len(graphs) == n_graphs, "a watch that ends must not make the model be compiled anew"
    torch.compiler.reset()
    with watched(module) as watch:
        run(x)
    (eager,) = watch.found()
    drops = f"{'causal flag' if causal and bias is None else eager.kernel.removeprefix('sdpa: own, ')}"
    assert told.kernel == (f"sdpa: math (dropout of attention weights), {drops}" if dropout else eager.kernel)


class SilentKernel(kernels.ReferenceKernel):
    """A kernel of somebody else, which says nothing."""

    name = "silent"

    def __call__(self, *given: Any, **more: Any) -> Tensor:
        out = super().__call__(*given, **more)
        self.took = ""
        return out


def test_a_kernel_that_says_nothing_is_told_by_its_name():
    module = attention().build(d_model=24, n_heads=3)
    module.kernel = SilentKernel()  # type: ignore[assignment]
    for compiled in (False, True):
        with watched(module, compiled=compiled) as watch:
            module(torch.randn(2, T, 24), mask=LoweredMask(), positions=Site())
        assert [one.kernel for one in watch.found()] == ["silent"]


def test_numbers_are_told_as_spans():
    assert [spans(numbers) for numbers in ([], [3], [0, 1, 2], [5, 0, 1, 3])] == ["", "3", "0-2", "0-1, 3, 5"]

"""Operations are those that torch's own counter finds, part by part, forward and backward."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from transformer_zoo.experiments import assemble, compose, config_tree
from transformer_zoo.experiments.describe import made_up_batch, made_up_vocabulary
from transformer_zoo.experiments.operations import Operations, count_forward, count_step
from transformer_zoo.layers.attention.base import Attention
from transformer_zoo.layers.vocabulary_scores import VocabularyScores
from transformer_zoo.models.base import Model
from transformer_zoo.training.scored import Scored, weighted_loss

RECIPES = list(config_tree.options("model", config_tree.roots()))
LENGTH, VOCABULARY = 32, 100


def prepared(name: str, *overrides: str, vocab_size: int = VOCABULARY) -> tuple[Model, Any, Any]:
    """A tiny model of a recipe on the meta device, its objective, and an example."""
    config = compose.experiment([f"model={name}", "model/size=tiny", f"data.sequence_length={LENGTH}", *overrides])
    objective = config.objective.build(vocabulary=made_up_vocabulary(config.objective, vocab_size), n_classes=2)
    model = assemble.build_on_meta(config.model, vocab_size, objective.needs().heads).eval()
    batch = made_up_batch(objective.needs(), 4, LENGTH)
    return model, objective, objective.prepare(batch)


def built(name: str, *overrides: str) -> tuple[Model, Any]:
    """The model, and what its objective gives it to read."""
    model, _, example = prepared(name, *overrides)
    return model, example.inputs.to("meta", non_blocking=False)


@contextmanager
def calls(model: nn.Module, kinds: Callable[[nn.Module], bool]) -> Iterator[list[tuple[str, nn.Module, tuple[Any, ...], dict[str, Any]]]]:
    """Every call of a module of some kind, with what it was given."""
    seen: list[tuple[str, nn.Module, tuple[Any, ...], dict[str, Any]]] = []
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((names[module], module, args, kwargs))

    handles = [module.register_forward_pre_hook(note, with_kwargs=True) for module in model.modules() if kinds(module)]
    yield seen
    for handle in handles:
        handle.remove()


def torch_counts(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[float, float]:
    """Of one module alone, by torch's counter: its inputs have gradients, as inside a model."""

    def own(value: Any) -> Any:
        return value.detach().requires_grad_() if isinstance(value, Tensor) and value.is_floating_point() else value

    args, kwargs = tuple(map(own, args)), {name: own(value) for name, value in kwargs.items()}
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            output = module(*args, **kwargs)
        output = output[0] if isinstance(output, tuple) else output
        with FlopCounterMode(display=False) as backward:
            output.backward(torch.ones_like(output))
    return float(forward.get_total_flops()), float(backward.get_total_flops())


def is_part(module: nn.Module) -> bool:
    return isinstance(module, Attention) or "Feedforward" in type(module).__name__ or "Projection" in type(module).__name__


@pytest.mark.parametrize("name", RECIPES)
def test_every_part_counts_as_it_does_alone_by_torchs_counter(name: str) -> None:
    model, inputs = built(name, *(["model.attention.window=8"] if name == "longformer" else []))
    with calls(model, is_part) as seen, torch.no_grad():  # so that what layers share has no graph that the first of them uses up
        model(inputs)
    assert seen
    expected: dict[str, tuple[float, float]] = {}
    for path, module, args, kwargs in seen:
        forward, backward = torch_counts(copy.deepcopy(module), args, kwargs)
        before = expected.get(path, (0.0, 0.0))
        expected[path] = before[0] + forward, before[1] + backward
    found = count_step(model, inputs)
    for path, (forward, backward) in expected.items():
        assert found.forward[path] == pytest.approx(forward, rel=0.02), path
        assert found.backward[path] == pytest.approx(backward, rel=0.02), path


@pytest.mark.parametrize("name", RECIPES)
def test_the_whole_counts_as_by_torchs_counter(name: str) -> None:
    model, inputs = built(name, *(["model.attention.window=8"] if name == "longformer" else []))
    found = count_step(model, inputs)
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            heads = [head.logits() if isinstance(head, VocabularyScores) else head for head in model(inputs).heads.values()]
        with FlopCounterMode(display=False) as backward:
            torch.autograd.backward(heads, [torch.ones_like(head) for head in heads])
    assert found.forward[""] == pytest.approx(forward.get_total_flops(), rel=0.02)
    assert found.backward[""] == pytest.approx(backward.get_total_flops(), rel=0.02)


def in_place(_: Any, left: Any, right: Any, **rest: Any) -> int:
    """Of `addmm_`, which torch's counter does not know, by the shapes of its factors."""
    return 2 * int(left[0]) * int(left[1]) * int(right[1])


@pytest.mark.parametrize("name", ["bert", "gpt2", "transformer"])
def test_a_step_in_earnest_counts_as_by_torchs_counter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients as in training, on a CPU, by the products that torch's counter knows. The cross-entropy makes its gradients in the forward
    pass, so that only the sum can be compared."""
    monkeypatch.setattr("transformer_zoo.layers.linear.has_onednn", lambda: False)
    model, objective, example = prepared(name, vocab_size=3000)
    found = count_step(model, example.inputs.to("meta", non_blocking=False))
    real = model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*real.parameters(), *real.buffers()]:
            tensor.fill_(0.01)
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place})
    with sdpa_kernel(SDPBackend.MATH), counter:
        weighted_loss(Scored(real, objective)(example), objective.weights).backward()
    assert all(parameter.grad is not None for parameter in real.parameters())
    assert found.forward[""] + found.backward[""] == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_a_model_with_values_counts_the_same_as_one_without() -> None:
    """Also through the products of oneDNN, which torch's counter does not know."""
    model, inputs = built("bart")
    real = copy.deepcopy(model).to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*real.parameters(), *real.buffers()]:
            tensor.copy_(torch.full_like(tensor, 0.01))
    values = inputs.map_tensors(lambda tensor: torch.ones(tensor.shape, dtype=tensor.dtype))
    assert count_step(real, values) == count_step(model, inputs)


def test_forwards_alone_are_those_of_a_step() -> None:
    model, inputs = built("bert")
    assert count_forward(model, inputs) == count_step(model, inputs).forward


def test_what_is_frozen_has_no_gradient_to_make() -> None:
    model, inputs = built("gpt2")
    whole = count_step(model, inputs)
    model.requires_grad_(False)
    last = [module for path, module in model.named_modules() if path.endswith("feedforward")][-1]
    last.requires_grad_(True)
    part = count_step(model, inputs)
    assert isinstance(part, Operations)
    assert part.forward == whole.forward
    assert part.backward[""] < 0.5 * whole.backward[""]

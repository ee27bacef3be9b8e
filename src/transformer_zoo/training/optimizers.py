"""Optimisers: torch's own, with decay groups by dimension and a state that is saved by parameter name."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from transformer_zoo.settings import Config, NonNegativeFloat, OneOf, PositiveFloat, PositiveInt, Probability, Range
from transformer_zoo.training.adamw import AdamW
from transformer_zoo.training.muon import Muon
from transformer_zoo.training.parallel import full_tensor, like_shard


class Optimizer(Protocol):
    """What the trainer asks of an optimiser; every `torch.optim.Optimizer` is one."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def step(self) -> Any: ...

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


@runtime_checkable
class Gated(Protocol):
    """An optimiser that can leave an update out by what the device alone knows."""

    def step_unless(self, skip: Tensor) -> None:
        """An update, unless the number `skip` is 1."""


@dataclass(kw_only=True)
class OptimizerConfig(Config):
    """What turns gradients into updates."""

    slot: ClassVar[str | None] = "optimizer"
    shardable: ClassVar[bool] = True
    """Whether it can update parameters that are cut over several processes (`training.parallel=fsdp`)."""

    lr: PositiveFloat = 1e-3
    """Learning rate at the schedule's peak."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay, a share of lr per step; for parameters with at least two axes, not for biases and norms."""
    decay_embeddings: bool = True
    """Whether embedding tables decay too."""

    def build(self, model: nn.Module) -> Optimizer:
        """An optimiser over the model's trainable parameters."""
        raise NotImplementedError("abstract")

    def operations(self, parameters: "Iterable[Owned]") -> float:
        """Floating-point operations of one update, by formula: those on single numbers and, where there are any, matrix products."""
        raise NotImplementedError("abstract")

    def groups(self, parameters: "Iterable[Owned]") -> list[dict[str, Any]]:
        """Parameter groups with and without decay; empty ones are left out."""
        decaying: list[Tensor] = []
        still: list[Tensor] = []
        for owned in parameters:
            decays = owned.parameter.ndim >= 2 and (self.decay_embeddings or not owned.is_embedding)
            (decaying if decays else still).append(owned.parameter)
        groups = [{"params": decaying, "weight_decay": self.weight_decay}, {"params": still, "weight_decay": 0.0}]
        return [group for group in groups if group["params"]]


@dataclass(frozen=True)
class Owned:
    """A trainable parameter with what an optimiser may want to know of its place."""

    name: str
    parameter: nn.Parameter
    is_embedding: bool
    """A table of `nn.Embedding`, also where a head is tied to it."""
    is_hidden: bool
    """A matrix inside a block of a stack, neither embedding nor head."""


def owned_parameters(model: nn.Module, *, trainable_only: bool = True) -> list[Owned]:
    """The model's parameters, tied ones once."""
    tables = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters(recurse=False)}
    inside = {
        id(p) for module in model.modules() if isinstance(module, nn.ModuleList) for p in module.parameters() if p.ndim == 2
    } - tables  # heads hang on a model by name, never in a list
    return [
        Owned(name, parameter, id(parameter) in tables, id(parameter) in inside)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or not trainable_only
    ]


def _size(parameters: Iterable[Owned]) -> float:
    return float(sum(owned.parameter.numel() for owned in parameters))


_ADAMW_EACH = 16

Beta = Annotated[float, Range(0, 1, open_maximum=True)]


@dataclass(kw_only=True)
class AdamWConfig(OptimizerConfig):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101), fused."""

    beta1: Beta = 0.9
    """Memory of the mean of gradients."""
    beta2: Beta = 0.98
    """Memory of the mean of squared gradients."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""

    def build(self, model: nn.Module) -> Optimizer:
        parameters = owned_parameters(model)
        fused = all(owned.parameter.device.type in ("cpu", "cuda", "mps") for owned in parameters)
        return AdamW(self.groups(parameters), lr=self.lr, betas=(self.beta1, self.beta2), eps=self.eps, fused=fused)

    def operations(self, parameters: Iterable[Owned]) -> float:
        """Of each parameter: 3 for either moment and 1 for the square, 2 to correct their bias, 3 for root, eps and quotient, 2 for the update, 2 for
        decay."""
        return _ADAMW_EACH * _size(parameters)


@dataclass(kw_only=True)
class AdafactorConfig(OptimizerConfig):
    """Second moments kept as row and column means (Shazeer & Stern 2018, https://arxiv.org/abs/1804.04235)."""

    shardable: ClassVar[bool] = False

    lr: PositiveFloat = 0.01
    """Relative step: an update is at most lr times the root mean square of its parameter."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay, a share of lr per step; for parameters with at least two axes."""
    beta2_decay: Annotated[float, Range(-2, 0)] = -0.8
    """Exponent of the step by which the memory of second moments grows."""
    eps: PositiveFloat = 1e-3
    """Floor of a parameter's root mean square."""
    clip: PositiveFloat = 1.0
    """Largest root mean square of an update before scaling."""

    def build(self, model: nn.Module) -> Optimizer:
        groups = self.groups(owned_parameters(model))
        return torch.optim.Adafactor(
            groups, lr=self.lr, beta2_decay=self.beta2_decay, eps=(None, self.eps), d=self.clip, weight_decay=self.weight_decay
        )

    def operations(self, parameters: Iterable[Owned]) -> float:
        """Of each parameter: 2 for either mean of squares, 2 for their product and its scale, 2 for root and quotient, 2 for the norm of the update
        and 2 for that of the parameter, 2 for the update, 1 for decay. A vector keeps its squares whole, which is 4 in the place of the first 6."""
        return float(sum(p.parameter.numel() * (13 if p.parameter.ndim > 1 else 11) for p in parameters))


@dataclass(kw_only=True)
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum."""

    lr: PositiveFloat = 0.1
    """Learning rate at the schedule's peak."""
    weight_decay: NonNegativeFloat = 0.0
    """Weight decay added to the gradient; for parameters with at least two axes."""
    momentum: Probability = 0.9
    """Memory of past gradients; 0 switches it off."""
    nesterov: bool = False
    """Look ahead along the momentum (Nesterov); needs momentum above 0."""

    def problems(self) -> list[str]:
        """Cross-field checks."""
        return ["nesterov=true needs momentum above 0"] if self.nesterov and not self.momentum else []

    def build(self, model: nn.Module) -> Optimizer:
        return torch.optim.SGD(self.groups(owned_parameters(model)), lr=self.lr, momentum=self.momentum, nesterov=self.nesterov)

    def operations(self, parameters: Iterable[Owned]) -> float:
        """Of each parameter: 2 for the update, 2 for decay, 2 for the momentum, 2 for looking ahead along it."""
        each = 2 + 2 * bool(self.weight_decay) + 2 * bool(self.momentum) + 2 * self.nesterov
        return each * _size(parameters)


@dataclass(kw_only=True)
class MuonConfig(OptimizerConfig):
    """Momentum made orthogonal by Newton–Schulz steps for the matrices inside the blocks (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon), AdamW for embeddings, heads, norms and biases.

    The iterations compute in bf16, so that on sharded parameters (fsdp) losses equal those of one process to 1e-4 only.
    """

    momentum: Beta = 0.95
    """Memory of past gradients."""
    nesterov: bool = True
    """Look ahead along the momentum."""
    n_steps: PositiveInt = 5
    """Newton–Schulz iterations."""
    scaling: Annotated[str, OneOf("original", "match_rms_adamw")] = "match_rms_adamw"
    """How lr is scaled by a matrix's shape; `match_rms_adamw` makes updates as large as AdamW's, so that one lr serves both."""
    beta1: Beta = 0.9
    """AdamW's memory of the mean of gradients."""
    beta2: Beta = 0.98
    """AdamW's memory of the mean of squared gradients."""
    eps: PositiveFloat = 1e-8
    """AdamW's addition to the root of the second moment."""

    def build(self, model: nn.Module) -> Optimizer:
        parameters = owned_parameters(model)
        hidden = [owned for owned in parameters if owned.is_hidden]
        others = [owned for owned in parameters if not owned.is_hidden]
        adamw = AdamW(self.groups(others), lr=self.lr, betas=(self.beta1, self.beta2), eps=self.eps, fused=True)
        if not hidden:
            return adamw
        muon = Muon(
            [owned.parameter for owned in hidden],
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov,
            ns_steps=self.n_steps,
            adjust_lr_fn=self.scaling,
        )
        return Combined(muon, adamw)

    def operations(self, parameters: Iterable[Owned]) -> float:
        """AdamW's for all but the matrices inside the blocks. Of these, each number: 3 for the momentum, 3 for looking ahead, 3 for the norm, 1 for
        decay, 2 for the update. And in each Newton–Schulz iteration of a matrix m by n, m the smaller: m·m·n for the Gram matrix, m·m·m for its
        square, m·m·n for the new matrix, a multiplication and an addition each."""
        owned = list(parameters)
        total = _ADAMW_EACH * _size(one for one in owned if not one.is_hidden)
        for one in owned:
            if one.is_hidden:
                m, n = sorted(one.parameter.shape)
                total += (9 + 3 * self.nesterov) * m * n + self.n_steps * (2 * m * m * n + 2 * m**3 + 2 * m * m * n)
        return total


class Combined:
    """Several optimisers over disjoint parameters, stepped and saved as one."""

    def __init__(self, *parts: Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """As torch's: `state` by running number, `param_groups` with those numbers."""
        whole: dict[str, Any] = {"state": {}, "param_groups": []}
        first = 0
        for part in self.parts:
            state = part.state_dict()
            whole["state"].update({first + number: value for number, value in state["state"].items()})
            for group in state["param_groups"]:
                whole["param_groups"].append({**group, "params": [first + number for number in group["params"]]})
            first = 1 + max(number for group in whole["param_groups"] for number in group["params"])
        return whole

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        groups = list(state_dict["param_groups"])
        for part in self.parts:
            own, groups = groups[: len(part.param_groups)], groups[len(part.param_groups) :]
            numbers = [number for group in own for number in group["params"]]
            first = min(numbers)
            part.load_state_dict(
                {
                    "state": {number - first: state_dict["state"][number] for number in numbers if number in state_dict["state"]},
                    "param_groups": [{**group, "params": [number - first for number in group["params"]]} for group in own],
                }
            )


# --- state by name: independent of the order of groups and of how parameters are sharded -----------------------------------------


def _numbered(optimizer: Optimizer, model: nn.Module) -> dict[int, tuple[str, Tensor]]:
    """Parameter number in the optimiser's state dict → (name in the model, parameter)."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in optimizer.state_dict()["param_groups"] for number in group["params"]]
    return {number: (names[id(parameter)], parameter) for number, parameter in zip(numbers, parameters, strict=True)}


def optimizer_state(optimizer: Optimizer, model: nn.Module) -> dict[str, dict[str, Any]]:
    """Moments and step counts by parameter name, whole and on the CPU. With sharded parameters every process must ask."""
    numbered = _numbered(optimizer, model)
    state = optimizer.state_dict()["state"]
    return {
        numbered[number][0]: {key: full_tensor(value).detach().cpu() if isinstance(value, Tensor) else value for key, value in entries.items()}
        for number, entries in state.items()
    }


def load_optimizer_state(optimizer: Optimizer, model: nn.Module, saved: dict[str, dict[str, Any]]) -> None:
    """Put back what `optimizer_state` gave; learning rates and the like stay as configured."""
    state: dict[int, dict[str, Any]] = {}
    for number, (name, parameter) in _numbered(optimizer, model).items():
        if name in saved:
            state[number] = {
                key: like_shard(value, parameter) if isinstance(value, Tensor) and value.ndim else value for key, value in saved[name].items()
            }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

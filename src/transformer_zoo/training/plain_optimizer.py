"""What our own optimisers share: groups, state and gradients, as `torch.optim.Optimizer` keeps them but without what loads the compiler."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor


class PlainOptimizer:
    """`torch.optim.Optimizer` imports `torch._dynamo` when it is built, which costs every start of a run more than a second.

    `groups` are dictionaries of `params` (leaves that need gradients) and settings, `defaults` the settings of groups that do not say otherwise.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], defaults: dict[str, Any]) -> None:
        self.param_groups: list[dict[str, Any]] = [{**defaults, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or fill them with zeros."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """As torch's: `state` by running number, `param_groups` with those numbers."""
        numbers = {id(p): number for number, p in enumerate(p for group in self.param_groups for p in group["params"])}
        return {
            "state": {numbers[id(parameter)]: state for parameter, state in self.state.items()},
            "param_groups": [{**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, of this class or of torch's, over the same parameters in the same groups. Tensors are copied."""
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            assert len(group["params"]) == len(saved["params"]), "the state belongs to other parameters"
            group.update({key: saved[key] for key in group if key != "params" and key in saved})
            for parameter, number in zip(group["params"], saved["params"], strict=True):
                if number in state_dict["state"]:
                    self.state[parameter] = self._taken_over(parameter, state_dict["state"][number], group)

    def _taken_over(self, parameter: Tensor, saved: dict[str, Tensor], group: dict[str, Any]) -> dict[str, Tensor]:
        """A copy of a parameter's saved state, where the parameter is."""
        return {key: value.to(parameter.device, parameter.dtype, copy=True) for key, value in saved.items()}

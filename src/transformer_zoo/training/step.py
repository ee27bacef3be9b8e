"""One optimiser step: agree on the counts, backpropagate Σ weight · sum / count, clip, check, update."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsFloat

import torch
from torch import Tensor

from transformer_zoo.data.stream import StepExamples
from transformer_zoo.training.later import Later
from transformer_zoo.training.optimizers import Gated, Optimizer
from transformer_zoo.training.parallel import Replica, World, full_tensor
from transformer_zoo.training.precision import Precision
from transformer_zoo.training.scored import weighted_loss

logger = logging.getLogger(__name__)


def defers(device: torch.device) -> bool:
    """Whether steps on a device are deferred: only there is anything to wait for."""
    return device.type == "cuda"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What all processes know before a step's first forward."""

    seconds: float
    """The first process's clock."""
    flags: list[float]
    """How many processes got each signal."""
    n_forwards: int
    """Forwards of this process, fillers included."""
    tokens: int
    """Tokens of the whole step."""
    counts: dict[str, int]
    """Denominators of the whole step by loss term."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step did."""

    told: SupportsFloat
    """The norm; where steps are deferred, still on its way."""
    sums: dict[str, Tensor]
    """Loss sums of this process by term, on the device."""
    skipped: Tensor | None = None
    """On the device, where steps are deferred: 1 where nothing was updated, else 0. None: what `norm` says is known already."""

    @property
    def norm(self) -> float:
        """Of the whole gradient, before clipping. Not finite: nothing was updated."""
        return float(self.told)


class Stepper:
    """Runs steps. Counts are added up before the backward pass, so that accumulation, ragged batches and several processes give exactly the
    full batch's gradient; an update that is not finite is never applied.

    With `deferred`, where the optimiser can do it, the device itself leaves such an update out and the host asks later whether it did, so that it
    never waits for the device between two steps. With `stops` nothing is updated after such a step either.
    """

    def __init__(
        self,
        *,
        replica: Replica,
        optimizer: Optimizer,
        precision: Precision,
        world: World,
        device: torch.device,
        clip_norm: float | None,
        deferred: bool = False,
        stops: bool = True,
    ) -> None:
        self.replica, self.optimizer, self.precision, self.world, self.device = replica, optimizer, precision, world, device
        self.clip_norm = clip_norm
        self._gated = optimizer if deferred and isinstance(optimizer, Gated) else None
        self._stops = stops
        self._stopped: Tensor | None = None
        self.weights = replica.scored.weights
        self._peaks = [float(group["lr"]) for group in optimizer.param_groups]

    def agree(self, item: StepExamples, *, seconds: float, flags: Sequence[float]) -> Agreement:
        """Exchange, in one message, what a step needs to know of all processes."""
        real = [] if item.filler else item.examples
        own = [seconds, len(item.examples), *flags, sum(example.tokens for example in real)]
        own += [sum(example.counts.get(term, 0) for example in real) for term in self.weights]
        told = self.world.gather(own)
        first, totals = 2 + len(flags), told.sum(0).tolist()
        return Agreement(
            seconds=float(told[0, 0]),
            flags=totals[2:first],
            n_forwards=int(told[:, 1].max()) if self.replica.forwards_together else len(item.examples),
            tokens=int(totals[first]),
            counts={term: int(count) for term, count in zip(self.weights, totals[first + 1 :], strict=True)},
        )

    def run(self, item: StepExamples, agreed: Agreement, lr_factor: float) -> StepResult:
        """The step itself. Gradients stay for inspection where they are known not to be finite; `forget` drops them."""
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * lr_factor
        sums = self.backward(item, agreed)
        norm = self._clip()
        if self._gated is not None:
            skipped = self._skipped(norm)
            self._gated.step_unless(skipped)
            self.forget()
            return StepResult(told=Later(norm), sums=sums, skipped=skipped)
        known = float(norm)  # here the host waits for the device
        if math.isfinite(known):
            self.optimizer.step()
            self.forget()
        return StepResult(told=known, sums=sums)

    def _skipped(self, norm: Tensor) -> Tensor:
        """1 where the update must be left out, else 0."""
        skipped = (~torch.isfinite(norm)).float()
        if self._stops:
            skipped = self._stopped = skipped if self._stopped is None else torch.maximum(skipped, self._stopped)
        return skipped

    def forget(self) -> None:
        """Drop the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def no_sums(self) -> dict[str, Tensor]:
        """A zero per loss term, in the widest format the device has."""
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return {term: torch.zeros((), dtype=dtype, device=self.device) for term in self.weights}

    def backward(self, item: StepExamples, agreed: Agreement) -> dict[str, Tensor]:
        """Add up the gradient of Σ weight · sum / count. The engines average over processes, so the loss is scaled by their number."""
        sums = self.no_sums()
        scales = {term: weight * self.world.size / max(1, agreed.counts[term]) for term, weight in self.weights.items()}
        nothing = dict.fromkeys(scales, 0.0)
        for number in range(agreed.n_forwards):
            filler = item.filler or number >= len(item.examples)
            example = item.examples[min(number, len(item.examples) - 1)].to(self.device)
            with self.replica.accumulating(last=number == agreed.n_forwards - 1):
                with self.precision.autocast():
                    report = self.replica(example)
                weighted_loss(report, nothing if filler else scales).backward()
            if not filler:
                for term in sums:
                    sums[term] += report.sums[term].detach()
        return sums

    def _clip(self) -> Tensor:
        """Shorten the gradient to the allowed norm; returns the norm it had."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = full_tensor(torch.nn.utils.get_total_norm([p.grad for p in parameters]))
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
        return norm

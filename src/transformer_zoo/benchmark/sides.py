"""One training step of a side: forward, loss, backward, clipping to norm 1, fused AdamW, gradients dropped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transformer_zoo.benchmark.jobs import Job, tokens_of
from transformer_zoo.benchmark.peers import PEERS, Maker, parameters_of
from transformer_zoo.benchmark.rounds import interleave
from transformer_zoo.benchmark.shapes import Shape
from transformer_zoo.data.stream import StepExamples, StreamState
from transformer_zoo.objectives.base import Objective
from transformer_zoo.training.optimizers import AdamWConfig
from transformer_zoo.training.parallel import Replica, World
from transformer_zoo.training.precision import Precision
from transformer_zoo.training.scored import Scored
from transformer_zoo.training.step import Stepper

OURS = "ours"
CLIP_NORM = 1.0
OPTIMIZER = AdamWConfig(lr=1e-4)


@dataclass(frozen=True, kw_only=True)
class Side:
    """Something that can be run again and again."""

    name: str
    run: Callable[[], object]
    parameters: int = 0
    """Of its model, tied ones once."""


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def trainer_step(model: nn.Module, objective: Objective, device: torch.device) -> Callable[[StepExamples], object]:
    """A step exactly as our trainer makes it, for examples on the CPU."""
    model.to(device).train()
    stepper = Stepper(
        replica=Replica(Scored(model, objective), World()),
        optimizer=OPTIMIZER.build(model),
        precision=Precision("auto", device),
        world=World(),
        device=device,
        clip_norm=CLIP_NORM,
    )

    def step(item: StepExamples) -> object:
        agreed = stepper.agree(item, seconds=0.0, flags=())
        result = stepper.run(item, agreed, 1.0)
        wait(device)
        return result

    return step


def plain_step(module: nn.Module, device: torch.device) -> Callable[[Callable[[], Tensor]], object]:
    """A step as one writes it by hand around a model of another package; it takes what computes the mean loss."""
    module.to(device).train()
    parameters = list(module.parameters())
    optimizer = torch.optim.AdamW(
        parameters,
        lr=OPTIMIZER.lr,
        betas=(OPTIMIZER.beta1, OPTIMIZER.beta2),
        eps=OPTIMIZER.eps,
        weight_decay=OPTIMIZER.weight_decay,
        fused=True,
    )
    precision = Precision("auto", device)

    def step(loss: Callable[[], Tensor]) -> object:
        with precision.autocast():
            found = loss()
        found.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait(device)
        return found

    return step


def our_side(job: Job, shape: Shape, dropout: float, device: torch.device) -> Side:
    """Our recipe for a job, through the trainer's own step."""
    from transformer_zoo.experiments.compose import recipe

    torch.manual_seed(0)
    objective, example = job.built(shape), job.example(shape)
    model = recipe(job.recipe, *job.settings(shape, dropout)).build(vocab_size=shape.vocab_size, heads=objective.needs().heads)
    step = trainer_step(model, objective, device)
    item = StepExamples(examples=[example.to(device)], state=StreamState(seed=0))
    return Side(name=OURS, run=lambda: step(item), parameters=parameters_of(model))


def peer_side(name: str, maker: Maker, job: Job, shape: Shape, dropout: float, device: torch.device) -> Side:
    """A peer on the same tokens."""
    torch.manual_seed(0)
    peer, tokens = maker(shape, dropout), tokens_of(job.example(shape)).to(device)
    step = plain_step(peer.module, device)
    return Side(name=name, run=lambda: step(lambda: peer.loss(tokens)), parameters=parameters_of(peer.module))


def fastest(name: str, makers: Mapping[str, Maker], job: Job, shape: Shape, dropout: float, device: torch.device) -> Side:
    """Of a peer's variants the fastest in the better of two interleaved tries; its name says which it is."""
    sides = [peer_side(f"{name} ({variant})" if variant else name, maker, job, shape, dropout, device) for variant, maker in makers.items()]
    if len(sides) == 1:
        return sides[0]
    seconds = interleave({side.name: side.run for side in sides}, rounds=2)
    return min(sides, key=lambda side: min(seconds[side.name]))


def step_sides(job: Job, shape: Shape, dropout: float, device: torch.device) -> dict[str, Side]:
    """Ours and all peers of a job, by the peer's name without its variant."""
    sides = {OURS: our_side(job, shape, dropout, device)}
    return sides | {name: fastest(name, makers, job, shape, dropout, device) for name, makers in PEERS[job.name].items()}

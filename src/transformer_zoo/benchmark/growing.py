"""How the cost of a training step grows: seconds, and memory in a process of its own, as one size of model or batch grows and all others stay.

A curve's exponent is the slope of a straight line through its points in logarithms (1: twice the size costs twice as much). Constants blur it
where sizes are small, so that it is also fitted over the upper half of the points. Beside it stands the exponent of the operations that a forward
counts at the very same points.
"""

import gc
import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from transformer_zoo.benchmark.jobs import CAUSAL, MASKED, Job
from transformer_zoo.benchmark.memory import peak_bytes, reset_peak
from transformer_zoo.benchmark.rounds import interleave
from transformer_zoo.benchmark.shapes import TINY, Shape
from transformer_zoo.benchmark.sides import trainer_step
from transformer_zoo.data.stream import StepExamples, StreamState
from transformer_zoo.experiments import assemble
from transformer_zoo.experiments.operations import count_forward
from transformer_zoo.layers.attention.watching import watched
from transformer_zoo.models.base import Model, ModelConfig
from transformer_zoo.objectives.base import Objective
from transformer_zoo.training.heap import keep_freed_memory

BASE = Shape(name="growth", n_layers=2, d_model=256, n_heads=4, vocab_size=2048, length=128, batch_size=8)
BATCH = 32
"""Rows of a step whose rows are split into more and more micro-batches."""
WINDOW = 32
HEAD_WIDTH = 64
STEPS = 2
"""Steps whose peak is measured; the optimiser's state comes with the first."""
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Place:
    """One point of a curve: what is trained, on what."""

    shape: Shape = BASE
    job: Job = MASKED
    settings: tuple[str, ...] = ()
    """Further settings of the recipe."""
    micro_batches: int = 1
    """Forwards of a step, each of the shape's rows."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One thing that grows."""

    axis: str
    """What grows, in words."""
    name: str
    """Tells curves of one axis apart."""
    points: Sequence[int]
    place: Callable[[int], Place]
    seconds: str
    """The exponent of time, as theory has it."""
    memory: str
    """The same of memory."""

    @property
    def key(self) -> str:
        return self.axis if self.name == self.axis else f"{self.axis}: {self.name}"


def _of_length(*settings: str) -> Callable[[int], Place]:
    return lambda length: Place(shape=replace(BASE, length=length, batch_size=1), settings=settings)


_LENGTHS = (512, 1024, 2048, 3072, 4096)
CURVES: Sequence[Curve] = (
    Curve(
        axis="width",
        name="width",
        points=(64, 128, 256, 512, 1024),
        place=lambda width: Place(shape=replace(BASE, d_model=width, n_heads=width // HEAD_WIDTH)),
        seconds="1 to 2: matrix products are quadratic, all else linear",
        memory="1 to 2: weights are quadratic, activations linear",
    ),
    Curve(
        axis="depth",
        name="depth",
        points=(1, 2, 4, 8, 16),
        place=lambda depth: Place(shape=replace(BASE, n_layers=depth)),
        seconds="towards 1: a constant part and one per layer, of which the last does less",
        memory="towards 1, from below",
    ),
    Curve(
        axis="length",
        name="full",
        points=_LENGTHS,
        place=_of_length(),
        seconds="1 to 2: attention is quadratic, all else linear",
        memory="1: no tensor of all pairs is made",
    ),
    Curve(
        axis="length",
        name="rotary",
        points=_LENGTHS,
        place=_of_length("model/positions=rotary"),
        seconds="1 to 2, as full",
        memory="1, as full",
    ),
    Curve(
        axis="length",
        name="ALiBi",
        points=_LENGTHS,
        place=_of_length("model/positions=alibi"),
        seconds="1 to 2",
        memory="1 to 2: the bias is a tensor of all pairs, one for all layers",
    ),
    Curve(
        axis="length",
        name="T5 bias",
        points=_LENGTHS,
        place=_of_length("model/positions=t5"),
        seconds="1 to 2",
        memory="1 to 2: the bias has a gradient, and every layer keeps its weights",
    ),
    Curve(
        axis="length",
        name="window",
        points=_LENGTHS,
        place=_of_length(f"model.attention.window={WINDOW}"),
        seconds="1: a token sees as many others at any length",
        memory="1",
    ),
    Curve(
        axis="vocabulary",
        name="vocabulary",
        points=(1024, 4096, 16384, 32768, 65536),
        place=lambda size: Place(shape=replace(BASE, vocab_size=size, batch_size=4), job=CAUSAL),
        seconds="0 to 1: a constant part and one per token of the vocabulary",
        memory="0 to 1: weights, gradients and the optimiser's state, no scores",
    ),
    Curve(
        axis="batch",
        name="batch",
        points=(2, 4, 8, 16, 32, 64),
        place=lambda rows: Place(shape=replace(BASE, batch_size=rows)),
        seconds="towards 1, from below: the optimiser costs the same",
        memory="towards 1, from below: weights stay",
    ),
    Curve(
        axis="accumulation",
        name="accumulation",
        points=(1, 2, 4, 8, 16),
        place=lambda parts: Place(shape=replace(BASE, batch_size=BATCH // parts), micro_batches=parts),
        seconds="0: the same rows, in more forwards",
        memory="-1 to 0: activations of one part at a time, weights stay",
    ),
)
UNITS = {
    "width": "features (d_model)",
    "depth": "layers",
    "length": "tokens of one row",
    "vocabulary": "tokens",
    "batch": "rows",
    "accumulation": f"micro-batches of a step of {BATCH} rows",
}


@dataclass(frozen=True, kw_only=True)
class Growth:
    """One curve as it was measured."""

    curve: str
    seconds: list[float]
    """Median over the rounds, by point."""
    bytes: list[float]
    """What training adds to a fresh process at its peak, by point."""
    operations: list[float]
    """Floating-point operations of the step's forwards, by point."""
    kernels: list[str]
    """What attention ran by, by point."""


def built(place: Place, *, meta: bool = False) -> tuple[Model, Objective]:
    """The model of a point, with the heads of its objective, and the objective."""
    from transformer_zoo.experiments.compose import recipe

    torch.manual_seed(0)
    objective = place.job.built(place.shape)
    config = recipe(place.job.recipe, *place.job.settings(place.shape, 0.0), *place.settings)
    assert isinstance(config, ModelConfig)
    heads, size = objective.needs().heads, place.shape.vocab_size
    return assemble.build_on_meta(config, size, heads) if meta else config.build(vocab_size=size, heads=heads), objective


def training(place: Place) -> tuple[Model, Callable[[], object]]:
    """The model of a point, and a step as the trainer makes it."""
    keep_freed_memory()
    model, objective = built(place)
    step = trainer_step(model, objective, CPU)
    item = StepExamples(examples=[place.job.example(place.shape)] * place.micro_batches, state=StreamState(seed=0))
    return model, lambda: step(item)


def operations(place: Place) -> float:
    """Floating-point operations of all forwards of a step."""
    model, _ = built(place, meta=True)
    example = place.job.example(place.shape).to("meta", non_blocking=False)
    return place.micro_batches * count_forward(model.eval(), example.inputs)[""]


def added_memory(key: str, point: int, threads: int) -> float:
    """Bytes that training at a point adds to this process, which must be a fresh one."""
    torch.set_num_threads(threads)
    (curve,) = [curve for curve in CURVES if curve.key == key]
    _, tiny = training(Place(shape=TINY, job=curve.place(point).job))
    tiny()
    gc.collect()
    base = reset_peak(CPU)
    _, step = training(curve.place(point))
    for _ in range(STEPS):
        step()
    return peak_bytes(CPU) - base


def measure_memory(curve: Curve, *, at_once: int) -> list[float]:
    """The memory of every point, each in a process of its own, forked from one that has imported everything and done nothing yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "transformer_zoo.experiments.compose"])
    with ProcessPoolExecutor(at_once, mp_context=context, max_tasks_per_child=1) as pool:
        n, threads = len(curve.points), torch.get_num_threads()
        return list(pool.map(added_memory, [curve.key] * n, curve.points, [threads] * n))


def measure_seconds(curves: Sequence[Curve], *, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[str]]]:
    """Median seconds, and kernels, of every point by curve; every round makes one step at each point of every curve."""
    steps: dict[tuple[str, int], Callable[[], object]] = {}
    kernels: dict[str, list[str]] = {curve.key: [] for curve in curves}
    for curve in curves:
        for point in curve.points:
            model, step = training(curve.place(point))
            with watched(model) as watch:
                step()  # warms up, too
            kernels[curve.key].append("; ".join(dict.fromkeys(one.kernel for one in watch.found())))
            steps[curve.key, point] = step
    names = {f"{key} {point}": (key, point) for key, point in steps}
    taken = interleave({name: steps[place] for name, place in names.items()}, rounds=rounds, warm_up=0)
    seconds = {curve.key: [statistics.median(taken[f"{curve.key} {point}"]) for point in curve.points] for curve in curves}
    return seconds, kernels


def measure(curves: Sequence[Curve] = CURVES, *, rounds: int, at_once: int = 2, told: Callable[[str], object] = lambda _: None) -> list[Growth]:
    """Every curve; those of one axis take turns."""
    found: list[Growth] = []
    for axis in dict.fromkeys(curve.axis for curve in curves):
        told(axis)
        together = [curve for curve in curves if curve.axis == axis]
        seconds, kernels = measure_seconds(together, rounds=rounds)
        gc.collect()  # the models of an axis go before the next one's come
        found += [
            Growth(
                curve=curve.key,
                seconds=seconds[curve.key],
                bytes=measure_memory(curve, at_once=at_once),
                operations=[operations(curve.place(point)) for point in curve.points],
                kernels=kernels[curve.key],
            )
            for curve in together
        ]
    return found


def exponent(points: Sequence[float], values: Sequence[float], *, upper: bool = False) -> float:
    """The least-squares slope in logarithms: over all points, or over the upper half (of five points the last three)."""
    kept = slice(len(points) // 2, None) if upper else slice(None)
    return float(np.polyfit(np.log(points[kept]), np.log(values[kept]), 1)[0])

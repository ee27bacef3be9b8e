"""Suite `limits`: how fast this machine multiplies matrices of the shapes that occur, and what share of that our training step reaches.

Three kinds of rows. `rate …`: the project's own linear layer against `torch.mm` on one product. `products alone …`: all matrix products of a
step, each by the faster of the two, against the whole step. `share of the peak …`: the operations of a step at the best rate that any of its
products reached (on a CUDA device: at the peak its maker states, where it is known), against the whole step.
"""

import gc
import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from transformer_zoo.benchmark.devices import dense_bf16_peak
from transformer_zoo.benchmark.flops import Product, by_part, stack, training_operations, vocabulary
from transformer_zoo.benchmark.jobs import JOBS, Job
from transformer_zoo.benchmark.records import Comparison, compare, quartiles
from transformer_zoo.benchmark.rounds import interleave
from transformer_zoo.benchmark.shapes import Shape, shapes
from transformer_zoo.benchmark.sides import OURS, our_side, wait
from transformer_zoo.benchmark.steps import row_name
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.training.precision import Precision

logger = logging.getLogger(__name__)

DROPOUT = 0.1
PLAIN = "torch.mm"
ALONE, PEAK = "its matrix products alone", "the machine's measured peak"
FORWARD, D_INPUT, D_WEIGHT = "forward", "gradient of the input", "gradient of the weight"

Work = Callable[[], object]


def measure(settings: SuiteSettings) -> list[Comparison]:
    """Every job at every shape, with dropout."""
    found = []
    for job in JOBS:
        for shape in shapes(settings.quick):
            found += measure_row(job, shape, settings)
            gc.collect()
    return found


def products_of(job: Job, shape: Shape) -> list[Product]:
    """The matrix products of one forward pass."""
    scored = next(iter(job.example(shape).counts.values()))
    body = stack(
        n_layers=shape.n_layers,
        d_model=shape.d_model,
        d_ff=shape.d_ff,
        n_heads=shape.n_heads,
        n_rows=shape.batch_size,
        length=shape.length,
        predicted=scored if job.transforms else None,
    )
    return body + vocabulary(d_model=shape.d_model, vocab_size=shape.vocab_size, scored=scored, transform=job.transforms)


def measure_row(job: Job, shape: Shape, settings: SuiteSettings) -> list[Comparison]:
    """The rates of one job's products at one shape, and the step's share of them."""
    row, device = row_name(job, shape, DROPOUT), torch.device(settings.device)
    logger.info("measuring the limits of %s", row)
    products = products_of(job, shape)
    own = _own_linear(job, shape)
    rates, best, peak = [], [], 0.0
    for product in products:
        for role, ways in _ways(product, own, device).items():
            times = interleave(ways, rounds=settings.rounds)
            operations = product.operations / product.times
            medians = {way: statistics.median(seconds) for way, seconds in times.items()}
            fastest = min(medians, key=medians.__getitem__)
            peak = max(peak, operations / medians[fastest])
            best += [ways[fastest]] * product.times
            if OURS in ways:
                rates += _rate(job, shape, product, role, times, operations)
    step = our_side(job, shape, DROPOUT, device)
    times = interleave({OURS: step.run, ALONE: lambda: [work() for work in best]}, rounds=settings.rounds)
    operations = training_operations(products)
    facts = {f"{part} GFLOP forward": count / 1e9 for part, count in by_part(products).items()} | {"step_operations": float(operations)}
    (alone,) = compare(times, row=f"products alone: {row}", what="share of a training step that its matrix products take by themselves", target=None)
    alone = replace(alone, numbers=alone.numbers | facts)
    return [*rates, alone, *_shares(row, times[OURS], operations, peak, device, facts)]


def _rate(job: Job, shape: Shape, product: Product, role: str, times: dict[str, list[float]], operations: float) -> list[Comparison]:
    name = f"rate of {job.name}, {shape.name}: {product.part} {product.rows}×{product.inner}→{product.columns}, {role}"
    return [
        replace(one, numbers={f"{side}_gflops": operations / one.numbers[f"{side}_seconds"] / 1e9 for side in ("ours", "peer")})
        for one in compare(times, row=name, what="seconds of one matrix product", target=None)
    ]


def _shares(row: str, seconds: Sequence[float], operations: int, measured: float, device: torch.device, facts: dict[str, float]) -> list[Comparison]:
    """Model FLOPs utilisation against the measured peak and, on a CUDA device whose peak is known, against that."""
    peaks = {PEAK: measured}
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        stated = dense_bf16_peak(name)
        if stated is None:
            logger.warning("the dense bf16 peak of %s is unknown: the share is told against the measured peak only", name)
        else:
            peaks[f"dense bf16 peak of {name}"] = stated
    found = []
    for peer, peak in peaks.items():
        low, share, high = quartiles([operations / (peak * taken) for taken in seconds])
        found.append(
            Comparison(
                row=f"share of the peak: {row}",
                what="the model's operations of a training step at the peak rate, as a share of the step's seconds (MFU)",
                ours=OURS,
                peer=peer,
                ratio=share,
                low=low,
                high=high,
                numbers=facts | {"peak_gflops": peak / 1e9, "ours_seconds": statistics.median(seconds)},
            )
        )
    return found


# --- products -----------------------------------------------------------------------------------------------------------------------


def _own_linear(job: Job, shape: Shape) -> type[nn.Linear]:
    """The linear layer that our recipe is built of."""
    from transformer_zoo.experiments.compose import recipe

    with torch.device("meta"):
        model = recipe(job.recipe, *job.settings(shape, DROPOUT)).build(vocab_size=shape.vocab_size, heads={})
    return next(type(module) for module in model.modules() if isinstance(module, nn.Linear))


@dataclass(frozen=True)
class _Timed:
    """A piece of work together with what it must run in."""

    work: Work
    precision: Precision

    def __call__(self) -> None:
        with self.precision.autocast():
            self.work()
        wait(self.precision.device)


def _ways(product: Product, own: type[nn.Linear], device: torch.device) -> dict[str, dict[str, Work]]:
    """Role in a step → way of computing it → the work. In attention both factors are activations and there is one way."""
    precision = Precision("auto", device)
    dtype = torch.bfloat16 if precision.name == "bf16" else torch.float32
    shape = (product.batch, product.rows, product.inner, product.columns)
    ways = _batched(*shape, device, dtype) if product.batch > 1 else _linear(*shape[1:], own, precision, dtype)
    return {role: {way: _Timed(work, precision) for way, work in by_way.items()} for role, by_way in ways.items()}


def _batched(batch: int, rows: int, inner: int, columns: int, device: torch.device, dtype: torch.dtype) -> dict[str, dict[str, Work]]:
    a = torch.randn(batch, rows, inner, device=device, dtype=dtype)
    b = torch.randn(batch, inner, columns, device=device, dtype=dtype)
    slope = torch.randn(batch, rows, columns, device=device, dtype=dtype)
    return {
        FORWARD: {"torch.bmm": lambda: torch.bmm(a, b)},
        D_INPUT: {"torch.bmm": lambda: torch.bmm(slope, b.mT)},
        D_WEIGHT: {"torch.bmm": lambda: torch.bmm(a.mT, slope)},
    }


def _linear(rows: int, inner: int, columns: int, own: type[nn.Linear], precision: Precision, dtype: torch.dtype) -> dict[str, dict[str, Work]]:
    device = precision.device
    layer = own(inner, columns, bias=False, device=device)
    weight = layer.weight.detach().to(dtype)  # [O,I]
    x = torch.randn(rows, inner, device=device, dtype=dtype)
    slope = torch.randn(rows, columns, device=device, dtype=dtype)
    frozen = own(inner, columns, bias=False, device=device).requires_grad_(False)
    leaf = x.detach().requires_grad_()
    with precision.autocast():
        to_input, to_weight = frozen(leaf), layer(x)

    def forward() -> Tensor:
        found: Tensor = layer(x)
        return found

    return {
        FORWARD: {OURS: forward, PLAIN: lambda: torch.mm(x, weight.t())},
        D_INPUT: {
            OURS: lambda: torch.autograd.grad(to_input, leaf, slope, retain_graph=True),
            PLAIN: lambda: torch.mm(slope, weight),
        },
        D_WEIGHT: {
            OURS: lambda: torch.autograd.grad(to_weight, layer.weight, slope, retain_graph=True),
            PLAIN: lambda: torch.mm(slope.t(), x),
        },
    }

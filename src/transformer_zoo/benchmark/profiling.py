"""Where the time of one training step goes, by families of operations rather than by a hundred kernels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from transformer_zoo.benchmark.sides import trainer_step
from transformer_zoo.data.stream import StepExamples, StreamState
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.records import Batch, Vocabulary

OTHER = "other"
ENCLOSING: dict[str, tuple[str, ...]] = {
    "optimiser": ("Optimizer.step", "Optimizer.zero_grad", "clip_grad", "_fused_adam"),
    "attention": ("scaled_dot_product", "Attention", "attention"),
    "dropout": ("dropout", "Dropout", "Dropped"),
    "normalisation": ("layer_norm", "rms_norm", "LayerNorm", "RMSNorm"),
    "loss": ("CrossEntropy", "cross_entropy", "nll_loss"),
}
"""Family → parts of names; everything that runs inside an operation of such a name belongs to it, matrix products of the loss excepted."""
NAMED: dict[str, tuple[str, ...]] = {
    "attention": ("bmm", "_softmax"),
    "matrix products": ("addmm", "aten::mm", "aten::linear", "aten::matmul", "_linear_pointwise", "mkldnn"),
    "dropout": ("bernoulli", "random_", "uniform_", "normal_", "rand"),
    "activation": ("gelu", "relu", "silu", "tanh", "sigmoid"),
    "loss": ("logsumexp", "log_softmax", "gather", "scatter", "aten::exp"),
    "embeddings": ("embedding", "index_select", "aten::index"),
    "optimiser": ("_foreach", "linalg_vector_norm"),
    "copies": ("copy_", "clone", "contiguous", "aten::cat", "aten::to", "fill_", "zero_", "as_strided", "reshape"),
    "elementwise": ("aten::add", "aten::mul", "aten::sub", "aten::div", "aten::sum", "aten::where", "masked_fill"),
}
"""Family → parts of an operation's own name, where nothing encloses it; the first match counts."""


@dataclass(frozen=True)
class Family:
    """What a family took of one step."""

    name: str
    milliseconds: float
    share: float
    """Of all that was recorded."""
    largest: tuple[tuple[str, float], ...]
    """Its largest operations with their milliseconds."""


def family_of(names: Sequence[str]) -> str:
    """The family of an operation from its name and those it runs inside, innermost first."""
    own = next((family for family, parts in NAMED.items() if any(part in names[0] for part in parts)), OTHER)
    around = next((family for name in names for family, parts in ENCLOSING.items() if any(part in name for part in parts)), None)
    if around is None or (around == "loss" and own == "matrix products"):
        return own
    return around


def breakdown(config: ExperimentConfig, *, batch_size: int, vocab_size: int, steps: int = 3, device: str = "cpu") -> list[Family]:
    """Profile training steps of a model on made-up rows; families by falling time."""
    from transformer_zoo.experiments.assemble import build_model

    objective = config.objective.build(vocabulary=_vocabulary(config, vocab_size), n_classes=2)
    torch.manual_seed(0)
    model = build_model(config.model, vocab_size, objective.needs().heads)
    where = torch.device(device)
    step = trainer_step(model, objective, where)
    item = StepExamples(examples=[objective.prepare(_batch(config, batch_size, vocab_size))], state=StreamState(seed=0))
    step(item)  # warm
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if where.type == "cuda" else [])]
    with profile(activities=kinds) as recorded:
        for _ in range(steps):
            step(item)
    return families(_times(recorded.events(), where.type == "cuda"), steps)


def families(times: Iterable[tuple[Sequence[str], float]], steps: int) -> list[Family]:
    """From (names of an operation and of what encloses it, own microseconds)."""
    spent: dict[str, dict[str, float]] = {}
    for names, microseconds in times:
        by_name = spent.setdefault(family_of(names), {})
        by_name[names[0]] = by_name.get(names[0], 0.0) + microseconds / steps / 1000
    total = sum(sum(by_name.values()) for by_name in spent.values()) or 1.0
    found = []
    for family, by_name in spent.items():
        taken, largest = sum(by_name.values()), sorted(by_name.items(), key=lambda one: -one[1])
        found.append(Family(family, taken, taken / total, tuple(largest[:3])))
    return sorted(found, key=lambda family: -family.milliseconds)


def table(found: Sequence[Family]) -> str:
    """As Markdown."""
    rows = ["| family | ms | share | most of it |", "|---|---:|---:|---|"]
    for family in found:
        most = ", ".join(f"{name} {taken:.1f}" for name, taken in family.largest)
        rows.append(f"| {family.name} | {family.milliseconds:.1f} | {100 * family.share:.1f}% | {most} |")
    rows.append(f"| all | {sum(family.milliseconds for family in found):.1f} | 100% | |")
    return "\n".join(rows)


def _times(events: Any, on_device: bool) -> Iterator[tuple[list[str], float]]:
    """Own time of every recorded operation; on a device, that of its kernels."""
    for event in events:
        taken = float(event.self_device_time_total if on_device else event.self_cpu_time_total)
        if taken > 0 and not event.name.startswith(("ProfilerStep", "[")):
            yield _around(event), taken


def _around(event: Any) -> list[str]:
    names = []
    while event is not None:
        names.append(str(event.name))
        event = event.cpu_parent
    return names


def _vocabulary(config: ExperimentConfig, size: int) -> Vocabulary:
    from transformer_zoo.experiments.describe import made_up_vocabulary

    return made_up_vocabulary(config.objective, size)


def _batch(config: ExperimentConfig, batch_size: int, vocab_size: int) -> Batch:
    from transformer_zoo.experiments.describe import N_SPECIALS, made_up_batch

    batch = made_up_batch(config.objective.needs(), batch_size, config.data.sequence_length)
    draws = torch.Generator().manual_seed(0)

    def scramble(tensor: torch.Tensor) -> torch.Tensor:
        made_up = tensor.dtype == torch.int64 and tensor.ndim == 2 and bool((tensor == N_SPECIALS).all())
        return torch.randint(N_SPECIALS, vocab_size, tensor.shape, generator=draws) if made_up else tensor

    return batch.map_tensors(scramble)

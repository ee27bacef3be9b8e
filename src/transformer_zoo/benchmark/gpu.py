"""Suite `gpu`: whole training steps of public architectures on a CUDA device, in bf16 and compiled, from the trainer.

For every task four kinds of rows: the share of the device's dense bf16 peak that is reached (MFU, by the matrix products alone), our trainer
against Hugging Face's, what our data side gives against what the device consumes, and for GPT-2 the share that is published for a well-known
trainer. How often the compiler broke a graph or compiled anew after the warm-up, and how often the host waited, stands with the first.
"""

import gc
import itertools
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from transformer_zoo.benchmark.devices import dense_bf16_peak
from transformer_zoo.benchmark.flops import training_operations
from transformer_zoo.benchmark.gpu_sides import Marks, Stretches, our_run, their_run, waits_of_steps, workers
from transformer_zoo.benchmark.gpu_tasks import GPT2, PACKED, TASKS, Task
from transformer_zoo.benchmark.records import Comparison, compare, quartiles
from transformer_zoo.benchmark.sides import OURS
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.errors import ConfigError
from transformer_zoo.training.precision import resolve_device

logger = logging.getLogger(__name__)

HUGGING_FACE_TRAINER, PLAIN_KERNEL, CONSUMED = "Hugging Face Trainer (SDPA, compiled)", "sdpa with a mask of all pairs", "what the device consumes"
AHEAD, DATA_SIDE = 1.3, 5.0
SMALL_TRAINER, SMALL_TRAINER_AHEAD = "nanoGPT, as published", 1.1
PUBLISHED_DAYS, PUBLISHED_STEPS, PUBLISHED_TOKENS, PUBLISHED_DEVICES, PUBLISHED_PEAK = 4, 600_000, 12 * 1024 * 40, 8, 312e12
"""https://github.com/karpathy/nanoGPT: its README says that GPT-2 124M takes about 4 days on one node with 8 A100 of 40 GB; config/train_gpt2.py has
600 000 steps of 12 rows of 1024 tokens, 5 times on each of 8 devices. That is 29% of the peak. What it prints on a single A100 may be more."""
MFU = "the model's operations of a training step at the device's dense bf16 peak, as a share of the step's seconds (MFU)"
STEP, PREPARED = "seconds of a training step of the whole trainer", "seconds to read and prepare a step's batches, against the step"


def measure(settings: SuiteSettings) -> list[Comparison]:
    """Every task, and packed documents.

    Raises:
        ConfigError: the device is none of CUDA.
    """
    device = resolve_device(settings.device)
    if device.type != "cuda" and not settings.quick:
        raise ConfigError(f"suite=gpu needs a CUDA device, and device={settings.device} is none: run it where there is one, with device=cuda")
    found = []
    for task in TASKS:
        found += measure_task(task.quick() if settings.quick else task, settings, device)
        gc.collect()
    return [*found, *measure_packed(PACKED.quick() if settings.quick else PACKED, settings, device)]


def stretches_of(settings: SuiteSettings) -> Stretches:
    return Stretches(warm_up=2, steps=1, count=settings.rounds) if settings.quick else Stretches(warm_up=20, steps=10, count=settings.rounds)


def measure_task(task: Task, settings: SuiteSettings, device: torch.device) -> list[Comparison]:
    """One task: its rows."""
    logger.info("measuring %s", task.row)
    stretches = stretches_of(settings)
    ours, facts = timed(our_run, task, stretches, device)
    theirs, their_facts = timed(their_run, task, stretches, device)
    facts |= {f"peer_{name}": value for name, value in their_facts.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        if device.type == "cuda":
            facts["host_waits"] = float(len(waits_of_steps(task, device, path, n_steps=5)))
        prepared = seconds_to_prepare(task, workers(device), path, n_steps=stretches.count * stretches.steps)
        example = next(iter(task.stream(path / "text").iterate(task.stream(path / "text").initial_state()))).examples[0]
    facts |= {"step_operations": float(training_operations(task.products(example))), "tokens_per_step": float(example.tokens)}
    rows = shares(task, ours, facts, device)
    rows += compare({OURS: ours, HUGGING_FACE_TRAINER: theirs}, row=task.row, what=STEP, target=AHEAD)
    (data_side,) = compare({OURS: [prepared] * len(ours), CONSUMED: ours}, row=f"data side: {task.row}", what=PREPARED, target=DATA_SIDE)
    rates = {"tokens_per_second": example.tokens / prepared, "consumed_tokens_per_second": example.tokens / statistics.median(ours)}
    return [*rows, replace(data_side, numbers=data_side.numbers | rates)]


def timed(
    run: Callable[[Task, Stretches, torch.device, Path, Callable[[int], None]], None], task: Task, stretches: Stretches, device: torch.device
) -> tuple[list[float], dict[str, float]]:
    """Seconds of a step in every stretch of a run, and what the compiler did after the warm-up."""
    from torch._dynamo.utils import counters

    gc.collect()
    torch.compiler.reset()
    counters.clear()
    marks = Marks(stretches, device)
    with tempfile.TemporaryDirectory() as folder:
        run(task, stretches, device, Path(folder), marks.before)
    warm, done = marks.compiled[0], marks.compiled[-1]
    facts = {"graphs": done.graphs, "graph_breaks": done.breaks, "graphs_after_warm_up": done.graphs - warm.graphs}
    return marks.seconds, {name: float(value) for name, value in facts.items()}


def seconds_to_prepare(task: Task, n_workers: int, folder: Path, *, n_steps: int) -> float:
    """Seconds in which the stream alone gives a step, once it runs."""
    stream = task.stream(folder / "text", n_workers=n_workers)
    steps = stream.iterate(stream.initial_state())
    for _ in itertools.islice(steps, 2 * max(1, n_workers)):
        pass
    start = time.perf_counter()
    for _ in itertools.islice(steps, n_steps):
        pass
    return (time.perf_counter() - start) / n_steps


def shares(task: Task, seconds: list[float], facts: dict[str, float], device: torch.device) -> list[Comparison]:
    """The share of the device's peak, where that is known; for GPT-2 also against what is published."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    peak = dense_bf16_peak(name)
    if peak is None:
        logger.warning("the dense bf16 peak of %s is unknown: no share of it is told", name)
        return []
    low, share, high = quartiles([facts["step_operations"] / (peak * taken) for taken in seconds])
    numbers = facts | {"peak_flops": peak, "ours_seconds": statistics.median(seconds), "mfu": share}
    peer = f"dense bf16 peak of {name}"
    found = [
        Comparison(row=f"MFU: {task.row}", what=MFU, ours=OURS, peer=peer, ratio=share, low=low, high=high, target=task.utilisation, numbers=numbers)
    ]
    if task.row == GPT2.row:
        known = published_share()
        found.append(
            replace(
                found[0],
                peer=SMALL_TRAINER,
                ratio=share / known,
                low=low / known,
                high=high / known,
                target=SMALL_TRAINER_AHEAD,
                numbers=numbers | {"published_mfu": known},
            )
        )
    return found


def published_share() -> float:
    """MFU that nanoGPT's own figures give for GPT-2 124M, with operations counted as it counts them: 6 for each parameter but the positions', and
    12 · layers · width · length for attention."""
    parameters = 123_650_304  # of a vocabulary of 50304, positions left out, as its `get_num_params` counts
    operations = 6 * parameters + 12 * GPT2.shape.n_layers * GPT2.shape.d_model * GPT2.shape.length
    rate = PUBLISHED_STEPS * PUBLISHED_TOKENS * operations / (PUBLISHED_DAYS * 24 * 3600)
    return rate / (PUBLISHED_DEVICES * PUBLISHED_PEAK)


def measure_packed(task: Task, settings: SuiteSettings, device: torch.device) -> list[Comparison]:
    """Documents that do not see each other: the kernel that skips what the mask forbids against the plain one."""
    logger.info("measuring %s", task.row)
    sides = {OURS: task, PLAIN_KERNEL: replace(task, kernel="sdpa")}
    times = {name: timed(our_run, side, stretches_of(settings), device)[0] for name, side in sides.items()}
    return compare(times, row=task.row, what=STEP, target=None)

"""Suite `memory`: the most memory a training step takes on each side, every side in a fresh process of its own.

In the process a tiny model of the same kind is trained first, so that libraries are loaded; what is there then is the base. Then the model
is built and makes a few steps, the optimiser's state included. On Linux the high-water mark of resident memory is reset in between.
"""

import gc
import logging
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from transformer_zoo.benchmark.jobs import JOBS, Job
from transformer_zoo.benchmark.peers import PEERS
from transformer_zoo.benchmark.records import Comparison, quartiles
from transformer_zoo.benchmark.shapes import LARGER, SMALL, TINY, Shape
from transformer_zoo.benchmark.sides import OURS, Side, our_side, peer_side
from transformer_zoo.benchmark.steps import TARGETS
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.training.environment import peak_memory_bytes

logger = logging.getLogger(__name__)

DROPOUT = 0.1
STEPS = 3
TARGET = 2.0
REPEATS = 3
"""Fresh processes for each side, at most: memory hardly changes from one to the next."""
WIDE = replace(SMALL, name="small with the larger vocabulary", vocab_size=LARGER.vocab_size)
WHAT = "peak memory of training steps in a process of its own, {}; peer / ours, so 2 means that ours takes half"
OVER_BASE, WHOLE = "over the loaded libraries", "the whole process"

Peak = Mapping[str, float]
"""Bytes: `base`, `peak`."""


def measure(settings: SuiteSettings) -> list[Comparison]:
    """Every job at a vocabulary of 30 thousand. What a step adds must be half of what it adds to those peers that step rows have targets for."""
    shapes = (replace(TINY, name="quick", d_model=64, vocab_size=2048),) if settings.quick else (WIDE, LARGER)
    return [one for job in JOBS for shape in shapes for one in measure_row(job, shape, settings)]


def measure_row(job: Job, shape: Shape, settings: SuiteSettings) -> list[Comparison]:
    """One job at one shape: the memory a step adds, and that of the whole process."""
    row = f"{job.name}, {shape.name}"
    logger.info("measuring memory of %s", row)
    names = [OURS, *PEERS[job.name]]
    rounds = [{name: in_fresh_process(job, name, shape, settings) for name in names} for _ in range(min(settings.rounds, REPEATS))]
    found = []
    for peer in names[1:]:
        for kind, size in _SIZES.items():
            low, ratio, high = quartiles([size(sides[peer]) / size(sides[OURS]) for sides in rounds])
            found.append(
                Comparison(
                    row=row if kind == OVER_BASE else f"{row}, {kind}",
                    what=WHAT.format(kind),
                    ours=OURS,
                    peer=peer,
                    ratio=ratio,
                    low=low,
                    high=high,
                    target=TARGET if kind == OVER_BASE and peer in TARGETS[job.name] else None,
                    numbers={
                        "ours_bytes": statistics.median(size(sides[OURS]) for sides in rounds),
                        "peer_bytes": statistics.median(size(sides[peer]) for sides in rounds),
                        "rounds": len(rounds),
                    },
                )
            )
    return found


_SIZES: dict[str, Callable[[Peak], float]] = {
    OVER_BASE: lambda peak: peak["peak"] - peak["base"],
    WHOLE: lambda peak: peak["peak"],
}


def in_fresh_process(job: Job, name: str, shape: Shape, settings: SuiteSettings) -> Peak:
    """What a side needs, measured in a new interpreter."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peak_of_side, job.name, name, shape, settings.device, settings.threads).result()


def peak_of_side(job_name: str, name: str, shape: Shape, device_name: str, threads: int | None) -> Peak:
    """Runs in the fresh process; of a peer's variants the first is taken."""
    if threads is not None:
        torch.set_num_threads(threads)
    (job,), device = [job for job in JOBS if job.name == job_name], torch.device(device_name)

    def side(shape: Shape) -> Side:
        if name == OURS:
            return our_side(job, shape, DROPOUT, device)
        variant, *_ = PEERS[job_name][name].values()
        return peer_side(name, variant, job, shape, DROPOUT, device)

    side(TINY).run()
    gc.collect()
    base = reset_peak(device)
    large = side(shape)
    for _ in range(STEPS):
        large.run()
    return {"base": base, "peak": peak_bytes(device)}


def reset_peak(device: torch.device) -> float:
    """Forgets the peak where the system can, and tells what is in use now, in bytes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return float(torch.cuda.memory_allocated(device))
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
        return _resident("VmRSS")
    return float(peak_memory_bytes(device))


def peak_bytes(device: torch.device) -> float:
    """The most that was in use since."""
    return _resident("VmHWM") if device.type != "cuda" and sys.platform == "linux" else float(peak_memory_bytes(device))


def _resident(field: str) -> float:
    """Bytes of this process: `VmRSS` now, `VmHWM` the most since it was reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return float(line.split()[1]) * 1024

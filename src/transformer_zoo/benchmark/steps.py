"""Suite `step`: one training step of a masked and of a causal language model against the peers' own."""

import gc
import logging
from dataclasses import replace

import torch

from transformer_zoo.benchmark.jobs import CAUSAL, JOBS, MASKED, Job
from transformer_zoo.benchmark.records import Comparison, compare
from transformer_zoo.benchmark.rounds import interleave
from transformer_zoo.benchmark.shapes import Shape, shapes
from transformer_zoo.benchmark.sides import OURS, step_sides
from transformer_zoo.benchmark.suites import SuiteSettings

logger = logging.getLogger(__name__)

DROPOUTS = (0.1, 0.0)
TARGETS = {
    MASKED.name: {"BertForMaskedLM": 2.0, "x-transformers Encoder": 1.6},
    CAUSAL.name: {"GPT2LMHeadModel": 1.6, "x-transformers Decoder": 2.2},
}
WHAT = "seconds of a training step: forward, loss, backward, clipping, fused AdamW"


def measure(settings: SuiteSettings) -> list[Comparison]:
    """Every job at every shape, with and without dropout."""
    found = []
    for job in JOBS:
        for shape in shapes(settings.quick):
            for dropout in DROPOUTS:
                found += measure_row(job, shape, dropout, settings)
                gc.collect()  # the models of a row go before the next row's come
    return found


def row_name(job: Job, shape: Shape, dropout: float) -> str:
    return f"{job.name}, {shape.name}, dropout {dropout:g}"


def measure_row(job: Job, shape: Shape, dropout: float, settings: SuiteSettings) -> list[Comparison]:
    """One job at one shape."""
    row = row_name(job, shape, dropout)
    logger.info("measuring %s", row)
    sides = step_sides(job, shape, dropout, torch.device(settings.device))
    times = interleave({name: side.run for name, side in sides.items()}, rounds=settings.rounds)
    return [
        replace(
            one,
            peer=sides[one.peer].name,
            numbers=one.numbers | {"ours_parameters": sides[OURS].parameters, "peer_parameters": sides[one.peer].parameters},
        )
        for one in compare(times, row=row, what=WHAT, target=TARGETS[job.name])
    ]

"""Suite `trainer`: our trainer, reading and preparing its own batches, against the barest loop around the same model and the same batches."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from transformer_zoo.benchmark.jobs import MASKED, N_SPECIALS, SPECIALS
from transformer_zoo.benchmark.records import Comparison, compare
from transformer_zoo.benchmark.rounds import interleave
from transformer_zoo.benchmark.shapes import SMALL, TINY, Shape
from transformer_zoo.benchmark.sides import CLIP_NORM, OPTIMIZER, OURS, wait
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.data.store import Store, StoreWriter, open_or_build
from transformer_zoo.data.stream import StepExamples, StreamState, TrainingStream
from transformer_zoo.data.text_rows import JoinedReader
from transformer_zoo.models.base import Model
from transformer_zoo.objectives.base import Objective
from transformer_zoo.records import Vocabulary
from transformer_zoo.training.checkpoints import Identity
from transformer_zoo.training.parallel import World
from transformer_zoo.training.progress import Progress
from transformer_zoo.training.rundir import RunFolder
from transformer_zoo.training.schedules import ConstantConfig
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.setup import build_trainer
from transformer_zoo.training.trackers import JSONLConfig

PEER = "bare loop"
TARGET = 0.97
MINIATURE = replace(TINY, name="miniature", d_model=32, length=16)
"""So small that a step is little but what the trainer adds."""
WHAT = "seconds of a step of masked-LM training, our trainer with its stream against a loop by hand over batches prepared before"


@dataclass(frozen=True, kw_only=True)
class Work:
    """The steps of a round."""

    shape: Shape
    n_steps: int
    target: float | None
    """Of the row."""


WORKS = (Work(shape=SMALL, n_steps=12, target=TARGET), Work(shape=MINIATURE, n_steps=200, target=None))
QUICK = (Work(shape=TINY, n_steps=4, target=TARGET),)


def measure(settings: SuiteSettings) -> list[Comparison]:
    """A row for each shape; `overhead_ms` is what a step of the trainer takes longer, in milliseconds."""
    return [measure_row(work, settings) for work in (QUICK if settings.quick else WORKS)]


def measure_row(work: Work, settings: SuiteSettings) -> Comparison:
    """Both sides at one shape."""
    device = torch.device(settings.device)
    with tempfile.TemporaryDirectory() as folder:
        objective, stream = MASKED.built(work.shape), stream_of(work.shape, Path(folder))
        stepped = {OURS: OwnTrainer(work, objective, stream, device, Path(folder)).round, PEER: BareLoop(work, objective, stream, device).round}
        taken: dict[str, list[float]] = {name: [] for name in stepped}

        def note(name: str) -> None:
            taken[name].append(stepped[name]())

        interleave({name: partial(note, name) for name in stepped}, rounds=settings.rounds)
    seconds = {name: values[-settings.rounds :] for name, values in taken.items()}
    (row,) = compare(seconds, row=f"masked LM, {work.shape.name}", what=WHAT, target=work.target)
    overhead = statistics.median(ours - peer for ours, peer in zip(seconds[OURS], seconds[PEER], strict=True))
    return replace(row, numbers=row.numbers | {"overhead_ms": 1000 * overhead})


def stream_of(shape: Shape, folder: Path) -> TrainingStream:
    """Made-up text, stored, read and prepared as real text is."""
    vocabulary, needs = Vocabulary(size=shape.vocab_size, specials=SPECIALS), MASKED.objective.needs()
    reader = JoinedReader(made_up(shape, folder), "train", vocabulary, needs, shape.length, masked=False)
    return TrainingStream(reader, MASKED.built(shape).prepare, seed=0, batch_size=shape.batch_size)


def made_up(shape: Shape, folder: Path) -> Store:
    """A store of random tokens: ten documents, a hundred batches."""

    def build(writer: StoreWriter) -> None:
        count = 100 * shape.batch_size * shape.length
        writer.column("train.tokens", np.uint16)(np.random.default_rng(0).integers(N_SPECIALS, shape.vocab_size, count))
        writer.column("train.documents", np.int64)(np.linspace(0, count, 11).astype(np.int64))
        writer.facts["train"] = {"n_tokens": count, "n_bytes": count, "n_documents": 10}

    return open_or_build(folder, f"tokens-{shape.name}", build)


def model_of(shape: Shape, objective: Objective, device: torch.device) -> Model:
    """The same model at every call, without dropout."""
    from transformer_zoo.experiments.compose import recipe

    torch.manual_seed(0)
    model: Model = recipe(MASKED.recipe, *MASKED.settings(shape, 0.0)).build(vocab_size=shape.vocab_size, heads=objective.needs().heads)
    return model.to(device)


class BareLoop:
    """The least that trains: forward, loss, backward, clipping, update."""

    def __init__(self, work: Work, objective: Objective, stream: TrainingStream, device: torch.device) -> None:
        self.objective, self.device = objective, device
        self.model = model_of(work.shape, objective, device).train()
        self.optimizer = OPTIMIZER.build(self.model)
        self.examples = [step.examples[0].to(device) for step in islice(stream.iterate(stream.initial_state()), work.n_steps)]

    def round(self) -> float:
        """Seconds of a step, without the first."""
        start = 0.0
        for number, example in enumerate(self.examples):
            if number == 1:
                start = time.perf_counter()
            report = self.objective.loss(self.model(example.inputs), example)
            (report.sums["mlm"] / example.counts["mlm"]).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
            self.optimizer.step()
            self.optimizer.zero_grad()
        wait(self.device)
        return (time.perf_counter() - start) / (len(self.examples) - 1)


class OwnTrainer:
    """`Trainer.fit` over the same samples. A round is a run of its own; what a run does once, such as saving, is not counted."""

    def __init__(self, work: Work, objective: Objective, stream: TrainingStream, device: torch.device, folder: Path) -> None:
        self.work, self.objective, self.stream, self.device, self.folder = work, objective, stream, device, folder
        self.model = model_of(work.shape, objective, device)
        self.rounds = 0

    def round(self) -> float:
        """Seconds of a step, without the first, whose batch nothing overlaps with, and the last, at whose end the run is saved."""
        self.rounds += 1
        clock = _Clocked(self.stream)
        with RunFolder.claim(self.folder / f"run-{self.rounds}") as run:
            trainer = build_trainer(
                training=TrainingConfig(steps=self.work.n_steps, clip_norm=CLIP_NORM),
                optimizer=OPTIMIZER,
                schedule=ConstantConfig(warmup_share=0.0),
                tracker=JSONLConfig(),
                model=self.model,
                objective=self.objective,
                stream=clock,
                run=run,
                identity=Identity(config={}, tokenizer="", data="", world_size=1),
                world=World(),
                device=self.device,
                evaluate=None,
                seed=0,
                progress=Progress(bar=False),
            )
            trainer.fit()
        assert len(clock.asked) == self.work.n_steps, "the trainer took another number of steps"
        return (clock.asked[-1] - clock.asked[1]) / (self.work.n_steps - 2)


class _Clocked:
    """A stream that notes when it is asked for a step: between two questions lies a whole step."""

    def __init__(self, stream: TrainingStream) -> None:
        self.stream = stream
        self.asked: list[float] = []

    def initial_state(self) -> StreamState:
        return self.stream.initial_state()

    def epochs_at(self, state: StreamState) -> float:
        return self.stream.epochs_at(state)

    def iterate(self, state: StreamState) -> Iterator[StepExamples]:
        steps = self.stream.iterate(state)
        while True:
            self.asked.append(time.perf_counter())
            yield next(steps)

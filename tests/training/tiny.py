"""A model, an objective and a stream small enough to train in milliseconds, obeying the contracts of the real ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transformer_zoo.data.stream import StepExamples, StreamState
from transformer_zoo.randomness import permutation
from transformer_zoo.records import Example, Inputs, LossReport, ModelOutput
from transformer_zoo.training.checkpoints import Identity
from transformer_zoo.training.optimizers import AdamWConfig, OptimizerConfig
from transformer_zoo.training.parallel import World
from transformer_zoo.training.progress import Progress
from transformer_zoo.training.rundir import RunFolder
from transformer_zoo.training.schedules import LinearConfig, ScheduleConfig
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.setup import build_trainer
from transformer_zoo.training.signals import StopFlag
from transformer_zoo.training.trackers import JSONLConfig, TrackerConfig
from transformer_zoo.training.trainer import Evaluate, Trainer, Verdict

N_ROWS, VOCABULARY, WIDTH, LENGTH = 37, 11, 8, 6


@dataclass(kw_only=True)
class TinyInputs(Inputs):
    token_ids: Tensor  # [B, T]
    valid: Tensor  # [B, T]


class TinyBlock(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(torch.relu(self.linear(self.norm(x))))


class TinyModel(nn.Module):
    """A bag of residual blocks with a vocabulary matrix tied to the embedding, and a head for the row's sum."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(TinyBlock(dropout) for _ in range(2))
        self.heads = nn.ModuleDict({"vocabulary": nn.Linear(WIDTH, VOCABULARY, bias=False), "sum": nn.Linear(WIDTH, 1)})
        self.heads["vocabulary"].weight = self.embedding.weight
        self.recomputes = False

    def set_gradient_checkpointing(self, on: bool) -> None:
        self.recomputes = on

    def forward(self, inputs: TinyInputs) -> ModelOutput:
        x = self.embedding(inputs.token_ids) * inputs.valid[..., None]
        for block in self.blocks:
            x = block(x)
        return ModelOutput(hidden=x, heads={name: head(x) for name, head in self.heads.items()})


class TinyObjective:
    """Two terms with ragged counts: the next token's cross-entropy (valid positions only), and the squared error of the row's sum."""

    def __init__(self) -> None:
        self.weights = {"token": 1.0, "sum": 0.25}
        self.predicted_terms = ["sum"]
        self.ledger: dict[str, tuple[str, str | None]] = {"rows": ("n rows", None), "tokens_per_row": ("n tokens", "n rows")}

    def loss(self, output: ModelOutput, example: Example) -> LossReport:
        scores = output.heads["vocabulary"]
        token = nn.functional.cross_entropy(scores.flatten(0, 1), example.targets["token"].flatten(), ignore_index=-100, reduction="sum")
        row = output.heads["sum"].mean(1).squeeze(-1)
        return LossReport(sums={"token": token, "sum": ((row - example.targets["sum"]) ** 2).sum()})


def rows() -> tuple[np.ndarray, np.ndarray]:
    """Tokens [N, T] that follow a simple rule, and ragged lengths [N]."""
    generator = np.random.Generator(np.random.Philox(7))
    start = generator.integers(0, VOCABULARY, (N_ROWS, 1))
    return (start + 3 * np.arange(LENGTH + 1)) % VOCABULARY, generator.integers(2, LENGTH + 1, N_ROWS)


def make_example(indices: np.ndarray) -> Example:
    tokens, lengths = (part[indices] for part in rows())
    valid = np.arange(LENGTH) < lengths[:, None]
    targets = np.where(valid, tokens[:, 1:], -100)
    return Example(
        inputs=TinyInputs(token_ids=torch.from_numpy(tokens[:, :-1]), valid=torch.from_numpy(valid)),
        targets={"token": torch.from_numpy(targets), "sum": torch.from_numpy(tokens.sum(1) / 40).float()},
        counts={"token": int(valid.sum()), "sum": len(indices)},
        tokens=int(valid.sum()),
        ledger={"n rows": len(indices), "n tokens": int(valid.sum())},
    )


class TinyStream:
    """Dealt as the real stream deals: the global batch is a function of (seed, state), its rows go to the ranks in turn."""

    def __init__(self, *, batch_size: int = 8, micro: int | None = None, rank: int = 0, size: int = 1, poison: int | None = None) -> None:
        self.batch_size, self.micro, self.rank, self.size, self.poison = batch_size, micro, rank, size, poison
        self.seen: list[list[int]] = []

    def initial_state(self) -> StreamState:
        return StreamState(seed=5)

    def epochs_at(self, state: StreamState) -> float:
        return state.consumed / N_ROWS

    def iterate(self, state: StreamState) -> Iterator[StepExamples]:
        while True:
            counters = state.consumed + np.arange(self.batch_size)
            indices = np.array([permutation(state.seed, "order", c // N_ROWS, N_ROWS)[c % N_ROWS] for c in counters.tolist()])
            step = state.consumed // self.batch_size + 1
            state = replace(state, consumed=state.consumed + self.batch_size, epoch=(state.consumed + self.batch_size) // N_ROWS)
            mine = np.array_split(indices, self.size)[self.rank]
            filler = not len(mine)
            mine = indices[:1] if filler else mine
            self.seen.append([] if filler else mine.tolist())
            parts = np.array_split(mine, -(-len(mine) // self.micro)) if self.micro else [mine]
            examples = [make_example(part) for part in parts]
            if step == self.poison:
                examples[-1].targets["sum"][0] = float("nan")
            yield StepExamples(examples=examples, state=state, filler=filler)


def held_out(model: nn.Module) -> dict[str, float]:
    """The mean cross-entropy over all rows."""
    example, objective = make_example(np.arange(N_ROWS)), TinyObjective()
    with torch.no_grad():
        report = objective.loss(model(example.inputs), example)
    return {"validation/loss": float(report.sums["token"]) / example.counts["token"]}


def make_trainer(
    folder: Path,
    *,
    training: TrainingConfig | None = None,
    optimizer: OptimizerConfig | None = None,
    schedule: ScheduleConfig | None = None,
    tracker: TrackerConfig | None = None,
    stream: TinyStream | None = None,
    model: nn.Module | None = None,
    evaluate: Evaluate | str | None = "held out",
    config: Mapping[str, Any] | None = None,
    world: World | None = None,
    stop: StopFlag | None = None,
    verdict: Verdict | None = None,
) -> Trainer:
    """A trainer over the tiny parts; the model is drawn from a fixed seed."""
    world = world or World()
    if model is None:
        torch.manual_seed(3)
        model = TinyModel(dropout=0.1)
    chosen: Any = (lambda: held_out(model)) if evaluate == "held out" else evaluate
    return build_trainer(
        training=training or TrainingConfig(steps=20),
        optimizer=optimizer or AdamWConfig(),
        schedule=schedule or LinearConfig(),
        tracker=tracker or JSONLConfig(),
        model=model,
        objective=TinyObjective(),
        stream=stream or TinyStream(),
        verdict=verdict,
        run=RunFolder.claim(folder) if world.is_main else RunFolder.shared(folder),
        identity=Identity(config=config or {"model": {"width": WIDTH}}, tokenizer="t", data="d", world_size=world.size),
        world=world,
        device=torch.device("cpu"),
        evaluate=chosen,
        seed=1,
        stop=stop,
        progress=Progress(bar=False),
    )


def train(folder: Path, **settings: Any) -> tuple[Trainer, dict[str, Any]]:
    """Build, fit, let go of the folder."""
    resume = settings.pop("resume", "auto")
    trainer = make_trainer(folder, **settings)
    return trainer, fit(trainer, resume)


def fit(trainer: Trainer, resume: str = "auto") -> dict[str, Any]:
    """Train and let go of the folder, whatever happens."""
    try:
        return trainer.fit(resume)
    finally:
        trainer.recorder.run.release()

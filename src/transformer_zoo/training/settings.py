"""The settings of a training run."""

from dataclasses import dataclass
from typing import Annotated

from transformer_zoo.settings import Config, NaturalInt, OneOf, PositiveFloat, PositiveInt, Range

DEFAULT_STEPS = 1000
BUDGETS = ("steps", "tokens", "epochs", "seconds")


@dataclass(kw_only=True)
class TrainingConfig(Config):
    """How long, in what batches and how to train. At most one of steps, tokens, epochs and seconds is set; 1000 steps where none is."""

    steps: PositiveInt | None = None
    """Budget in optimiser steps."""
    tokens: PositiveInt | None = None
    """Budget in tokens read, padding not counted."""
    epochs: PositiveFloat | None = None
    """Budget in passes over the training data."""
    seconds: PositiveFloat | None = None
    """Budget in wall-clock seconds, evaluations on the way included; the schedule follows the clock."""

    batch_size: PositiveInt = 32
    """Sequences per optimiser step, over all processes."""
    batch_tokens: PositiveInt | None = None
    """Tokens per optimiser step, in batches of rows of like length; where given, it wins over batch_size."""
    micro_batch_size: PositiveInt | None = None
    """Sequences per forward; the step's gradient is the same. null: the whole share of a process at once."""

    log_every: PositiveInt = 10
    """Steps between two log lines."""
    evaluate_every: PositiveInt | None = None
    """Steps between two evaluations; null: ten over the run."""
    checkpoint_every: PositiveInt | None = None
    """Steps between two checkpoints, besides one for every best evaluation and one at the end; null: at every evaluation."""
    keep_last: Annotated[int, Range(2)] = 2
    """Checkpoints kept, besides the best."""
    patience: PositiveInt | None = None
    """Evaluations without a better validation loss after which training ends; null: never."""

    clip_norm: PositiveFloat | None = 1.0
    """Largest norm of the whole gradient; longer ones are shortened to it. null: no clipping."""
    ema_decay: Annotated[float, Range(0, 1, open_minimum=True, open_maximum=True)] | None = None
    """Running average of the weights, evaluated and decoded with instead of them; near 1 is a long memory. null: none."""
    average_last: Annotated[int, Range(2)] | None = None
    """The end result is the mean of this many last checkpoints, the final one included (as in the 2017 Transformer). null: no mean."""

    precision: Annotated[str, OneOf("auto", "fp32", "bf16")] = "auto"
    """Number format of the forward: bf16 is autocast, weights stay fp32; auto is bf16 where a CUDA device computes in it, fp32 elsewhere. With
    bf16 on CUDA the products that autocast leaves in fp32 are made in TF32; fp32 is exact."""
    compile: bool | Annotated[str, OneOf("auto")] = "auto"
    """Whether to compile the model; where that fails, a warning says so and it runs as it is. auto: on a CUDA device, where triton is there; on a
    CPU it gains nothing."""
    gradient_checkpointing: bool = False
    """Whether to compute activations again in the backward pass: less memory, about a third more time."""
    parallel: Annotated[str, OneOf("auto", "none", "ddp", "fsdp")] = "auto"
    """How several processes share the work; auto is ddp under torchrun and none otherwise."""
    n_workers: NaturalInt = 0
    """Processes that prepare batches; 0: a thread of the training process, one step ahead. Never changes the samples."""
    threads: PositiveInt | None = None
    """Threads for computing on a CPU; null: torch's choice."""

    on_nan: Annotated[str, OneOf("stop", "skip")] = "stop"
    """What to do with an update that is not finite; it is never applied."""
    max_skipped: PositiveInt = 10
    """With on_nan=skip, how many updates may be dropped over the whole run."""

    def problems(self) -> list[str]:
        """Settings that exclude each other."""
        problems = []
        given = [f"{name}={getattr(self, name):g}" for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            problems.append(f"{' and '.join(given)} exclude each other: give one budget (steps, tokens, epochs or seconds)")
        if self.ema_decay is not None and self.average_last is not None:
            problems.append(f"ema_decay={self.ema_decay:g} and average_last={self.average_last} exclude each other: give one")
        return problems

    @property
    def budget(self) -> tuple[str, float]:
        """The one budget that holds: its unit (steps, tokens, epochs, seconds) and amount."""
        for name in BUDGETS:
            amount = getattr(self, name)
            if amount is not None:
                return name, float(amount)
        return "steps", float(DEFAULT_STEPS)

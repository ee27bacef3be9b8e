"""Both trainers of the suite `gpu`, timed in the same way: some steps to warm up, then stretches of a few steps, the device idle at their
ends."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transformer_zoo.benchmark.gpu_tasks import Task, rows_of
from transformer_zoo.benchmark.jobs import SPECIALS
from transformer_zoo.benchmark.peers import hugging_face_bert, hugging_face_gpt2, package
from transformer_zoo.benchmark.shapes import Shape
from transformer_zoo.benchmark.sides import CLIP_NORM, OPTIMIZER, wait
from transformer_zoo.data.stream import StepExamples, StreamState, TrainingStream
from transformer_zoo.training.checkpoints import Identity
from transformer_zoo.training.parallel import World
from transformer_zoo.training.progress import Progress
from transformer_zoo.training.rundir import RunFolder
from transformer_zoo.training.schedules import ConstantConfig
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.setup import build_trainer
from transformer_zoo.training.trackers import JSONLConfig


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """How many steps are timed, and how."""

    warm_up: int
    steps: int
    """Of a stretch."""
    count: int

    @property
    def total(self) -> int:
        """Steps in all. One more than are timed: a stretch ends when the next step is asked for."""
        return self.warm_up + self.steps * self.count + 1

    def ends_at(self, step: int) -> bool:
        """Whether a stretch begins or ends before step number `step`, from 0."""
        return step >= self.warm_up and (step - self.warm_up) % self.steps == 0


@dataclass
class Compiled:
    """What the compiler had done at a moment."""

    graphs: int
    breaks: int

    @classmethod
    def now(cls) -> "Compiled":
        from torch._dynamo.utils import counters

        return cls(graphs=counters["stats"]["unique_graphs"], breaks=sum(counters["graph_break"].values()))


@dataclass
class Marks:
    """Is told before every step, and notes the time at the ends of stretches."""

    stretches: Stretches
    device: torch.device
    times: list[float] = field(default_factory=list)
    compiled: list[Compiled] = field(default_factory=list)

    def before(self, step: int) -> None:
        if self.stretches.ends_at(step):
            wait(self.device)
            self.times.append(time.perf_counter())
            self.compiled.append(Compiled.now())

    @property
    def seconds(self) -> list[float]:
        """Of a step, stretch by stretch."""
        assert len(self.times) == self.stretches.count + 1, "the trainer took another number of steps"
        return [(end - start) / self.stretches.steps for start, end in zip(self.times, self.times[1:], strict=False)]


@dataclass
class Asked:
    """A stream that tells before which step it is asked."""

    stream: TrainingStream
    before: Callable[[int], None]

    def initial_state(self) -> StreamState:
        return self.stream.initial_state()

    def epochs_at(self, state: StreamState) -> float:
        return self.stream.epochs_at(state)

    def iterate(self, state: StreamState) -> Iterator[StepExamples]:
        for number, item in enumerate(self.stream.iterate(state)):
            self.before(number)
            yield item


def our_run(task: Task, stretches: Stretches, device: torch.device, folder: Path, before: Callable[[int], None]) -> None:
    """`Trainer.fit`, exactly as the command trains; `before` is told the number of every step."""
    objective = task.built()
    with RunFolder.claim(folder / "ours") as run:
        trainer = build_trainer(
            training=TrainingConfig(steps=stretches.total, clip_norm=CLIP_NORM),
            optimizer=OPTIMIZER,
            schedule=ConstantConfig(warmup_share=0.0),
            tracker=JSONLConfig(),
            model=task.model(),
            objective=objective,
            stream=Asked(task.stream(folder / "text", n_workers=workers(device)), before),
            run=run,
            identity=Identity(config={}, tokenizer="", data="", world_size=1),
            world=World(),
            device=device,
            evaluate=None,
            seed=0,
            progress=Progress(bar=False),
        )
        trainer.fit()


def workers(device: torch.device) -> int:
    """Processes that make batches, on both sides."""
    return 4 if device.type == "cuda" else 0


def waits_of_steps(task: Task, device: torch.device, folder: Path, *, n_steps: int) -> list[str]:
    """Where the host waits for a CUDA device between two of our steps, in PyTorch's words; log lines, which need the losses, aside."""
    first = 3
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def before(step: int) -> None:
            if step == first:
                wait(device)
                torch.cuda.set_sync_debug_mode("warn")
            elif step == first + n_steps:
                torch.cuda.set_sync_debug_mode("default")
                found.extend(str(one.message) for one in caught if "synchronizing CUDA operation" in str(one.message))

        assert first + n_steps < 10, "the tenth step is logged"
        our_run(task, Stretches(warm_up=first, steps=n_steps, count=1), device, folder, before)
    return found


# --- Hugging Face's Trainer ---------------------------------------------------------------------------------------------------------


def hugging_face_t5(shape: Shape, dropout: float) -> nn.Module:
    """`T5ForConditionalGeneration` with SDPA, where this version has it."""
    transformers = package("transformers")
    config = transformers.T5Config(
        vocab_size=shape.vocab_size,
        d_model=shape.d_model,
        d_kv=shape.d_model // shape.n_heads,
        d_ff=shape.d_ff,
        num_layers=shape.n_layers,
        num_heads=shape.n_heads,
        dropout_rate=dropout,
        pad_token_id=SPECIALS.pad,
        decoder_start_token_id=SPECIALS.pad,
        use_cache=False,
    )
    module: nn.Module = transformers.T5ForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    return module


HUGGING_FACE: dict[str, Callable[[Shape, float], nn.Module]] = {
    "bert": lambda shape, dropout: hugging_face_bert(shape, dropout).module,
    "gpt2": lambda shape, dropout: hugging_face_gpt2(shape, dropout).module,
    "t5": hugging_face_t5,
}


def their_run(task: Task, stretches: Stretches, device: torch.device, folder: Path, before: Callable[[int], None]) -> None:
    """Hugging Face's Trainer with SDPA: bf16 and compiled on a CUDA device, fused AdamW, over rows that were prepared before (masked, too)."""
    transformers = package("transformers")
    package("accelerate")
    examples = [
        example for _, item in zip(range(4), task.stream(folder / "text").iterate(StreamState(seed=0)), strict=False) for example in item.examples
    ]
    rows = [row for example in examples for row in rows_of(example)]

    class Listener(transformers.TrainerCallback):  # type: ignore[name-defined]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            before(state.global_step)

    on_gpu = device.type == "cuda"
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "theirs"),
        per_device_train_batch_size=task.shape.batch_size,
        max_steps=stretches.total,
        learning_rate=OPTIMIZER.lr,
        weight_decay=OPTIMIZER.weight_decay,
        adam_beta2=OPTIMIZER.beta2,
        max_grad_norm=CLIP_NORM,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        bf16=on_gpu,
        tf32=True if on_gpu else None,
        torch_compile=on_gpu,
        dataloader_num_workers=workers(device),
        dataloader_pin_memory=on_gpu,
        dataloader_drop_last=True,
        use_cpu=not on_gpu,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    torch.manual_seed(0)
    module = HUGGING_FACE[task.recipe](task.shape, task.dropout)
    trainer = transformers.Trainer(model=module, args=arguments, train_dataset=rows, callbacks=[Listener()])
    trainer.remove_callback(transformers.PrinterCallback)  # it writes where our tables go
    trainer.train()

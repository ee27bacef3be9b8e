"""From settings to a trainer: device, wrapping and optimiser in the one order that works."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transformer_zoo.errors import ConfigError
from transformer_zoo.training.checkpoints import CheckpointStore, Identity, find_checkpoint, read_weights
from transformer_zoo.training.compiling import choose
from transformer_zoo.training.heap import keep_freed_memory
from transformer_zoo.training.keeper import Keeper
from transformer_zoo.training.optimizers import OptimizerConfig
from transformer_zoo.training.parallel import World, check_parallel, parallelise
from transformer_zoo.training.precision import Precision
from transformer_zoo.training.progress import Progress
from transformer_zoo.training.recorder import Recorder
from transformer_zoo.training.rundir import RunFolder
from transformer_zoo.training.schedules import ScheduleConfig
from transformer_zoo.training.scored import LossObjective, Scored
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.signals import StopFlag
from transformer_zoo.training.step import Stepper, defers
from transformer_zoo.training.trackers import TrackerConfig
from transformer_zoo.training.trainer import Evaluate, Observe, Stream, Trainer, Verdict
from transformer_zoo.training.weights import load_model_weights

logger = logging.getLogger(__name__)


def build_trainer(
    *,
    training: TrainingConfig,
    optimizer: OptimizerConfig,
    schedule: ScheduleConfig,
    tracker: TrackerConfig,
    model: nn.Module,
    objective: LossObjective,
    stream: Stream,
    run: RunFolder,
    identity: Identity,
    world: World,
    device: torch.device,
    evaluate: Evaluate | None,
    seed: int,
    stop: StopFlag | None = None,
    progress: Progress | None = None,
    tracked_config: Mapping[str, Any] | None = None,
    observe: Observe | None = None,
    verdict: Verdict | None = None,
) -> Trainer:
    """A trainer whose `fit` can be called. The world must have been joined; `model` is moved to `device` and, for several processes, wrapped.

    `tracked_config` is what a tracker may show of the configuration: plain data with secrets masked. `observe` sees the first step;
    `verdict` may end the run after an evaluation.

    Raises:
        ConfigError: the device cannot compute in the precision asked for, or `training.parallel` does not fit how the run was started.
        MissingExtraError: the tracker's package is not installed.
    """
    kind = check_parallel(training.parallel, world)
    if kind == "fsdp" and not optimizer.shardable:
        raise ConfigError(
            f"training.parallel=fsdp: {type(optimizer).__name__.removesuffix('Config')} cannot update sharded parameters; "
            "use training.parallel=ddp or another optimizer such as optimizer=adamw"
        )
    precision = Precision(training.precision, device)
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda" and precision.name == "bf16":
        torch.set_float32_matmul_precision("high")  # what autocast leaves in fp32 may go through TF32
    recorder = Recorder(run, tracker=tracker.build(), progress=progress or Progress(), config=tracked_config, active=world.is_main)
    model.to(device)
    if training.gradient_checkpointing:
        switch: Any = model
        switch.set_gradient_checkpointing(True)
    replica = parallelise(kind, Scored(model, objective), world, device)
    replica.follow(choose(training.compile, device))
    logger.info("the model is %s", replica.compilation)
    optimiser = optimizer.build(model)
    stepper = Stepper(
        replica=replica,
        optimizer=optimiser,
        precision=precision,
        world=world,
        device=device,
        clip_norm=training.clip_norm,
        deferred=defers(device) and kind != "fsdp",  # sharded parameters do not mix with a number that is whole
        stops=training.on_nan == "stop",
    )
    keeper = Keeper(
        model=model,
        optimizer=optimiser,
        store=CheckpointStore(run.checkpoints, identity),
        world=world,
        device=device,
        keep_last=training.keep_last,
        average_last=training.average_last,
    )
    return Trainer(
        config=training,
        stepper=stepper,
        schedule=schedule,
        stream=stream,
        keeper=keeper,
        recorder=recorder,
        stop=stop or StopFlag(),
        evaluate=evaluate,
        seed=seed,
        observe=observe,
        verdict=verdict,
    )


def load_weights(model: nn.Module, source: Path, *, which: str = "best", strict: bool = True) -> Path:
    """Give a model the weights of a run (its `best`, `latest` or a named checkpoint) or of a checkpoint folder; returns that folder.

    With `strict=False` tensors that are missing, left over or of another shape are logged and left as they are.

    Raises:
        CheckpointError: there is no such checkpoint, it is damaged, or (strict) does not fit the model.
    """
    path = source if (source / "manifest.json").is_file() else find_checkpoint(source, which)
    for misfit in load_model_weights(model, read_weights(path), str(path), strict=strict):
        logger.warning("%s: %s", path, misfit)
    return path

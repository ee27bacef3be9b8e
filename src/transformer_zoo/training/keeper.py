"""Between a run in memory and its checkpoints: gathers what must be saved from model, optimiser and generators, and puts it back."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transformer_zoo.errors import CheckpointError, ZooError
from transformer_zoo.training.averaging import AveragedWeights, mean_weights
from transformer_zoo.training.checkpoints import CheckpointStore, Snapshot, read_checkpoint, read_raw_weights
from transformer_zoo.training.optimizers import Optimizer, load_optimizer_state, optimizer_state
from transformer_zoo.training.parallel import World
from transformer_zoo.training.progress import IN_BAR
from transformer_zoo.training.rng import generator_states
from transformer_zoo.training.state import TrainState
from transformer_zoo.training.weights import load_model_weights, model_weights

logger = logging.getLogger(__name__)


class Keeper:
    """Saves and restores a run. Every process calls each method; the first one writes, all read."""

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: Optimizer,
        store: CheckpointStore,
        world: World,
        device: torch.device,
        keep_last: int,
        average_last: int | None,
    ) -> None:
        self.model, self.optimizer, self.store, self.world, self.device = model, optimizer, store, world, device
        self.keep_last = max(keep_last, average_last or 0)
        self.saved_step = -1

    def save(self, state: TrainState, averaged: AveragedWeights | None, *, is_best: bool, planned: bool) -> None:
        """Write a checkpoint of the run as it stands.

        Raises:
            CheckpointError: in every process, where the first could not write.
        """
        weights = model_weights(self.model)
        snapshot = Snapshot(
            weights=weights,
            averaged={**weights, **averaged.whole()} if averaged is not None else None,
            optimizer=optimizer_state(self.optimizer, self.model),
            rng=generator_states(self.device, self.world),
            state=state.to_dict(),
        )

        def write() -> None:
            path = self.store.save(snapshot, is_best=is_best, keep_last=self.keep_last, planned=planned)
            logger.info("saved %s%s", path, " (best so far)" if is_best else "", extra=IN_BAR)

        self._first_does(write)
        self.saved_step = state.step

    def restore(self, resume: str) -> tuple[TrainState, Snapshot] | None:
        """Put weights and optimiser back as a checkpoint has them (see `CheckpointStore.restore`); None for a fresh start.

        Raises:
            CheckpointError: in every process.
        """
        found: list[tuple[Path, Snapshot]] = []

        def look() -> None:
            self.store.clean()
            self._check_space()
            restored = self.store.restore(resume)
            if restored is not None:
                found.append(restored)

        self._first_does(look)
        path: Path | None = self.world.broadcast(found[0][0] if found else None)
        if path is None:
            return None
        snapshot = found[0][1] if found else read_checkpoint(path)
        load_model_weights(self.model, snapshot.weights, str(path))
        load_optimizer_state(self.optimizer, self.model, snapshot.optimizer)
        state = TrainState.from_dict(snapshot.state)
        self.saved_step = state.step
        logger.info("resuming from %s", path)
        return state, snapshot

    def mean_of_last(self, count: int, step: int) -> AveragedWeights:
        """The mean of the model's weights after `step` and those of the last checkpoints before it, `count` in all (fewer where there are fewer)."""
        earlier = [saved for saved in self.store.planned_steps() if saved < step][-(count - 1) :]
        states = [read_raw_weights(self.store.path(saved)) for saved in earlier] + [model_weights(self.model)]
        if len(states) < count:
            logger.warning("training.average_last=%d, but there are only %d checkpoints to average", count, len(states))
        averaged = AveragedWeights(self.model)
        averaged.load(mean_weights(states))
        return averaged

    def _check_space(self) -> None:
        """Warn early where the disk may not hold two checkpoints: weights and about two moments of each parameter."""
        need = 2 * 3 * sum(parameter.numel() * parameter.element_size() for parameter in self.model.parameters())
        free = shutil.disk_usage(self.store.folder.parent).free
        if free < need:
            logger.warning("%s has %.1f GB free; two checkpoints need about %.1f GB", self.store.folder, free / 1e9, need / 1e9)

    def _first_does(self, action: Any) -> None:
        """Run `action` in the first process; its error is raised in all."""
        error: ZooError | None = None
        if self.world.is_main:
            try:
                action()
            except ZooError as raised:
                error = raised
        failed = self.world.broadcast(None if error is None else str(error))
        if error is not None:
            raise error
        if failed is not None:
            raise CheckpointError(failed)

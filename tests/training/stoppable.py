"""Runs to be stopped, each in a process group of its own: `stoppable.py FOLDER`, started by test_signals.py.

One process imports everything and forks a child per scenario. A child writes `NAME.pid` once its phase has begun, lingers there for a
while, and leaves what it says in `NAME.out`. At the end the parent writes the exit codes to `codes.json`.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from training.tiny import TinyModel, TinyStream, held_out, make_trainer
from transformer_zoo.data.loading import load
from transformer_zoo.data.stream import StepExamples
from transformer_zoo.errors import StoppedError
from transformer_zoo.training import io
from transformer_zoo.training.parallel import World
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.signals import StopFlag

SCENARIOS = {"step": 2, "evaluation": 0, "saving": 0, "twice": 0}
"""Phase and number of loader workers."""


class WorkerStream(TinyStream):
    """Its steps pass through loader workers, as real examples do."""

    def __init__(self, n_workers: int) -> None:
        super().__init__()
        self.n_workers = n_workers

    def iterate(self, state: Any) -> Iterator[StepExamples]:
        steps = super().iterate(state)
        for _, item in load(_same, steps, n_workers=self.n_workers, seed=0, describe=str):
            yield item


def _same(item: StepExamples) -> StepExamples:
    return item


def run(folder: Path, phase: str, n_workers: int) -> None:
    """One run, slowed down in its phase."""
    ready = folder.with_suffix(".pid")
    model, stop, world = TinyModel(), StopFlag(), World()

    def linger(seconds: float) -> None:
        if not ready.exists():
            ready.write_text(str(os.getpid()))
        time.sleep(seconds)

    def evaluate() -> dict[str, float]:
        for _ in stop.guard(range(400), world):
            if phase == "evaluation":
                linger(0.05)
        return held_out(model)

    trainer = make_trainer(
        folder,
        training=TrainingConfig(steps=400, log_every=1, evaluate_every=5, checkpoint_every=5),
        model=model,
        stream=WorkerStream(n_workers),
        evaluate=evaluate,
        stop=stop,
    )
    step: Callable[..., Any] = trainer.stepper.run

    def slow(*arguments: Any) -> Any:
        result = step(*arguments)
        if phase == "step" and trainer.state.step >= 2:
            linger(0.1)
        return result

    trainer.stepper.run = slow  # type: ignore[method-assign]
    if phase in ("saving", "twice"):
        pause = 0.5 if phase == "saving" else 20.0
        io.before = lambda operation, path: linger(pause) if (operation, path.name) == ("open", "optim.pt") else None
    trainer.fit()


def child(root: Path, phase: str, n_workers: int) -> int:
    """Run in a new process group, with both outputs in a file; the exit code."""
    os.setsid()
    with (root / f"{phase}.out").open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            run(root / phase, phase, n_workers)
        except StoppedError as error:
            file.write(f"{error}\n")
            return error.stopped_exit_code
        except BaseException:  # noqa: BLE001 - a forked child must not run its parent's code
            file.write(traceback.format_exc())
            return 1
    return 0


def main() -> None:
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    children: dict[str, int] = {}
    for phase, n_workers in SCENARIOS.items():
        children[phase] = os.fork()
        if not children[phase]:
            os._exit(child(root, phase, n_workers))
    codes = {phase: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for phase, pid in children.items()}
    (root / "codes.json").write_text(json.dumps(codes))


if __name__ == "__main__":
    main()

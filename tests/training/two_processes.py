"""What each of two processes runs, started by torchrun from test_parallel.py: every scenario in a run folder of its own."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from training.tiny import TinyModel, TinyStream, fit, held_out, make_trainer
from transformer_zoo.training.optimizers import AdamWConfig, MuonConfig, SGDConfig
from transformer_zoo.training.parallel import World
from transformer_zoo.training.schedules import ConstantConfig
from transformer_zoo.training.settings import TrainingConfig

SCENARIOS: dict[str, dict[str, Any]] = {
    "ddp": {"micro": 3},
    "ddp_filler": {"batch_size": 1},
    "fsdp": {"micro": 3, "parallel": "fsdp", "ema_decay": 0.9},
    "fsdp_filler": {"batch_size": 1, "parallel": "fsdp"},
    "fsdp_muon": {"parallel": "fsdp", "optimizer": MuonConfig()},
    "fsdp_sgd": {"parallel": "fsdp", "optimizer": SGDConfig(), "average_last": 2, "checkpoint_every": 2},
}
STEPS = 6


def scenario(folder: Path, world: World, *, steps: int = STEPS, **settings: Any) -> TinyStream:
    """One run; without dropout, because processes draw differently."""
    parallel = settings.pop("parallel", "auto") if world.size > 1 else "none"
    optimizer = settings.pop("optimizer", AdamWConfig())
    sizes = {"batch_size": settings.pop("batch_size", 7), "micro": settings.pop("micro", None)}
    settings.pop("parallel", None)
    torch.manual_seed(3)
    model = TinyModel(dropout=0.0)
    stream = TinyStream(**sizes, rank=world.rank, size=world.size)
    trainer = make_trainer(
        folder,
        training=TrainingConfig(steps=steps, log_every=1, evaluate_every=3, parallel=parallel, **settings),
        optimizer=optimizer,
        schedule=ConstantConfig(warmup_steps=2),
        stream=stream,
        model=model,
        evaluate=lambda: held_out(model),
        world=world,
    )
    fit(trainer)
    return stream


def main() -> None:
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message=".*script_method.*", category=DeprecationWarning)
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    world = World.from_environment()
    world.join(torch.device("cpu"))
    seen = {name: scenario(root / name, world, **settings).seen for name, settings in SCENARIOS.items()}
    scenario(root / "from_one", world, steps=STEPS, parallel="fsdp")
    assert world.sum(torch.tensor([world.rank + 1.0])).tolist() == [3.0]
    everyone = world.collect(seen)
    if world.is_main:
        (root / "seen.json").write_text(json.dumps(everyone))
    world.leave()


if __name__ == "__main__":
    main()

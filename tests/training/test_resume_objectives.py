"""Resume to the bit with the real parts: every objective, stopped inside an epoch and at its end, with other numbers of loader workers."""

from pathlib import Path
from typing import Any

import pytest

from training.test_resume import assert_same, without_times
from transformer_zoo.errors import StoppedError
from transformer_zoo.experiments import compose, run
from transformer_zoo.training.checkpoints import read_checkpoint
from transformer_zoo.training.metrics import read_metrics
from transformer_zoo.training.signals import SIGNALS
from transformer_zoo.training.state import TrainState
from transformer_zoo.training.trainer import Trainer

SMALL = [
    "model/size=tiny", "data=pocket", "data.n_documents=12", "data.n_held_out=6", "data.sequence_length=24", "tokenizer=word",
    "training.log_every=3", "training.evaluate_every=4", "training.threads=1", "device=cpu",
]  # fmt: skip
BATCHES = {
    "inside": ["training.batch_size=5", "training.micro_batch_size=2", "training.steps=7"],
    "at the end": ["training.batch_tokens=600", "training.epochs=1.5"],
}
"""Where the run is stopped: inside its first epoch, or when the first has just ended."""
MODELS = {
    "mlm_nsp": "bert", "clm": "gpt2", "translation": "transformer", "mlm": "bert", "nsp": "bert", "classification": "bert", "tagging": "bert",
    "replaced_token": "electra", "mlm_sop": "albert", "span_corruption": "t5", "denoising": "bart",
}  # fmt: skip
QUICK = [("mlm_nsp", "inside"), ("clm", "at the end"), ("translation", "at the end")]
CASES = [pytest.param(objective, where, marks=[] if (objective, where) in QUICK else [pytest.mark.slow]) for objective in MODELS for where in BATCHES]


def inside(state: TrainState) -> bool:
    return state.step == 3


def at_the_end(state: TrainState) -> bool:
    return state.stream["epoch"] == 1 and state.stream["consumed"] == 0


PLACES = {"inside": inside, "at the end": at_the_end}


@pytest.mark.parametrize(("objective", "where"), CASES)
def test_stop_and_go_on(objective: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))

    def train(folder: str, n_workers: int) -> int:
        overrides = [
            f"model={MODELS[objective]}", f"objective={objective}", *SMALL, *BATCHES[where], f"training.n_workers={n_workers}",
            f"run_dir={tmp_path / folder}",
        ]  # fmt: skip
        return int(run.train(compose.experiment(overrides), overrides).summary["steps"])

    steps = train("whole", 0)
    with monkeypatch.context() as patch:
        count = Trainer._count

        def counting(self: Trainer, *arguments: Any) -> None:
            count(self, *arguments)
            if PLACES[where](self.state):
                self.stop.signal_number = SIGNALS[0]

        patch.setattr(Trainer, "_count", counting)
        with pytest.raises(StoppedError):
            train("parts", 2)
    assert train("parts", 1) == steps
    whole, parts = (read_checkpoint(tmp_path / name / "checkpoints" / f"step-{steps:08d}") for name in ("whole", "parts"))
    for part in ("weights", "optimizer", "rng"):
        assert_same(getattr(whole, part), getattr(parts, part), part)
    lines = [[without_times(line) for line in read_metrics(tmp_path / name / "metrics.jsonl")] for name in ("whole", "parts")]
    assert lines[0] == lines[1]

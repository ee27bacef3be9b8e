"""Runs of several phases: each goes on from the one before, and nothing is done twice."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.evaluating import evaluate_run
from transformer_zoo.experiments.run import train
from transformer_zoo.studies.phases import train_phases
from transformer_zoo.training.checkpoints import find_checkpoint, read_weights

SMALL = [
    "model=gpt2",
    "model/size=tiny",
    "model.d_model=16",
    "model.d_ff=32",
    "model.n_layers=1",
    "model/positions=rotary",
    "data=pocket",
    "data.n_documents=20",
    "data.n_held_out=4",
    "data.sequence_length=16",
    "tokenizer=word",
    "training.steps=2",
    "training.batch_size=4",
    "device=cpu",
]
DECODER, ENCODER = ["model.kind=decoder", "objective=clm"], ["model.kind=encoder", "objective=mlm"]


class Trained:
    """Notes what is trained, and leaves a status as a run does; `dies_in`: the number of the training that is stopped."""

    def __init__(self, dies_in: int = 0) -> None:
        self.words: list[list[str]] = []
        self.dies_in = dies_in

    def __call__(self, config: Any, overrides: Sequence[str]) -> None:
        self.words.append(list(overrides))
        folder = Path(next(word for word in overrides if word.startswith("run_dir=")).removeprefix("run_dir=").strip("'"))
        folder.mkdir(parents=True, exist_ok=True)
        stopped = len(self.words) == self.dies_in
        (folder / "status.json").write_text(json.dumps({"status": "preempted" if stopped else "done"}))
        if stopped:
            raise KeyboardInterrupt


def composed(overrides: Sequence[str]) -> Any:
    return overrides


def test_every_phase_goes_on_from_the_one_before(tmp_path: Path) -> None:
    trained = Trained()
    start = train_phases([["a=1"], ["b=2"]], tmp_path, trained, composed)
    first, second = tmp_path / "phases" / "1", tmp_path / "phases" / "2"
    assert trained.words == [
        ["a=1", f"run_dir='{first}'", "final_evaluation=null"],
        ["b=2", f"init_from='{first}'", f"run_dir='{second}'", "final_evaluation=null"],
    ]
    assert start == [f"init_from='{second}'"]
    assert train_phases([], tmp_path, trained, composed) == []


def test_a_finished_phase_is_not_repeated_and_a_stopped_one_goes_on(tmp_path: Path) -> None:
    dying = Trained(dies_in=2)
    with pytest.raises(KeyboardInterrupt):
        train_phases([["a=1"], ["b=2"], ["c=3"]], tmp_path, dying, composed)
    again = Trained()
    train_phases([["a=1"], ["b=2"], ["c=3"]], tmp_path, again, composed)
    assert [words[0] for words in again.words] == ["b=2", "c=3"]
    assert again.words[0] == dying.words[1]


@pytest.mark.parametrize(("before", "after"), [(DECODER, ENCODER), (ENCODER, DECODER)], ids=["decoder-encoder", "encoder-decoder"])
def test_weights_pass_between_layouts_whole(tmp_path: Path, before: list[str], after: list[str]) -> None:
    """With the same blocks, every tensor of one layout has its place in the other, and the run says so."""
    start = train_phases([[*SMALL, *before]], tmp_path, train, experiment)
    words = [*SMALL, *after, *start, "final_evaluation=null", "training.steps=1", "optimizer.lr=1e-9", f"run_dir='{tmp_path}'"]
    train(experiment(words), words)
    first = tmp_path / "phases" / "1"
    told = json.loads((tmp_path / "started_from.json").read_text())
    weights = read_weights(find_checkpoint(tmp_path))
    assert sorted(told["taken"]) == sorted(weights) and len(weights) > 10
    assert (told["drawn"], told["unused"]) == ([], [])
    assert told["source"].startswith(str(first))
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["started_from"] == {"source": told["source"], "taken": len(weights), "drawn": 0, "unused": 0}
    assert not (first / "started_from.json").exists(), "the first phase starts from random numbers"
    for name, tensor in read_weights(find_checkpoint(first)).items():
        assert weights[name].allclose(tensor, atol=1e-6), name
    assert evaluate_run(tmp_path, experiment(words).evaluation, device="cpu")["metrics"]["validation/loss"] > 0

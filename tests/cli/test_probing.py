"""Probes and fine-tuning from the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from transformer_zoo.cli.main import main

Zoo = Any
SMALL = ["model/size=tiny", "data.n_documents=24", "data.n_held_out=6", "data.sequence_length=32", "tokenizer=word", "training.batch_size=4"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of one step in `run`, labelled texts in `a.jsonl` and tagged words in `b.jsonl`."""
    folder = tmp_path_factory.mktemp("trained")
    texts = [{"text": f"the {animal} sleeps", "label": animal} for animal in ("cat", "dog")] * 20
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    (folder / "b.jsonl").write_text(json.dumps({"tokens": ["the", "cat"], "tags": ["O", "B-animal"]}) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TRANSFORMER_ZOO_CACHE", str(folder / "cache"))
        assert main(["train", "model=bert", *SMALL, "training.steps=1", "run_dir=run"]) == 0
    return folder


@pytest.fixture
def zoo_there(zoo: Zoo, trained: Path, tmp_path: Path) -> Zoo:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return zoo


LABELLED = ["evaluation=probe", "evaluation/data=labelled", "evaluation.data.train=a.jsonl", "evaluation.data.validation_share=0.4"]


def test_a_run_is_probed_on_other_data_the_same_to_the_byte(zoo_there: Zoo) -> None:
    first, second = (zoo_there("evaluate", "run=run", *LABELLED, "--json") for _ in range(2))
    assert first.code == 0, first.err
    assert first.out == second.out
    document = json.loads(first.out)
    assert set(document) == {"evaluation", "metrics", "notes"}
    assert document["evaluation"] == "probe"
    assert {f"validation/probe/{name}" for name in ("accuracy", "best_layer", "majority", "layer_0/accuracy")} <= set(document["metrics"])
    assert zoo_there("evaluate", "run=run", "evaluation=probe", "evaluation.task=tagging").code == 0, "the run's own data"


def test_a_run_is_fine_tuned_on_other_data(zoo_there: Zoo) -> None:
    told = zoo_there("evaluate", "run=run", *["evaluation=fine_tune", *LABELLED[1:]], "evaluation.steps=2", "--json")
    assert told.code == 0, told.err
    assert set(json.loads(told.out)["metrics"]) == {"validation/fine_tune/accuracy", "validation/fine_tune/majority"}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["evaluation/data=text"], 2, "evaluation/data has no 'text'"),
        (["evaluation/data=labelled"], 2, "evaluation.data.train: a value is needed here: set evaluation.data.train=…"),
        (["evaluation/data=labelled", "evaluation.data.train=c.jsonl"], 3, "evaluation.data: data.train=c.jsonl"),
        ([*LABELLED[1:], "evaluation.data.label_field=class"], 3, "there is no field 'class' (it has text, label); set data.label_field=…"),
        ([*LABELLED[1:], "evaluation.task=tagging"], 3, "task=tagging, but the data holds labelled texts: choose task=classification or auto"),
        (["evaluation.task=ranking"], 2, "evaluation.task: expected one of auto, classification, tagging, got the text 'ranking'"),
        (["evaluation.split=train"], 2, "evaluation: split=train is what the evaluation trains on: choose validation or test"),
        ([*LABELLED[1:], "evaluation.max_samples=3"], 3, "texts that probes are fitted on, and needs at least 2"),
        (
            [*LABELLED[1:], "evaluation.data.sequence_length=1024"],
            2,
            "evaluation.data.sequence_length=1024 is longer than the 512 positions of the model",
        ),
    ],
)
def test_mistakes_are_one_line(zoo_there: Zoo, words: list[str], code: int, message: str) -> None:
    told = zoo_there("evaluate", "run=run", "evaluation=probe", *words)
    assert told.code == code
    problems = [line for line in told.lines if line.startswith("transformer-zoo: ")]
    assert len(problems) == 1
    assert message in problems[0]

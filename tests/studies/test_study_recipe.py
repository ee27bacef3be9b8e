"""Named studies, and what they measure of finished runs."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from transformer_zoo.cli.main import main
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import config_tree
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.studies.measuring import Measurement
from transformer_zoo.studies.recipe import study_recipe, without
from transformer_zoo.studies.study import Doors, ablate

NAMES = list(config_tree.options("study", config_tree.roots()))


def trained(config: ExperimentConfig, overrides: Sequence[str]) -> None:
    """Leaves what a run leaves, without training."""
    assert config.run_dir is not None
    folder = Path(config.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    (folder / "summary.json").write_text(json.dumps({"status": "done", "metrics": {"final": {"validation/loss": 1.0}}}))
    (folder / "status.json").write_text(json.dumps({"status": "done"}))


class Measured:
    """Gives a score without evaluating, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, run: Path, settings: Any) -> dict[str, Any]:
        self.asked += 1
        return {"metrics": {"validation/loss": 2.0, "validation/probe/accuracy": 0.5 + self.asked / 100}, "notes": {}}


LOSS = Measurement(words=["evaluation=loss"], score="validation/probe/accuracy")


@pytest.mark.parametrize("name", NAMES)
def test_every_study_composes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_DATA", str(tmp_path))
    for folder in ("sst2", "wnut17"):
        (tmp_path / folder).mkdir()
        for split in ("train", "validation"):
            (tmp_path / folder / f"{split}.jsonl").touch()
    assert main(["ablate", f"study={name}", "seeds=1", "match=none", "--plan", "--json"]) == 0  # to make equal takes the data
    plan = json.loads(capsys.readouterr().out)
    recipe = study_recipe(name)
    cells = 1
    for choices in (*recipe.values.values(), *recipe.variants.values()):
        cells *= len(choices)
    assert len(plan["runs"]) == cells > 1
    assert len({run["run"] for run in plan["runs"]}) == cells, "every cell is another experiment"


def test_what_is_typed_wins(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["study=mask_ratio", "objective.mask_ratio=0.15,0.4", "model/size=tiny,mini", "objective.mask_share=0.8", "objective.keep_share=0.2"]
    assert main(["ablate", *words, "seeds=1", "--plan", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["label"] for run in runs] == [
        f"objective.mask_ratio={ratio} model/size={size}" for ratio in ("0.15", "0.4") for size in ("tiny", "mini")
    ]
    for run in runs:
        assert "objective.mask_share=0.8" in run["overrides"]
        assert "objective.mask_share=1.0" not in run["overrides"]
        assert sum(word.startswith("model/size=") for word in run["overrides"]) == 1


def test_a_setting_typed_with_one_value_is_varied_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "study=mask_ratio", "objective.mask_ratio=0.3", "model/size=tiny,mini", "seeds=1", "--plan", "--json"]) == 0
    assert [run["label"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["model/size=tiny", "model/size=mini"]


def test_a_budget_that_is_typed_takes_the_place_of_the_study_s() -> None:
    overrides = ["training.tokens=3000", "training.seconds=null", "model=bert"]
    assert without(overrides, ["training.steps=2"]) == ["model=bert"]


def test_files_of_a_measurement_that_are_not_there_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    words = ["evaluation=probe", "evaluation/data=labelled", f"evaluation.data.train={tmp_path / 'nowhere.jsonl'}"]
    with pytest.raises(ConfigError, match=r"measurement reviews: .*nowhere\.jsonl"):
        ablate(
            {"model.dropout": ["0.1"]},
            ["model=gpt2"],
            measurements={"reviews": Measurement(words=words)},
            folder=tmp_path / "s",
            doors=Doors(train=trained),
        )
    assert not (tmp_path / "s").exists()


def test_a_measurement_that_failed_is_named_beside_the_finished_run(tmp_path: Path) -> None:
    wrong = {"reviews": Measurement(words=["evaluation=loss"], score="validation/bleu")}
    ablate({"model.dropout": ["0.1"]}, ["model=gpt2"], measurements=wrong, folder=tmp_path, doors=Doors(train=trained, measure=Measured()))
    assert "Not measured, model.dropout=0.1 seed 0: measurement reviews: score=validation/bleu" in (tmp_path / "summary.md").read_text()


def test_a_run_that_ended_before_its_final_evaluation_goes_on(tmp_path: Path) -> None:
    asked: list[str] = []

    def train(config: ExperimentConfig, overrides: Sequence[str]) -> None:
        asked.append(str(config.run_dir))
        trained(config, overrides)

    given: Any = {"folder": tmp_path, "doors": Doors(train=train)}
    masked = ["model=bert", "objective=mlm"]
    ablate({"model.dropout": ["0.1"]}, masked, **given)
    ablate({"model.dropout": ["0.1"]}, masked, **given)
    assert len(asked) == 2, "its summary tells of no grid"
    summary = Path(asked[0]) / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"final_evaluation": "mask_grid"}))
    ablate({"model.dropout": ["0.1"]}, masked, **given)
    assert len(asked) == 2


def test_without_drops_what_is_typed_anew() -> None:
    assert without(["model=bert", "+a.b=1", "c=2"], ["a.b=3", "d=4"]) == ["model=bert", "c=2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "study has no 'mine'"),
        ("values: {a: [1]}\nseed: 2\n", "mine.yaml: seed: the configuration has no setting 'seed'; did you mean seeds?"),
        ("values: {a: 5}\n", "mine.yaml: values.a: expected a list of text, got 5"),
        ("values: [a]\n", "mine.yaml: values: expected named parts (a mapping), got a list of 1"),
        ("values: {a: [1\n", "mine.yaml: not readable as YAML"),
    ],
)
def test_a_study_that_is_not_there_or_wrong(tmp_path: Path, text: str | None, message: str) -> None:
    (tmp_path / "study").mkdir()
    if text is not None:
        (tmp_path / "study" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        study_recipe("mine", [tmp_path])
    assert message in str(caught.value)


def test_a_users_own_study_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "mine.yaml").write_text("values: {model.dropout: [0.1, 0.2]}\noverrides: [model=gpt2, model/size=tiny]\n")
    assert main(["ablate", "study=mine", "--config-dir", str(tmp_path), "--plan", "--json"]) == 0
    assert [run["label"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["model.dropout=0.1", "model.dropout=0.2"]


def test_finished_runs_are_measured_once_and_tables_show_the_score(tmp_path: Path) -> None:
    measured = Measured()
    given: Any = {"folder": tmp_path / "s", "doors": Doors(train=trained, measure=measured)}
    factors = {"model.dropout": ["0.1", "0.2"]}
    ablate(factors, ["model=gpt2", "model/size=tiny"], measurements={"reviews": LOSS}, **given)
    assert measured.asked == 2
    rows = list(csv.DictReader((tmp_path / "s" / "runs.csv").read_text().splitlines()))
    assert [float(row["validation/reviews_accuracy"]) for row in rows] == [0.51, 0.52]
    assert "validation/reviews_accuracy ↑" in (tmp_path / "s" / "summary.md").read_text()
    ablate(factors, ["model=gpt2", "model/size=tiny"], measurements={"reviews": LOSS}, **given)
    assert measured.asked == 2, "what was measured is kept"
    other = Measurement(words=["evaluation=loss", "evaluation.split=test"], score=LOSS.score)
    ablate(factors, ["model=gpt2", "model/size=tiny"], measurements={"reviews": other}, **given)
    assert measured.asked == 4, "another measurement under the same name is made"


def test_runs_on_other_data_are_not_measured(tmp_path: Path) -> None:
    measured = Measured()
    only = {"classes": Measurement(words=["evaluation=loss"], only_data="text")}
    study = ablate(
        {"model.dropout": ["0.1"]},
        ["model=gpt2", "model/size=tiny"],
        measurements=only,
        folder=tmp_path,
        doors=Doors(train=trained, measure=measured),
    )
    assert (study.exit_code, measured.asked) == (0, 0)
    here = {"classes": Measurement(words=["evaluation=loss"], only_data="pocket")}
    ablate(
        {"model.dropout": ["0.1"]},
        ["model=gpt2", "model/size=tiny"],
        measurements=here,
        folder=tmp_path,
        doors=Doors(train=trained, measure=measured),
    )
    assert measured.asked == 1


def test_a_score_that_the_evaluation_does_not_give_is_named(tmp_path: Path) -> None:
    wrong = {"reviews": Measurement(words=["evaluation=loss"], score="validation/bleu")}
    study = ablate(
        {"model.dropout": ["0.1"]},
        ["model=gpt2", "model/size=tiny"],
        measurements=wrong,
        folder=tmp_path,
        doors=Doors(train=trained, measure=Measured()),
    )
    assert study.exit_code == 2
    assert study.failed[0].failure.startswith("measurement reviews: score=validation/bleu is not among validation/loss")


def test_a_measurement_with_wrong_words_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    wrong = {"reviews": Measurement(words=["evaluation=los"])}
    with pytest.raises(ConfigError, match="measurement reviews: evaluation has no 'los'"):
        ablate({"model.dropout": ["0.1"]}, ["model=gpt2"], measurements=wrong, folder=tmp_path / "s", doors=Doors(train=trained))
    assert not (tmp_path / "s").exists()

"""`compare` and `ablate` as typed: designs, what a study says against what is typed, and mistakes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from transformer_zoo.cli.main import main
from transformer_zoo.errors import DataError
from transformer_zoo.studies import planning
from transformer_zoo.studies import study as studies
from transformer_zoo.studies.cells import Study
from transformer_zoo.studies.study import Terms

TINY = ["model=bert", "model/size=tiny", "objective=mlm"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `ablate` and `compare` were called with; nothing is run."""
    calls: list[dict[str, Any]] = []

    def call(**given: Any) -> Study:
        calls.append(given)
        return Study(folder=Path("s"), kind="ablate", cells=[])

    monkeypatch.setattr(studies, "ablate", call)
    monkeypatch.setattr(studies, "compare", call)
    return calls


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--plan", "--json"]) == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out)
    return plan


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(list(words)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    return [line.removeprefix("transformer-zoo: ") for line in told.err.splitlines() if line.startswith("transformer-zoo: ")]


def test_paired_lists(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(capsys, "ablate", *TINY, "model.d_model=64,128", "model.n_heads=2,4", "--zip", "model.d_model,model.n_heads")
    assert [run["label"] for run in plan["runs"]] == ["model.d_model=64 model.n_heads=2", "model.d_model=128 model.n_heads=4"]
    assert plan["declared"] == ["model.d_model", "model.n_heads"]


def test_one_part_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(capsys, "ablate", *TINY, "seeds=2", "--drop", "model/norm_placement=pre", "model/positions=none")
    assert [run["label"] for run in plan["runs"]] == [
        label for label in ("full model", "model/norm_placement=pre", "without model/positions") for _ in range(2)
    ]
    assert plan["baseline"] == "full model"
    assert all("seed=1" in run["overrides"] for run in plan["runs"][1::2])


def test_words_behind_drop_end_at_the_next_flag(asked: list[dict[str, Any]]) -> None:
    assert main(["ablate", "--drop", "a.b=1", "c=2", "--plan", *TINY]) == 0
    assert asked[0]["design"].drops == ["a.b=1", "c=2"]
    assert asked[0]["overrides"] == TINY


def test_random_draws(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ablate", *TINY, "objective.mask_ratio=0.15,0.3", "optimizer.lr=interval(1e-4,1e-2)", "samples=4"]
    plan = planned(capsys, *words)
    assert len(plan["runs"]) == 4
    assert plan["declared"] == ["objective.mask_ratio", "optimizer.lr"]
    assert planned(capsys, *words) == plan


def test_what_is_tuned_is_no_factor(asked: list[dict[str, Any]]) -> None:
    words = ["model=bert,gpt2", "model/size=tiny", "tune=optimizer.lr,optimizer.weight_decay", "trials=7", "optimizer.weight_decay=0.0,0.1"]
    assert main(["compare", *words, "optimizer.lr=interval(1e-4,1e-2)"]) == 0
    (given,) = asked
    assert given["models"] == ["bert", "gpt2"]
    assert given["factors"] == {}
    assert given["tuning"].values == {"optimizer.weight_decay": ["0.0", "0.1"]}
    assert (given["tuning"].spans["optimizer.lr"].low, given["tuning"].trials) == (1e-4, 7)


def test_terms_and_how_runs_are_made(asked: list[dict[str, Any]]) -> None:
    words = ["match=parameters,flops", "count_embeddings=false", "tolerance=0.05", "baseline='b c'", "declare=data"]
    runs = ["jobs=2", "launcher=slurm", "slurm.partition=gpu", "on_change=keep"]
    assert main(["ablate", "model.dropout=0.1,0.2", *words, *runs, "--retry"]) == 0
    (given,) = asked
    assert given["terms"] == Terms(match=["parameters", "flops"], count_embeddings=False, tolerance=0.05, baseline="b c", declare=["data"])
    assert given["doors"].running == {
        "jobs": 2,
        "launcher": "slurm",
        "settings": {"partition": "gpu"},
        "on_change": "keep",
        "retry": True,
    }
    assert given["overrides"] == []


def test_the_command_that_repeats_a_study(asked: list[dict[str, Any]]) -> None:
    words = ["ablate", "a=1,2", "b=3,4", "seeds=2", "--zip", "a,b", "--config-dir", "mine", "--plan", "--json", "--drop", "c=1", "d=2"]
    assert main(words) == 0
    assert asked[0]["command"] == [word for word in words if word not in ("--plan", "--json")]


def test_one_command_for_every_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "model.dropout=0.1,0.2", "model=gpt2", "study_dir=s", "--commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("transformer-zoo train model.dropout=0.1 model=gpt2 seed=0 ")


@pytest.fixture
def own_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mine" / "study"
    folder.mkdir(parents=True)
    (folder / "terms.yaml").write_text(
        "values: {objective.mask_ratio: [0.15, 0.3], optimizer.lr: ['interval(1e-4,1e-2)']}\n"
        "tune: [optimizer.lr]\ntrials: 5\nmatch: [parameters]\ncount_embeddings: false\nbaseline: objective.mask_ratio=0.3\ndeclare: [data]\n"
        "overrides: [model=bert, model/size=tiny, objective=mlm, objective.mask_share=1.0, objective.random_share=0.0, objective.keep_share=0.0]\n"
    )
    (folder / "models.yaml").write_text(
        "values: {model: [bert, gpt2]}\noverrides: [model/size=tiny, model.dropout=0.2]\nvariants:\n  norm:\n    pre: [model/norm_placement=pre]\n"
        "    post: {overrides: [model/norm_placement=post], phases: [[model/norm_placement=post, training.steps=3]]}\n"
    )
    return folder.parent


def test_a_study_has_terms_of_its_own(asked: list[dict[str, Any]], own_studies: Path) -> None:
    for command in ("ablate", "compare"):
        assert main([command, "study=terms", "--config-dir", str(own_studies)]) == 0
    for given in asked:
        assert given["factors"] == {"objective.mask_ratio": ["0.15", "0.3"]}
        assert given["terms"] == Terms(match=["parameters"], count_embeddings=False, baseline="objective.mask_ratio=0.3", declare=["data"])
        assert (given["tuning"].keys, given["tuning"].trials) == (["optimizer.lr"], 5)
    assert main(["ablate", "study=terms", "match=none", "tune=none", "optimizer.lr=0.1", "baseline=x", "--config-dir", str(own_studies)]) == 0
    assert (asked[-1]["terms"].match, asked[-1]["terms"].baseline, asked[-1]["tuning"]) == ([], "x", None)
    assert asked[-1]["overrides"][-1] == "optimizer.lr=0.1"


def test_compare_takes_the_contestants_of_a_study(asked: list[dict[str, Any]], own_studies: Path) -> None:
    assert main(["compare", "study=models", "--config-dir", str(own_studies)]) == 0
    assert asked[0]["factors"] == {"model": ["bert", "gpt2"]}
    assert asked[0]["overrides"] == ["model/size=tiny", "model.dropout=0.2"], "a study's own factor clears none of its settings"
    assert asked[0]["variants"]["norm"]["post"].phases == [["model/norm_placement=post", "training.steps=3"]]
    assert main(["compare", "study=models", "model=roberta,gpt2", "training.tokens=9", "--config-dir", str(own_studies)]) == 0
    assert (asked[1]["factors"], asked[1]["models"]) == ({}, ["roberta", "gpt2"])
    assert asked[1]["overrides"] == ["model/size=tiny", "training.tokens=9"]
    assert asked[1]["variants"]["norm"]["post"].phases == [["model/norm_placement=post"]], "what is typed wins in every phase, another budget too"


def test_a_typed_choice_wins_over_a_study_s_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "study=mask_ratio", "objective/masking=bert", "seeds=1", "--plan", "--json"]) == 0
    told = capsys.readouterr()
    runs = json.loads(told.out)["runs"]
    assert [run["label"] for run in runs][:2] == ["objective.mask_ratio=0.15", "objective.mask_ratio=0.2"], "the question stays"
    assert not any(word.startswith("objective.mask_share=") for run in runs for word in run["overrides"])
    assert "study=mask_ratio: objective.mask_share=1.0 gives way to what is typed" in told.err
    kept = planned(capsys, "ablate", "study=mask_unit", "model=roberta", "seeds=1")["runs"]
    assert all("model/size=tiny" in run["overrides"] and "model=bert" not in run["overrides"] for run in kept)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ablate"], "ablate: name a setting and its values, for example"),
        (["compare"], "compare: name the models, for example model=bert,gpt2, or a study"),
        (["compare", "model=bert,bert"], "model=bert,bert: name every model once"),
        (["ablate", "model.dropout=0.1,0.2", "seeds=x"], "seeds=x: expected a whole number at least 1, the number of seeds"),
        (["ablate", "model.dropout=0.1,0.2", "samples=0"], "samples=0: expected a whole number at least 1, the number of combinations to draw"),
        (["ablate", "model.dropout=0.1,0.2", "tolerance=x"], "tolerance=x: expected a number such as 0.02"),
        (["ablate", "model.dropout=0.1,0.2", "tolerance=2"], "tolerance=2: expected a share between 0 and 1"),
        (["ablate", "model.dropout=0.1,0.2", "count_embeddings=1"], "count_embeddings=1: expected true or false"),
        (["ablate", "model.dropout=0.1,0.2", "match=size"], "match=size: expected some of parameters"),
        (["ablate", "model.dropout=0.1,0.2", "model.dropout=0.3"], "model.dropout: several values are given, and one value as well"),
        (["ablate", "optimizer.lr=interval(1,0.1)", "samples=2"], "optimizer.lr=interval(1,0.1): a range goes from the smaller to the larger"),
        (["ablate", "model.dropout=0.1,0.2", "jobs=0"], "jobs=0: expected a whole number at least 1, the number of runs at once"),
        (["ablate", "model.dropout=0.1,0.2", "study_dir=nowhere", "--status"], "nowhere: no study was begun there"),
        (["ablate", "--drop"], "--drop needs a value: --drop WORD"),
        (["ablate", "--drop", "--plan"], "--drop needs a value: --drop WORD"),
        (["ablate", "model=bert,gpt2", "baseline=brt", "model/size=tiny"], "baseline=brt: there is no such label"),
        (["ablate", "study=mask_ratois"], "study has no 'mask_ratois'; did you mean mask_ratio?"),
        (["ablate", "a=1,2", "b=1,2,3", "--zip", "a,b"], "--zip a,b: a has 2 values (1,2) and b has 3 values (1,2,3)"),
        (["ablate", "model.dropout=0.1,0.2", "trials=3"], "trials=3: tune=KEY says what they try"),
        (["ablate", "model.dropout=0.1,0.2", "run_dir=x"], "run_dir=x: every run of a study has a folder of its own; study_dir=… names"),
        (["ablate", "model.dropout=0.1,0.2", "hydra.launcher.x=3"], "hydra.launcher.x=3 belongs to launcher=hydra/NAME"),
        (["ablate", "model.dropout=0.1,0.2", "slurm.x=3", "launcher=hydra/basic"], "slurm.x=3 belongs to launcher=slurm"),
        (["ablate", "model.dropout=0.1,0.2", "launcher=sge", "--plan"], "launcher=sge: expected one of processes"),
        (["ablate", "model.dropout=0.1,0.2", "on_change=ask", "--plan"], "on_change=ask: expected one of refuse"),
        (["ablate", "model.dropout=0.1,0.2", "declare=optimiser.lr", *TINY], "declare=optimiser.lr: no run has such a setting; did you mean"),
        (["ablate", "optimizer.lr=interval(a,b)", "samples=2"], "'optimizer.lr=interval(a,b)' cannot be read: a range is optimizer.lr=interval("),
        (["ablate", "optimizer.lr=intervall(1,2)", "samples=2"], "'optimizer.lr=intervall(1,2)' cannot be read: there is no intervall(…); did you"),
        (["ablate", "study_dir=nowhere", "--status"], "nowhere: no study was begun there"),
    ],
)
def test_every_mistake_is_one_clear_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = refused(capsys, *words)
    assert line.startswith(message)


def test_help_and_completion_know_the_new_words(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("compare", "ablate"):
        assert main([command, "--help"]) == 0
        told = capsys.readouterr().out
        for word in ("--zip", "--drop", "--status", "--retry", "match=", "tune=", "samples=", "baseline=", "declare=", "jobs="):
            assert word in told
        for start, whole in (("ba", "baseline="), ("tu", "tune="), ("jo", "jobs="), ("st", "study="), ("--dr", "--drop ")):
            assert main(["_complete", command, start]) == 0
            assert whole in capsys.readouterr().out.splitlines()


def test_a_plan_tells_what_it_would_cost(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, priced_plans: dict[str, Any]) -> None:
    words = ["ablate", *TINY, "model.dropout=0.1,0.2"]
    assert planned(capsys, *words)["estimate"] == priced_plans
    assert main([*words, "--plan"]) == 0
    assert "about 1.5 min for 0 runs one after another (a guess)" in capsys.readouterr().out

    def lost(*_: Any) -> None:
        raise DataError("data.train: no such file")

    monkeypatch.setattr(planning, "estimate", lost)
    assert main([*words, "--plan"]) == 0
    told = capsys.readouterr()
    assert "no estimate of costs and time: data.train: no such file" in told.err
    assert "model.dropout=0.1, seed 0: " in told.out


# --- where a study lies --------------------------------------------------------------------------------------------------------------------


def test_a_named_study_lies_under_its_name_and_what_makes_other_runs_of_it_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study").mkdir()
    recipe = "values: {model.dropout: [0.1, 0.2]}\noverrides: [model=gpt2, model/size=tiny, training.steps=9]\nseeds: 2\n"
    (tmp_path / "study" / "mine.yaml").write_text(recipe)

    def folder(*words: str, kind: str = "ablate") -> str:
        return str(planned(capsys, kind, "study=mine", *words, "--config-dir", str(tmp_path))["folder"])

    for same in ([], ["seeds=1", "jobs=2", "--retry"], ["training.steps=9", "model.dropout=0.1,0.2"], ["declare=model.d_ff", "device=cpu"]):
        assert folder(*same) == "studies/mine"
    others = [["training.steps=8"], ["seed=1"], ["model.dropout=0.1,0.3"], ["optimizer.lr=1e-3,1e-2", "tune=optimizer.lr"], ["samples=1"]]
    found = [folder(*words) for words in (*others, ["--drop", "model.n_layers=1"])]
    assert all(re.fullmatch("studies/mine-[0-9a-f]{8}", one) for one in found)
    assert len(set(found)) == len(found)
    assert found[0] == folder("seeds=5", "training.steps=8"), "more seeds extend it"

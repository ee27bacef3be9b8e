"""What runs of a study may differ in, and which words of a study give way to what is typed."""

from pathlib import Path

import pytest

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.studies.declaring import declared_by, declared_sections, following, touched, undeclared, yielding

TINY = ["model=gpt2", "model/size=tiny"]


def test_words_touch_what_they_set() -> None:
    assert touched("+model.dropout=0.1") == {"model.dropout"}
    assert touched("model/positions=rotary") == {"model.positions"}
    assert touched("+model/positions@model.decoder.positions=rotary") == {"model.decoder.positions"}
    assert {"model.d_model", "model.n_layers", "model.n_heads", "model.d_ff"} <= touched("model/size=tiny")
    assert touched("objective/masking=bert") >= {"objective.unit", "objective.mask_ratio", "objective.mask_share", "objective.max_predictions"}
    assert touched("experiment=books_mlm") >= {"model", "data", "optimizer", "training.seconds"} - {"training.seconds"}


def test_a_choice_of_the_users_own_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "objective" / "masking").mkdir(parents=True)
    (tmp_path / "objective" / "masking" / "mine.yaml").write_text("# @package _global_\nobjective: {mask_ratio: 0.5}\n")
    assert touched("objective/masking=mine", [tmp_path]) == {"objective.mask_ratio"}


def test_a_typed_choice_clears_what_a_study_sets_under_it() -> None:
    study = ["model=bert", "model/size=tiny", "objective=mlm", "objective.mask_share=1.0", "objective.random_share=0.0", "training.steps=5"]
    assert yielding(study, ["objective/masking=bert"]) == ["objective.mask_share=1.0", "objective.random_share=0.0"]
    assert yielding(study, ["objective=clm"]) == ["objective=mlm", "objective.mask_share=1.0", "objective.random_share=0.0"]
    assert yielding(study, ["model=gpt2"]) == ["model=bert"], "every model has sizes"
    assert yielding(["model.dropout=0.1", "model/positions=none"], ["model=gpt2"]) == ["model.dropout=0.1", "model/positions=none"]
    assert yielding(study, ["objective.mask_share=0.8"]) == ["objective.mask_share=1.0"]
    assert {"model=bert", "objective=mlm"} <= set(yielding(study, ["experiment=books_mlm"]))


def test_a_planted_difference_is_named_with_its_values() -> None:
    runs = {"a": experiment([*TINY, "model.dropout=0.1"]), "b": experiment([*TINY, "model.dropout=0.2", "optimizer.lr=0.5"])}
    (problem,) = undeclared(runs, "a", declared_by(["model.dropout=0.1", "model.dropout=0.2"], TINY))
    assert problem.startswith("optimizer.lr is 0.001 in a and 0.5 in b, and nobody said that it may differ")
    assert problem.endswith("declare=optimizer.lr if it is meant")
    assert undeclared(runs, "a", ["model.dropout", "optimizer"]) == []


def test_what_is_declared_must_be_there() -> None:
    config = experiment(TINY)
    assert declared_sections(["optimizer", "model/positions", "optimizer.lr"], [config]) == ["optimizer", "model.positions", "optimizer.lr"]
    with pytest.raises(ConfigError, match=r"declare=model\.positons: no run has such a setting; did you mean model\.positions\?"):
        declared_sections(["optimizer", "model.positons"], [config])


def test_a_setting_that_only_one_of_them_has_is_named() -> None:
    runs = {"adamw": experiment([*TINY, "optimizer=adamw"]), "sgd": experiment([*TINY, "optimizer=sgd"])}
    told = undeclared(runs, "adamw", [])
    assert any(line.startswith("optimizer.kind is adamw in adamw and sgd in sgd") for line in told)
    assert any("not there" in line for line in told)
    assert undeclared(runs, "adamw", declared_by(["optimizer=adamw"], TINY)) == []


def test_seeds_and_places_are_no_difference() -> None:
    runs = {"a": experiment(TINY), "b": experiment([*TINY, "seed=3", "run_dir=x", "name=y"])}
    assert undeclared(runs, "a", []) == []


def test_a_model_brings_its_objective_unless_all_share_one() -> None:
    assert {"model", "objective", "tokenizer", "final_evaluation"} <= declared_by(["model=bert"], [])
    assert "objective" not in declared_by(["model=bert"], ["objective=clm"])


def test_complete_experiments_declare_nothing() -> None:
    assert declared_by(["experiment=books_mlm"], []) == set()


def test_what_an_objective_decides_for_a_model_follows_from_it() -> None:
    words = ["objective=prefix_lm", "model/size=tiny"]
    two = [experiment(["model=gpt2", *words]), experiment(["model=t5", *words])]
    assert following(two) == {"objective.form"}
    shares = [experiment(["model=gpt2", *words, f"objective.target_share={share}"]) for share in ("0.3", "0.5")]
    assert following(shares) == set(), "what somebody gave follows from nothing"


@pytest.mark.parametrize("word", ["model/size=tiny", "model/size=mini"])
def test_sizes_declare_the_shape(word: str) -> None:
    assert "model" not in declared_by([word], TINY)

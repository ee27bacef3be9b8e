"""Choosing what to hide from the command line: published behaviours, parts, errors before data is read, and what a run tells."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.test_resume import without_times
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import compose
from transformer_zoo.experiments.assemble import build_objective, check
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.run import train
from transformer_zoo.records import SpecialTokens, Vocabulary
from transformer_zoo.training.metrics import read_metrics

BERT = {"mask_ratio": 0.15, "mask_share": 0.8, "random_share": 0.1, "keep_share": 0.1, "count": "exact"}
NEW_EVERY_EPOCH = {"epoch_cycle": None, "max_predictions": None}
TOKEN = {"kind": "token"}
PUBLISHED: dict[str, dict[str, Any]] = {
    "bert": BERT | {"epoch_cycle": 10, "max_predictions": 20, "unit": TOKEN},
    "roberta": BERT | NEW_EVERY_EPOCH | {"unit": TOKEN},
    "albert": BERT
    | {"epoch_cycle": 40, "max_predictions": 20}
    | {"unit": {"kind": "span", "of": "word", "context": 1, "lengths": {"kind": "harmonic", "max_length": 3}}},
    "spanbert": BERT
    | NEW_EVERY_EPOCH
    | {"unit": {"kind": "span", "of": "word", "context": 1, "lengths": {"kind": "geometric", "p": 0.2, "max_length": 10}}},
    "electra": BERT | NEW_EVERY_EPOCH | {"mask_share": 0.85, "random_share": 0.0, "keep_share": 0.15, "unit": TOKEN},
    "xlnet": {"mask_ratio": 1 / 6, "mask_share": 1.0, "random_share": 0.0, "keep_share": 0.0, "count": "exact", "max_predictions": 85}
    | {"epoch_cycle": None, "unit": {"kind": "span", "of": "word", "context": 6, "lengths": {"kind": "harmonic", "max_length": 5}}},
    "modernbert": BERT | NEW_EVERY_EPOCH | {"mask_ratio": 0.3, "count": "bernoulli", "unit": TOKEN},
}
SMALL = [
    "model=bert", "model/size=tiny", "data=pocket", "data.n_documents=24", "data.n_held_out=6", "data.sequence_length=32", "training.steps=6",
    "training.log_every=3", "training.batch_size=4", "training.evaluate_every=100", "device=cpu",
]  # fmt: skip


def objective(*overrides: str) -> dict[str, Any]:
    return to_dict(compose.experiment(overrides).objective)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("chosen", ["mlm", "mlm_nsp", "replaced_token"])
def test_published_behaviours_have_their_numbers(name: str, chosen: str) -> None:
    model = "electra" if chosen == "replaced_token" else "bert"
    found = objective(f"model={model}", f"objective={chosen}", f"objective/masking={name}")
    assert {key: found[key] for key in PUBLISHED[name]} == PUBLISHED[name]
    assert found["ratio_schedule"] == {"kind": "constant"}


def test_what_is_typed_wins_over_a_published_behaviour() -> None:
    found = objective("model=bert", "objective/masking=spanbert", "objective.mask_ratio=0.4", "objective/unit=token")
    assert (found["kind"], found["mask_ratio"], found["unit"]) == ("mlm_nsp", 0.4, TOKEN)
    found = objective("objective=mlm", "objective/unit=ngram", "objective.unit.lengths.max_length=5", "objective/ratio_schedule=cosine")
    assert found["unit"]["lengths"] == {"kind": "harmonic", "max_length": 5}
    assert found["ratio_schedule"] == {"kind": "cosine", "initial": 0.3}


def test_parts_of_a_recipes_objective_can_be_chosen() -> None:
    assert objective("model=roberta", "objective/unit=whole_word")["unit"] == {"kind": "whole_word"}
    with pytest.raises(ConfigError, match="objective/unit=…: nothing that is chosen here has a place for a choice of objective/unit"):
        objective("model=gpt2", "objective/unit=span")


def test_everything_wrong_is_told_at_once_before_data_is_read() -> None:
    with pytest.raises(ConfigError) as error:
        compose.experiment(
            ["objective=mlm", "objective.mask_ratio=1.5", "objective.corruption_rate=0", "objective.count=some", "objective.max_predictions=0"]
        )
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "objective.mask_ratio", "objective.corruption_rate", "objective.count", "objective.max_predictions",
    ]  # fmt: skip
    config = compose.experiment(
        [
            *SMALL,
            "objective=mlm",
            "objective/unit=span",
            "objective/unit/lengths=fixed",
            "objective.unit.lengths.length=99",
            "training.steps=null",
            "training.seconds=60",
            "objective/ratio_schedule=linear",
        ]
    )  # fmt: skip
    with pytest.raises(ConfigError) as error:
        check(config)
    span, schedule = error.value.problems
    assert "spans of up to 99 words, longer than data.sequence_length=32" in span
    assert schedule == (
        "objective.ratio_schedule follows the budget by the samples drawn, which training.seconds=60 does not fix: give training.steps, tokens or "
        "epochs, or choose objective/ratio_schedule=constant"
    )
    check(compose.experiment([*SMALL, "objective=mlm", "training.steps=null", "training.seconds=60", "objective/ratio_schedule=uniform"]))


def test_a_wrong_value_does_not_hide_what_is_wrong_with_the_others_together() -> None:
    with pytest.raises(ConfigError) as error:
        compose.experiment(["objective=mlm", "objective.mask_ratio=2", "objective.mask_share=0.9", "objective.random_share=0.3"])
    ratio, shares = error.value.problems
    assert ratio == "objective.mask_ratio: expected a number in (0, 1), got 2"
    assert shares.startswith("objective: mask_share=0.9 + random_share=0.3 + keep_share=0.1 is 1.3;")


@pytest.mark.parametrize("chosen", ["mlm_nsp", "mlm_sop"])
def test_phrases_do_not_come_in_pairs(chosen: str) -> None:
    with pytest.raises(ConfigError, match="unit reads MarkedTextBatch, which holds no pairs of segments: choose objective=mlm"):
        compose.experiment(["model=bert", f"objective={chosen}", "data=labelled", "data.train=x.jsonl", "objective/unit=phrases"])


def test_a_tokenizer_that_tells_no_words_is_refused() -> None:
    bare = Vocabulary(size=10, specials=SpecialTokens(pad=0, cls=4, sep=5, mask=6))
    config = compose.experiment(["objective=mlm", "objective/unit=whole_word"]).objective
    with pytest.raises(ConfigError, match="objective=mlm hides whole words, but the tokenizer's spelling does not tell where words begin"):
        build_objective(config, None, bare)  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", [[], ["training.steps=null", "training.epochs=0.5"], ["training.steps=null", "training.tokens=700"]], ids=str)
def test_a_run_tells_its_masks(budget: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))
    more = ["objective=mlm_nsp", "tokenizer=wordpiece", "tokenizer.vocab_size=300", "objective/unit=whole_word", "objective.mask_ratio=0.2"]
    more += ["objective/ratio_schedule=linear", "objective.ratio_schedule.initial=0.6", "objective.prediction_rate=0.1"]
    overrides = [*SMALL, *more, *budget, f"run_dir={tmp_path / 'run'}"]
    summary = train(compose.experiment(overrides), overrides).summary
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "lr" in line]
    ratios = [line["mask_ratio"] for line in lines]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] == pytest.approx(0.6, abs=0.1)
    assert ratios[-1] < 0.5
    for line in lines:
        assert line["masking/selected"] == pytest.approx(line["mask_ratio"], abs=0.06)
        assert line["masking/predicted"] == pytest.approx(0.1, abs=0.06)
        assert line["masking/shown_as_mask"] + line["masking/shown_as_random"] + line["masking/shown_as_is"] == pytest.approx(1)
        assert line["masking/specials_selected"] == line["masking/rows_without_prediction"] == 0
        assert line["masking/seen_tokens"] == line["tokens"]
    assert summary["predicted_tokens"] == summary["ledger"]["masking/predicted_tokens"] == lines[-1]["masking/predicted_tokens"]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["ledger"] == summary["ledger"]


@pytest.mark.parametrize("unit", ["token", "span", "pmi", *(pytest.param(unit, marks=pytest.mark.slow) for unit in ("whole_word", "ngram"))])
def test_every_unit_trains_the_same_every_time(unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))
    more = ["tokenizer=bpe", "tokenizer.vocab_size=300", "objective=mlm_nsp", f"objective/unit={unit}", "objective.epoch_cycle=2"]
    more += ["objective/ratio_schedule=cosine", "objective.ratio_schedule.initial=0.6", "objective.mask_ratio=0.4"]
    more += ["objective.unit.min_count=2"] if unit == "pmi" else []

    def lines(folder: str, steps: int) -> list[dict[str, Any]]:
        overrides = [*SMALL, *more, f"training.steps={steps}", f"run_dir={tmp_path / folder}"]
        train(compose.experiment(overrides), overrides)
        return [without_times(line) for line in read_metrics(tmp_path / folder / "metrics.jsonl") if "lr" in line]

    whole = lines("whole", 6)
    assert whole[-1]["masking/selected"] == pytest.approx(whole[-1]["mask_ratio"], abs=0.1)
    (tmp_path / "whole").rename(tmp_path / "first")
    assert lines("whole", 6) == whole

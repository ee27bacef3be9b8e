"""Model, objective and data that do not fit are refused with the way out; every pair either builds or says why."""

import itertools
import re

import pytest

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog
from transformer_zoo.experiments.assemble import build_on_meta, check
from transformer_zoo.experiments.compose import experiment

MODELS = ("bert", "gpt2", "transformer", "electra")
OBJECTIVES = [name for name in catalog.options("objective") if name not in ("combined", "mixture")]
FITTING = {
    "bert": {"mlm", "nsp", "mlm_nsp", "mlm_sop", "classification", "tagging"},
    "gpt2": {"clm", "prefix_lm", "fill_in_the_middle", "nsp", "classification", "tagging"},
    "transformer": {"translation", "span_corruption", "denoising", "prefix_lm"},
    "electra": {"replaced_token"},
}


def config(*overrides: str):
    return experiment(["model/size=tiny", "tokenizer=word", *overrides])


@pytest.mark.parametrize(("model", "objective"), list(itertools.product(MODELS, OBJECTIVES)))
def test_every_pair_fits_or_is_refused(model: str, objective: str):
    made = config(f"model={model}", f"objective={objective}")
    if objective in FITTING[model]:
        check(made)
        heads = {name: need for name, need in made.objective.needs().heads.items() if not need.waits_for_classes}
        names = [name for name, _ in build_on_meta(made.model, 50, heads).named_modules()]
        assert all(any(name.endswith(f"heads.{head}") for name in names) for head in heads)
        return
    with pytest.raises(ConfigError) as error:
        check(made)
    assert f"objective={objective}" in str(error.value)
    assert "choose" in str(error.value)
    assert len(error.value.problems) == 1


def test_the_refusals_name_both_sides_and_the_way_out():
    with pytest.raises(ConfigError, match=r"objective=mlm .*model=gpt2 is causal .*model=bert, or objective=clm"):
        check(config("model=gpt2", "objective=mlm"))
    with pytest.raises(ConfigError, match=r"objective=clm .*model=bert is not causal .*model=gpt2"):
        check(config("model=bert", "objective=clm"))
    with pytest.raises(
        ConfigError, match=r"objective=mlm gives .* model=electra reads one sequence to fill in .*choose model=bert .* objective=replaced"
    ):
        check(config("model=electra", "objective=mlm"))
    with pytest.raises(ConfigError, match=r"objective=translation .*a source and a target, but model=bert reads one sequence"):
        check(config("model=bert", "objective=translation"))


def test_rows_longer_than_the_table_of_positions():
    with pytest.raises(ConfigError, match=r"data.sequence_length=513 is longer than the 512 positions of the model: set model.max_length=513"):
        check(config("data.sequence_length=513"))
    check(config("data.sequence_length=513", "model/positions=rotary"))


def test_rows_that_become_longer_or_shorter_when_they_are_read():
    small = ("model=transformer", "objective=span_corruption", "model/positions=learned", "model.max_length=512")
    check(config(*small, "data.sequence_length=568"))
    with pytest.raises(ConfigError, match=r"data.sequence_length=569 becomes 513 tokens, which is longer than .*model.max_length=513"):
        check(config(*small, "data.sequence_length=569"))
    with pytest.raises(ConfigError, match=r"data.sequence_length=568 gives 28 missing spans, more than objective.sentinels=20"):
        check(config(*small, "data.sequence_length=568", "objective.sentinels=20"))


def test_rows_that_are_written_again_cannot_be_kept_apart():
    with pytest.raises(ConfigError, match=r"objective=span_corruption .* data.packing=document_mask .* choose data.packing=separate or concatenate"):
        check(config("model=t5", "objective=span_corruption", "data.packing=document_mask"))


def test_filling_in_the_middle_has_four_tokens_more_and_moves_what_stands_in_documents():
    small = ("model=gpt2", "objective=fill_in_the_middle", "model.max_length=64")
    check(config(*small, "data.sequence_length=60"))
    with pytest.raises(ConfigError) as error:
        check(config(*small, "data.sequence_length=61", "data.packing=document_mask"))
    longer, moved = error.value.problems
    assert longer.startswith("data.sequence_length=61 becomes 65 tokens, which is longer than the 64 positions of the model: set model.max_length=65")
    assert re.match(r"objective=fill_in_the_middle moves .* data.packing=document_mask .* choose data.packing=separate or concatenate", moved)


def test_pairs_for_a_model_that_knows_one_kind_of_segment():
    with pytest.raises(ConfigError, match=r"objective=nsp reads pairs .*model=roberta .*n_segments=1\): choose model.embeddings.n_segments=2, or 0"):
        check(config("model=roberta", "objective=nsp"))
    check(config("model=roberta", "objective=nsp", "model.embeddings.n_segments=2"))


def test_prefixes_in_the_form_that_the_model_reads():
    assert config("model=gpt2", "objective=prefix_lm").objective.form == "one_sequence"
    assert config("model=t5", "objective=prefix_lm").objective.form == "source_and_target"
    with pytest.raises(ConfigError, match=r"objective=prefix_lm gives a model a source and a target, but model=gpt2 reads one sequence: choose"):
        check(config("model=gpt2", "objective=prefix_lm", "objective.form=source_and_target"))
    with pytest.raises(ConfigError, match=r"objective.form: expected one of one_sequence, source_and_target or null, got the text 'both'"):
        config("model=gpt2", "objective=prefix_lm", "objective.form=both")
    with pytest.raises(ConfigError, match=r"objective.target_share: expected a number in \(0, 1\) or null, got 1"):
        config("model=gpt2", "objective=prefix_lm", "objective.target_share=1")


def test_mixtures_that_cannot_be_are_told_all_at_once():
    parts = ("+objective@objective.parts.a=mlm", "+objective@objective.parts.b=prefix_lm")
    with pytest.raises(ConfigError) as error:
        config("model=gpt2", "objective=mixture", *parts, "+objective.part_weights.x=1", "+objective.modes.y=R")
    told = error.value.problems
    assert told[:2] == (
        "objective: part_weights names 'x', which is no part; parts are a, b",
        "objective: modes names 'y', which is no part; parts are a, b",
    )
    cannot = "objective: parts cannot take turns, since they"
    assert f"{cannot} need models with causal = different kinds (a: False, b: True); train them one after another" in told
    assert f"{cannot} look ahead by different kinds (a: 0, b: 1); train them one after another" in told
    with pytest.raises(ConfigError, match=r"objective.part_weights.a: expected a number greater than 0, got 0"):
        config("model=gpt2", "objective=mixture", parts[0], "+objective.part_weights.a=0")
    with pytest.raises(ConfigError, match=r"objective.parts: a value is needed here"):
        config("model=gpt2", "objective=mixture")


def test_a_mixture_one_of_whose_parts_moves_tokens():
    parts = ("+objective@objective.parts.a=clm", "+objective@objective.parts.b=fill_in_the_middle")
    with pytest.raises(ConfigError, match=r"objective=mixture moves the middle of a row .* data.packing=document_mask"):
        check(config("model=gpt2", "objective=mixture", *parts, "data.packing=document_mask"))
    check(config("model=gpt2", "objective=mixture", *parts))


def test_a_mixture_tells_the_parts_own_problems_under_their_names():
    with pytest.raises(ConfigError) as error:
        check(config("model=t5", "objective=ul2", "data.sequence_length=600", "objective.parts.x_3.sentinels=99", "data.packing=document_mask"))
    spans, documents = error.value.problems
    assert spans.startswith("data.sequence_length=600 gives 100 missing spans, more than objective.parts.x_3.sentinels=99: choose shorter rows")
    assert "larger objective.parts.x_3.mean_span" in spans
    assert documents.startswith("objective=mixture has a model write what it read, which data.packing=document_mask cannot keep")


def test_a_window_wider_than_the_rows():
    with pytest.raises(ConfigError, match=r"model.attention.window=200 is wider than data.sequence_length=128"):
        check(config("model.attention.window=200"))


def test_a_causal_model_that_would_judge_a_text_by_its_first_token():
    with pytest.raises(ConfigError, match=r"objective=classification judges .*model.classifier.pooling=first.* choose model.classifier.pooling=last"):
        check(config("model=gpt2", "objective=classification", "model.classifier.pooling=first"))


def test_a_typed_budget_takes_the_place_of_an_experiments_own():
    assert experiment(["experiment=multi30k_transformer"]).training.budget == ("seconds", 1800)
    assert experiment(["experiment=multi30k_transformer", "training.steps=2"]).training.budget == ("steps", 2)
    with pytest.raises(ConfigError, match=r"steps=2 and epochs=1 exclude each other"):
        experiment(["experiment=multi30k_transformer", "training.steps=2", "training.epochs=1"])

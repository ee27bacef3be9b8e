"""Every objective with every named model: it lowers the loss on one repeated batch within ten steps, or it is refused with its message."""

import itertools
import re
from pathlib import Path

import pytest
import torch

from contracts.objective_batches import SETTINGS, batch, built, configured, without_dropout
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog, config_tree
from transformer_zoo.experiments.assemble import check
from transformer_zoo.training.scored import Scored, weighted_loss

ROOT = config_tree.own_root()
OBJECTIVES = sorted({*config_tree.options("objective", [ROOT]), *catalog.options("objective")})
MODELS = sorted(config_tree.options("model", [ROOT]))
SHAPES = {
    "encoder": ["albert", "bert", "bigbird", "longformer", "modernbert", "roberta"],
    "decoder": ["gpt1", "gpt2", "gpt3", "llama"],
    "encoder_decoder": ["bart", "marian", "t5", "t5_v1_1", "transformer"],
    "generator_pair": ["electra"],
}
CLASSES = {"nsp", "classification", "tagging"}
FITTING = {
    "encoder": {"mlm", "mlm_nsp", "mlm_sop", "combined", *CLASSES},
    "decoder": {"clm", "prefix_lm", "fill_in_the_middle", "mixture", *CLASSES},
    "encoder_decoder": {"translation", "span_corruption", "denoising", "prefix_lm", "ul2"},
    "generator_pair": {"replaced_token"},
}
SHAPE_OF = {model: shape for shape, models in SHAPES.items() for model in models}
PAIRS = list(itertools.product(OBJECTIVES, MODELS))
ONE_SEGMENT = list(itertools.product(["nsp", "mlm_nsp", "mlm_sop", "combined"], ["longformer", "roberta"]))
FIT = [pair for pair in PAIRS if pair[0] in FITTING[SHAPE_OF[pair[1]]] and pair not in ONE_SEGMENT]
REFUSED = [pair for pair in PAIRS if pair not in FIT]
MESSAGES = (
    r"objective=\w+ gives a model .*, but model=\w+ reads .*: choose .*, or objective=",
    r"objective=\w+ predicts the next token, but model=\w+ is not causal and would see the answer: choose a decoder such as model=gpt2, or",
    r"objective=\w+ predicts hidden tokens from both sides, but model=\w+ is causal .*: choose an encoder such as model=bert, or objective=clm",
    r"objective=\w+ reads pairs of segments, but model=\w+ has a vector for one .*: choose model.embeddings.n_segments=2, or 0 so that",
)
USUAL = ("bert", "gpt2", "t5", "electra")


def quick_pairs() -> set[tuple[str, str]]:
    """As few pairs as hold every objective and every model once."""
    chosen: set[tuple[str, str]] = set()
    for fresh in (2, 1):  # first those that bring both
        for pair in FIT:
            known = {name for one in chosen for name in one}
            if sum(name not in known for name in pair) >= fresh:
                chosen.add(pair)
    return chosen


QUICK = quick_pairs()


def test_the_tables_name_every_model_and_objective_and_the_quick_pairs_too():
    assert sorted(SHAPE_OF) == MODELS
    assert {objective for objective, _ in FIT} == set(OBJECTIVES) == {objective for objective, _ in QUICK}
    assert {model for _, model in QUICK} == set(MODELS)
    assert set(SETTINGS) <= {*OBJECTIVES, *MODELS}


def test_the_page_of_objectives_names_every_one_and_every_message():
    page = (Path(__file__).parents[2] / "docs" / "objectives.md").read_text(encoding="utf-8")
    assert [name for name in OBJECTIVES if f"\n| `{name}` |" not in page] == []
    told = ("reads", "is not causal and would see the answer", "predicts hidden tokens from both sides", "has a vector for one kind of segment only")
    assert len(told) == len(MESSAGES)
    assert [words for words in told if words not in page] == []


@pytest.mark.parametrize(("objective", "model"), [pytest.param(*pair, marks=[] if pair in QUICK else [pytest.mark.slow]) for pair in FIT])
def test_one_batch_is_learned(objective: str, model: str):
    config = configured(objective, model)
    check(config)
    for number in range(len(built(config)[1].views())):  # each part of a mixture on its own
        torch.manual_seed(0)
        net, made = built(config)
        view = made.views()[number]
        scored = Scored(without_dropout(net), view)
        example = view.prepare(batch(made, 0, ragged=True))
        scales = {term: weight / example.counts[term] for term, weight in view.weights.items()}
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
        losses = []
        for _ in range(11):  # before, and after each of ten steps
            optimizer.zero_grad()
            loss = weighted_loss(scored(example), scales)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.97 * losses[0], losses


@pytest.mark.parametrize("model", [pytest.param(model, marks=[] if model in USUAL else [pytest.mark.slow]) for model in MODELS])
def test_all_others_are_refused_with_their_message(model: str):
    for objective in [objective for objective, other in REFUSED if other == model]:
        with pytest.raises(ConfigError) as error:
            check(configured(objective, model))
        (problem,) = error.value.problems
        kind = "mixture" if objective == "ul2" else objective
        assert problem.startswith(f"objective={kind} "), problem
        assert f"model={model} " in problem
        assert any(re.match(message, problem) for message in MESSAGES), problem

"""An encoder that only predicts goes on with the predicted positions alone after the last attention, and gives the very same scores and gradients."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from transformer_zoo.benchmark.jobs import MASKED
from transformer_zoo.benchmark.shapes import Shape
from transformer_zoo.experiments.compose import recipe
from transformer_zoo.experiments.operations import count_forward
from transformer_zoo.records import HeadNeed, SequenceInputs

VOCABULARY, ROWS, LENGTH, D_MODEL, D_FF = 40, 3, 24, 32, 64
SHAPE = Shape(name="test", n_layers=2, d_model=D_MODEL, n_heads=4, vocab_size=VOCABULARY, length=LENGTH, batch_size=ROWS)
PREDICT = HeadNeed(kind="vocabulary")
MODELS = [
    ("bert",),
    ("bert", "model/norm_placement=pre"),
    ("bert", "model/norm_placement=sandwich", "model/feedforward=gated"),
    ("bert", "model/positions=t5"),
    ("roberta", "model/positions=alibi"),
    ("albert",),
    ("modernbert",),
    ("longformer", "model.attention.window=4"),
]


def built(*words: str, heads: dict[str, HeadNeed] | None = None) -> Any:
    sizes = {"n_layers": 2, "d_model": D_MODEL, "n_heads": 4, "d_ff": D_FF, "max_length": LENGTH, "dropout": 0}
    torch.manual_seed(0)
    made = recipe(words[0], *(f"model.{key}={value}" for key, value in sizes.items()), "model.attention.dropout=0", *words[1:])
    return made.build(vocab_size=VOCABULARY, heads=heads or {"vocabulary": PREDICT}).train()


def inputs(predict_at: Tensor | None, *, only_predicted: bool = True) -> SequenceInputs:
    draws = torch.Generator().manual_seed(1)
    valid = torch.arange(LENGTH) < torch.tensor([[LENGTH], [LENGTH - 5], [LENGTH - 1]])
    ids = torch.randint(5, VOCABULARY, (ROWS, LENGTH), generator=draws)
    return SequenceInputs(token_ids=ids, valid=valid, predict_at=predict_at, only_predicted=only_predicted)


def gradients(model: Any, scores: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(scores.square().sum(), list(model.parameters()), allow_unused=True)
    return [torch.zeros(()) if one is None else one for one in found]


@pytest.mark.parametrize("recomputes", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("words", MODELS, ids=" ".join)
def test_scores_and_gradients_are_those_of_all_positions(words: tuple[str, ...], recomputes: bool) -> None:
    model, at = built(*words), torch.tensor([3, 30, 9, 48, 70, 3, 3])
    model.set_gradient_checkpointing(recomputes)
    some = model(inputs(at))
    assert some.hidden.shape == (1, len(at), D_MODEL)
    everything = model(inputs(None))
    assert everything.hidden.shape == (ROWS, LENGTH, D_MODEL)
    found, wanted = some.heads["vocabulary"].logits(), everything.heads["vocabulary"].logits()[at]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(some.hidden[0], everything.hidden.flatten(0, 1)[at], atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(gradients(model, found), gradients(model, wanted), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("other", ["pair", "token"])
def test_where_another_head_looks_on_nothing_is_left_out(other: str) -> None:
    need = HeadNeed(kind=other, n_classes=2)
    model = built("bert", heads={"vocabulary": PREDICT, "other": need})
    found = model(inputs(torch.tensor([3, 30])))
    assert found.hidden.shape == (ROWS, LENGTH, D_MODEL)
    assert found.heads["vocabulary"].logits().shape == (2, VOCABULARY)


def test_unless_it_is_said_every_state_is_there() -> None:
    found = built("bert")(inputs(torch.tensor([3, 30]), only_predicted=False))
    assert found.hidden.shape == (ROWS, LENGTH, D_MODEL)
    assert found.heads["vocabulary"].logits().shape == (2, VOCABULARY)


def test_training_on_masked_words_asks_for_nothing_else() -> None:
    example, model = MASKED.example(SHAPE), built("bert", f"model.max_length={SHAPE.length}")
    found = model(example.inputs)
    assert found.hidden.shape == (1, len(example.inputs.predict_at), D_MODEL)
    loss = MASKED.built(SHAPE).loss(found, example).sums["mlm"]
    whole = MASKED.built(SHAPE).loss(model(replace(example.inputs, only_predicted=False)), example).sums["mlm"]
    torch.testing.assert_close(loss, whole)


def test_reading_a_text_gives_every_state() -> None:
    assert built("bert").read(inputs(torch.tensor([3, 30]))).shape == (ROWS, LENGTH, D_MODEL)


def test_the_last_layer_computes_less_by_what_it_leaves_out() -> None:
    model = built("bert").to("meta")
    at = torch.zeros(10, dtype=torch.int64)
    some, everything = (count_forward(model, replace(inputs(where)).to("meta"))[""] for where in (at, None))
    left_out = ROWS * LENGTH - len(at)
    layer = 2 * left_out * (D_MODEL * D_MODEL + 2 * D_MODEL * D_FF)
    head = 2 * left_out * (D_MODEL * D_MODEL + D_MODEL * VOCABULARY)
    assert everything - some == layer + head

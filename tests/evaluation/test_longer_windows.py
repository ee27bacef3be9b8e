"""The same held-out tokens in windows of growing length."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from contracts import builders
from transformer_zoo.data.batching import make_rows
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.longer_windows import Lengths, LengthsConfig, cut
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.records import HeadNeed, TextBatch

Make = Callable[..., EvaluationContext]


def evaluation(context: Make, **settings: Any) -> Lengths:
    made = LengthsConfig(**settings).build(context(CausalLMConfig(), sequence_length=8, packing="concatenate"))
    assert isinstance(made, Lengths)
    return made


def small(vocab_size: int, **choices: Any) -> Any:
    torch.manual_seed(1)
    return builders.config("decoder", **choices).build(vocab_size=vocab_size, heads={"vocabulary": HeadNeed(kind="vocabulary")}).eval()


def test_knowing_nothing_costs_the_same_at_every_length(context: Make, uniform: Callable[..., Any]) -> None:
    made = evaluation(context)
    size = made.context.data.vocabulary.size
    report = made.report(uniform(size))
    for multiple in (1, 2, 4):
        assert report.metrics[f"validation/lengths/{multiple}/loss"] == pytest.approx(math.log(size), rel=1e-6)
        assert report.metrics[f"validation/lengths/{multiple}/perplexity"] == pytest.approx(size, rel=1e-5)
        assert report.metrics[f"validation/lengths/{multiple}/bits_per_byte"] > 0
    assert report.notes["lengths"].endswith("tokens at every length; trained at 8")


def test_a_window_alone_is_equal_to_a_forward_of_its_text(context: Make) -> None:
    """At every length, against plain forwards of the same stream of tokens."""
    made = evaluation(context, max_samples=5, batch_size=2)
    model = small(made.context.data.vocabulary.size, positions="rotary")
    begin = made.context.data.vocabulary.specials.begin
    found = made(model)
    indices = np.linspace(0, len(made.reader) - 1, 5).astype(np.int64)
    batch: Any = made.reader.batch(indices, make_rows(0, np.zeros(5, dtype=np.int64), indices))
    whole = batch.token_ids[batch.valid.all(dim=1)]
    assert len(whole) >= 4
    for multiple in (1, 2, 4):
        losses = []
        for row in whole:
            for start in range(0, 32, 8 * multiple):
                window = row[start : start + 8 * multiple + 1]
                with torch.no_grad():
                    logits = model(builders.inputs("decoder", window[None, :-1])).heads["vocabulary"].logits()
                each = torch.nn.functional.cross_entropy(logits, window[1:], reduction="none")
                losses += each[window[1:] != begin].tolist()
        assert found[f"validation/lengths/{multiple}/loss"] == pytest.approx(np.mean(losses), rel=1e-5), multiple
    assert len({round(value, 6) for name, value in found.items() if name.endswith("loss")}) == 3, "what stands before a token matters"


def test_shorter_windows_predict_the_tokens_of_the_longer_ones() -> None:
    ids = torch.arange(3 * 9).reshape(3, 9)
    valid = torch.ones(3, 9, dtype=torch.bool)
    valid[1, 6:] = False
    rows = make_rows(0, np.zeros(3, dtype=np.int64), np.arange(3))
    parts = cut(TextBatch(rows=rows, token_ids=ids, valid=valid), 4, 2)
    assert parts.token_ids.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8], [18, 19, 20], [20, 21, 22], [22, 23, 24], [24, 25, 26]]
    assert parts.rows.index.tolist() == [0, 0, 0, 0, 2, 2, 2, 2]
    assert len(cut(TextBatch(rows=rows, token_ids=ids, valid=valid), 5, 2).token_ids) == 0, "rows that are too short for the parts"


def test_a_length_without_positions_is_left_out_and_said(context: Make) -> None:
    made = evaluation(context, max_samples=5)
    size = made.context.data.vocabulary.size
    report = made.report(small(size, positions="learned", max_length=16))
    assert {name for name in report.metrics if name.endswith("loss")} == {"validation/lengths/1/loss", "validation/lengths/2/loss"}
    assert report.notes["lengths/4"] == "not measured: the model has positions for 16 tokens, not for 32"
    with pytest.raises(ConfigError, match="the model has positions for 4 tokens and was trained at 8; choose smaller multiples"):
        made.report(small(size, positions="learned", max_length=4))


def test_what_cannot_be_measured_is_said(context: Make) -> None:
    for objective, packing in ((MaskedLMConfig(), "concatenate"), (CausalLMConfig(), "separate")):
        with pytest.raises(ConfigError, match=r"it needs a run with objective=clm on data\.packing=concatenate"):
            LengthsConfig().build(context(objective, sequence_length=8, packing=packing))
    with pytest.raises(DataError, match=r"data\.validation has no 80000 tokens in a row"):
        evaluation(context, multiples=[10000])
    assert LengthsConfig(multiples=[1, 2, 3]).problems() == [
        "multiples=[1, 2, 3]: 2 does not divide 3, so that the same tokens cannot be read in windows of both"
    ]
    assert LengthsConfig(multiples=[]).problems() == ["multiples is empty: give at least one, such as [1,2,4]"]

import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from transformer_zoo.errors import ConfigError, NumericError
from transformer_zoo.generation.base import Continuation, Translation, fitting_window
from transformer_zoo.generation.greedy import GreedyConfig

PROMPTS = [[3], [1, 2, 4], [2, 2], [4, 1, 3, 3, 2], [1]]


def test_each_token_is_the_likeliest_after_what_stands_before(second_order: Callable[..., Any]) -> None:
    model = second_order(6)
    [row] = GreedyConfig(max_new_tokens=8).build().generate(model, Continuation(prefixes=[[1, 2]], pad=0))
    tokens = [1, 2]
    for token in row.token_ids:
        assert token == int(model.table[0, tokens[-2], tokens[-1]].argmax())
        tokens.append(token)
    assert len(row.token_ids) == 8
    assert not row.ended
    assert row.log_probability == pytest.approx(model.log_probability([1, 2], row.token_ids), abs=1e-5)


@pytest.mark.parametrize("max_length", [None, 6])
def test_a_batch_gives_each_row_what_it_gets_alone(second_order: Callable[..., Any], max_length: int | None) -> None:
    model = second_order(6, max_length=max_length, seed=4)
    greedy = GreedyConfig(max_new_tokens=15).build()
    together = greedy.generate(model, Continuation(prefixes=PROMPTS, pad=0, end=5))
    alone = [greedy.generate(model, Continuation(prefixes=[prompt], pad=0, end=5))[0] for prompt in PROMPTS]
    assert [(r.token_ids, r.ended) for r in together] == [(r.token_ids, r.ended) for r in alone]
    assert len({r.ended for r in together}) == 2, "the test needs rows that end and rows that do not"


def test_finished_rows_stop(second_order: Callable[..., Any]) -> None:
    model = second_order(6)
    rows = GreedyConfig(max_new_tokens=15).build().generate(model, Continuation(prefixes=PROMPTS, pad=0, end=5))
    lengths = [len(row.token_ids) + row.ended for row in rows]
    # a row is read once for its prompt and once for every new token but the last
    assert model.rows_read == [sum(length > step for length in lengths) for step in range(max(lengths))]
    assert all(5 not in row.token_ids for row in rows)


def test_minimum_and_forbidden_tokens_hold(second_order: Callable[..., Any]) -> None:
    model = second_order(6, seed=3)
    request = Continuation(prefixes=PROMPTS, pad=0, end=5, forbidden=(0, 4))
    rows = GreedyConfig(max_new_tokens=12, min_new_tokens=3).build().generate(model, request)
    assert all(len(row.token_ids) >= 3 for row in rows)
    assert not {0, 4} & {token for row in rows for token in row.token_ids}


def test_a_row_goes_on_from_its_last_half_when_the_window_is_full(second_order: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    model, free = second_order(6, max_length=4), second_order(6)
    request = Continuation(prefixes=PROMPTS, pad=0)
    with caplog.at_level(logging.INFO):
        rows = GreedyConfig(max_new_tokens=11).build().generate(model, request)
    assert "a prompt has 5 tokens and the model reads at most 4: only its last 2 are read" in caplog.text
    assert "beyond 4 tokens a row goes on from the last 2" in caplog.text
    # this model looks two tokens back, and a window never holds fewer
    unlimited = GreedyConfig(max_new_tokens=11).build().generate(free, request)
    assert [r.token_ids for r in rows] == [r.token_ids for r in unlimited]
    narrow = GreedyConfig(max_new_tokens=11).build().generate(free, Continuation(prefixes=PROMPTS, pad=0, window=4))
    assert narrow == rows, "a window narrower than the model"
    assert fitting_window([1, 2, 3, 4, 5], 4) == [4, 5]
    assert fitting_window([1, 2, 3, 4], 4) == [1, 2, 3, 4]
    assert fitting_window([1, 2], 1) == [2]


def test_a_translation_may_be_fifty_tokens_longer_than_its_source(second_order: Callable[..., Any]) -> None:
    model = second_order(6)
    sources = [[1, 2, 5], [4, 5]]
    rows = GreedyConfig().build().generate(model, Translation(prefixes=[[1], [1]], sources=sources, pad=0))
    assert [len(row.token_ids) for row in rows] == [53, 52]
    alone = [GreedyConfig().build().generate(model, Translation(prefixes=[[1]], sources=[s], pad=0))[0] for s in sources]
    assert [row.token_ids for row in rows] == [row.token_ids for row in alone]
    assert rows[0].token_ids[:52] != rows[1].token_ids


def test_a_translation_stops_where_the_model_ends(second_order: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    model = second_order(6, max_length=5)
    request = Translation(prefixes=[[1], [1, 2]], sources=[[3], [4]], pad=0)
    rows = GreedyConfig(max_new_tokens=9).build().generate(model, request)
    assert [len(row.token_ids) for row in rows] == [5, 4]
    assert "2 of 2 rows may get fewer than 9 new tokens: the model holds 5" in caplog.text
    with pytest.raises(ConfigError, match="a prompt has 6 tokens and the model reads at most 5"):
        GreedyConfig().build().generate(model, Translation(prefixes=[[1] * 6], sources=[[3]], pad=0))


def test_bad_requests_are_refused(second_order: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="a prompt is empty"):
        Continuation(prefixes=[[1], []], pad=0)
    model = second_order(6)
    model.table[:] = float("nan")
    with pytest.raises(NumericError, match="not finite"):
        GreedyConfig().build().generate(model, Continuation(prefixes=[[1]], pad=0))


def test_the_model_decodes_in_evaluation_mode_and_gets_its_mode_back(second_order: Callable[..., Any]) -> None:
    model = second_order(6).train()
    GreedyConfig(max_new_tokens=2).build().generate(model, Continuation(prefixes=[[1]], pad=0))
    assert model.modes == [False, False]
    assert model.training
    assert torch.is_grad_enabled()


def test_no_rows_are_no_answers(second_order: Callable[..., Any]) -> None:
    assert GreedyConfig().build().generate(second_order(6), Continuation(prefixes=[], pad=0)) == []


def test_without_probabilities_the_same_tokens(second_order: Callable[..., Any]) -> None:
    model, greedy = second_order(6, seed=3), GreedyConfig(max_new_tokens=12, min_new_tokens=2, no_repeat_ngram=2).build()
    told = greedy.generate(model, Continuation(prefixes=PROMPTS, pad=0, end=5, forbidden=(0,)))
    read = list(model.rows_read)
    untold = greedy.generate(model, Continuation(prefixes=PROMPTS, pad=0, end=5, forbidden=(0,), probabilities=False))
    assert [(r.token_ids, r.ended) for r in untold] == [(r.token_ids, r.ended) for r in told]
    assert model.rows_read == 2 * read
    assert all(math.isnan(r.log_probability) and not math.isnan(t.log_probability) for r, t in zip(untold, told, strict=True))

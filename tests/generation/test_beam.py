import itertools
from collections.abc import Callable
from typing import Any

import pytest

from transformer_zoo.generation.base import Continuation, Translation
from transformer_zoo.generation.beam import BeamConfig, length_penalty
from transformer_zoo.generation.greedy import GreedyConfig

PROMPTS = [[3], [1, 2, 1], [2, 2], [3, 1, 3, 3, 2], [1]]
END = 0


def exhaustive(model: Any, prefix: list[int], limit: int, penalty: Callable[[int], float], *, cut_off: bool) -> list[tuple[float, list[int], bool]]:
    """Every hypothesis that ends within the limit, with `cut_off` also those that do not, best first, as (score, tokens without the end, ended)."""
    words = [w for w in range(model.vocabulary) if w != END]
    every = [(list(new), length < limit) for length in range(limit + cut_off) for new in itertools.product(words, repeat=length)]
    whole = [([*new, END] if ended else new, new, ended) for new, ended in every]
    return sorted(((model.log_probability(prefix, tokens) / penalty(len(tokens)), new, ended) for tokens, new, ended in whole), reverse=True)


@pytest.mark.parametrize(("form", "alpha"), [("gnmt", 0.6), ("gnmt", 0.0), ("power", 1.0), ("power", 2.5)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_beam_of_everything_is_exhaustive_search(second_order: Callable[..., Any], form: str, alpha: float, seed: int) -> None:
    model, limit = second_order(4, seed=seed), 4
    config = BeamConfig(beam_size=4**limit, max_new_tokens=limit, length_penalty=alpha, length_penalty_form=form, early_stopping="never")
    for prompt, found in zip(PROMPTS, config.build().search(model, Continuation(prefixes=PROMPTS, pad=0, end=END)), strict=True):
        wanted = exhaustive(model, prompt, limit, length_penalty(form, alpha), cut_off=form == "power")
        scores = {(tuple(tokens), ended): score for score, tokens, ended in wanted}
        assert len(found) == len(wanted)
        assert {(tuple(row.token_ids), row.ended): row.score for row in found} == pytest.approx(scores, abs=1e-5)  # some are equally likely
        assert [row.score for row in found] == pytest.approx([score for score, _, _ in wanted], abs=1e-5)


@pytest.mark.parametrize("early_stopping", ["always", "heuristic"])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_of_one_is_greedy(second_order: Callable[..., Any], early_stopping: str, seed: int) -> None:
    model = second_order(5, seed=seed)
    request = Continuation(prefixes=PROMPTS, pad=0, end=END)
    greedy = GreedyConfig(max_new_tokens=9).build().generate(model, request)
    beam = BeamConfig(beam_size=1, max_new_tokens=9, early_stopping=early_stopping).build().generate(model, request)
    assert [(r.token_ids, r.ended) for r in beam] == [(r.token_ids, r.ended) for r in greedy]
    assert [r.log_probability for r in beam] == pytest.approx([r.log_probability for r in greedy], abs=1e-5)


@pytest.mark.parametrize("early_stopping", ["always", "heuristic", "never"])
def test_a_batch_gives_each_row_what_it_gets_alone(second_order: Callable[..., Any], early_stopping: str) -> None:
    model = second_order(7, seed=1)
    beam = BeamConfig(beam_size=3, max_new_tokens=10, early_stopping=early_stopping).build()
    sources = [[1], [2, 3], [3, 4, 5, 6], [1, 1], [6]]
    together = beam.search(model, Translation(prefixes=PROMPTS, sources=sources, pad=0, end=END))
    for prompt, source, found in zip(PROMPTS, sources, together, strict=True):
        [alone] = beam.search(model, Translation(prefixes=[prompt], sources=[source], pad=0, end=END))
        assert [r.token_ids for r in found] == [r.token_ids for r in alone]
        for row in found:
            tokens = [*row.token_ids, END] if row.ended else row.token_ids
            assert row.log_probability == pytest.approx(model.log_probability(prompt, tokens, source), abs=1e-4)
            assert row.score == pytest.approx(row.log_probability / length_penalty("gnmt", 0.6)(len(tokens)))
        assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)


def plain_search(model: Any, prefix: list[int], k: int, limit: int, minimum: int, stopping: str, form: str) -> list[tuple[float, list[int]]]:
    """The same search with lists, one hypothesis at a time."""
    penalty = length_penalty(form, 0.6)
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, limit + 1):
        candidates = [
            (model.log_probability(prefix, [*new, token]), [*new, token])
            for _, new in running
            for token in range(model.vocabulary)
            if token != END or length > minimum
        ]
        best = sorted(candidates, reverse=True)[: 2 * k]
        finished += [(score / penalty(length), new[:-1]) for score, new in best[:k] if new[-1] == END]
        if length == limit and form == "power":
            finished += [(score / penalty(length), new) for score, new in best[:k] if new[-1] != END]
        finished = sorted(finished, reverse=True)[:k]
        running = [(score, new) for score, new in best if new[-1] != END][:k]
        reach = limit if stopping == "never" else length
        if len(finished) == k and (stopping == "always" or finished[-1][0] >= running[0][0] / penalty(reach)):
            break
    return finished or [(score / penalty(limit), new) for score, new in running]


@pytest.mark.parametrize("stopping", ["always", "heuristic", "never"])
@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("minimum", [0, 2])
@pytest.mark.parametrize("form", ["gnmt", "power"])
def test_the_search_is_the_plain_one(second_order: Callable[..., Any], k: int, stopping: str, minimum: int, form: str) -> None:
    for seed in range(3):
        model = second_order(6, seed=seed, sharpness=1.0)
        beam = BeamConfig(beam_size=k, max_new_tokens=8, min_new_tokens=minimum, early_stopping=stopping, length_penalty_form=form).build()
        found = beam.search(model, Continuation(prefixes=PROMPTS, pad=0, end=END))
        for prompt, rows in zip(PROMPTS, found, strict=True):
            wanted = plain_search(model, prompt, k, 8, minimum, stopping, form)
            assert [row.token_ids for row in rows] == [tokens for _, tokens in wanted]
            assert [row.score for row in rows] == pytest.approx([score for score, _ in wanted], abs=1e-5)


def test_a_wider_beam_finds_what_greedy_misses(second_order: Callable[..., Any]) -> None:
    won = 0
    for seed in range(10):
        model = second_order(6, seed=seed, sharpness=1.0)
        request = Continuation(prefixes=PROMPTS, pad=0, end=END)
        greedy = GreedyConfig(max_new_tokens=6).build().generate(model, request)
        beam = BeamConfig(beam_size=6**3, length_penalty=0, max_new_tokens=6, early_stopping="never").build().generate(model, request)
        pairs = [(b, g) for b, g in zip(beam, greedy, strict=True) if g.ended]
        assert all(b.log_probability >= g.log_probability - 1e-5 for b, g in pairs)
        won += sum(b.log_probability > g.log_probability + 1e-3 for b, g in pairs)
    assert won > 5


def test_the_longer_the_penalty_the_longer_the_answer(second_order: Callable[..., Any]) -> None:
    model = second_order(5, seed=4, sharpness=0.7)
    request = Continuation(prefixes=PROMPTS, pad=0, end=END)

    def lengths(alpha: float) -> list[int]:
        config = BeamConfig(beam_size=8, length_penalty=alpha, max_new_tokens=10, early_stopping="never")
        return [len(row.token_ids) for row in config.build().generate(model, request)]

    assert sum(lengths(0.0)) < sum(lengths(1.0)) < sum(lengths(3.0))


def test_the_penalties_are_the_published_ones() -> None:
    assert length_penalty("gnmt", 0.6)(7) == pytest.approx(2**0.6)
    assert length_penalty("power", 0.5)(9) == pytest.approx(3.0)


def test_early_stopping_orders_the_work_and_never_is_at_least_as_good(second_order: Callable[..., Any]) -> None:
    work, scores = {}, {}
    for stopping in ("always", "heuristic", "never"):
        model = second_order(8, seed=2, sharpness=1.0)
        beam = BeamConfig(beam_size=3, length_penalty=1.0, max_new_tokens=30, early_stopping=stopping).build()
        rows = beam.generate(model, Continuation(prefixes=PROMPTS, pad=0, end=END))
        work[stopping], scores[stopping] = sum(model.rows_read), sum(row.score for row in rows)
    assert work["always"] <= work["heuristic"] < work["never"]
    assert scores["always"] <= scores["heuristic"] + 1e-6
    assert scores["heuristic"] <= scores["never"] + 1e-6


def test_limits_per_row_minimum_and_forbidden_tokens(second_order: Callable[..., Any]) -> None:
    model = second_order(6, seed=5, max_length=7)
    request = Continuation(prefixes=PROMPTS, pad=0, end=END, forbidden=(4,))
    for row, prompt in zip(BeamConfig(max_new_tokens=6, min_new_tokens=2).build().generate(model, request), PROMPTS, strict=True):
        assert 2 <= len(row.token_ids) + row.ended <= min(6, 7 - len(prompt) + 1)
        assert 4 not in row.token_ids
    free, narrow = second_order(6, seed=5), Continuation(prefixes=PROMPTS, pad=0, end=END, forbidden=(4,), window=7)
    beam = BeamConfig(max_new_tokens=6, min_new_tokens=2).build()
    assert beam.generate(free, narrow) == beam.generate(model, request)


def test_a_row_that_never_ends_answers_with_what_it_has(second_order: Callable[..., Any]) -> None:
    model = second_order(4)
    [found] = BeamConfig(beam_size=4**3, max_new_tokens=3).build().search(model, Continuation(prefixes=[[1, 2]], pad=0))
    assert [row.ended for row in found] == [False] * 64
    best = max(itertools.product(range(4), repeat=3), key=lambda new: model.log_probability([1, 2], list(new)))
    assert found[0].token_ids == list(best)


def test_more_beams_than_tokens_and_no_rows(second_order: Callable[..., Any]) -> None:
    model = second_order(2)
    [row] = BeamConfig(beam_size=5, max_new_tokens=1).build().generate(model, Continuation(prefixes=[[1]], pad=0, end=END))
    assert row.ended
    assert BeamConfig().build().generate(model, Continuation(prefixes=[], pad=0, end=END)) == []

"""Decoding with real models: what the caches remember is what a whole forward would say."""

from typing import Any

import pytest
import torch
from torch import Tensor

from transformer_zoo.experiments.compose import recipe
from transformer_zoo.generation.base import Continuation, GenerationConfig, Request, Translation
from transformer_zoo.generation.beam import BeamConfig
from transformer_zoo.generation.greedy import GreedyConfig
from transformer_zoo.generation.sampling import SamplingConfig
from transformer_zoo.layers import screening
from transformer_zoo.records import HeadNeed, SequenceInputs, TranslationInputs

END = 3
PROMPTS = [[8], [9, 10, 11, 12, 13], [9, 10], [20, 21, 22]]
SOURCES = [[8, 9, 3], [11, 3], [12, 13, 14, 15, 16, 3], [22, 22, 22, 3]]
WAYS = [
    GreedyConfig(max_new_tokens=12),
    SamplingConfig(max_new_tokens=12, temperature=1.5, top_k=15, top_p=0.95),
    BeamConfig(max_new_tokens=12, beam_size=3),
    BeamConfig(max_new_tokens=12, beam_size=4, length_penalty_form="power", early_stopping="never"),
]


def requests(kind: str, rows: list[int]) -> Request:
    if kind == "decoder":
        return Continuation(prefixes=[PROMPTS[i] for i in rows], pad=0, end=END, index=rows)
    return Translation(prefixes=[[2]] * len(rows), sources=[SOURCES[i] for i in rows], pad=0, end=END, index=rows)


def last_logits(model: Any, prefix: list[int], source: list[int] | None) -> Tensor:
    """Next-token logits by a whole forward, without a cache."""
    target = SequenceInputs(token_ids=torch.tensor([prefix]))
    inputs = target if source is None else TranslationInputs(source=SequenceInputs(token_ids=torch.tensor([source])), target=target)
    with torch.no_grad():
        return model(inputs).heads["vocabulary"].logits()[-1]


def test_greedy_equals_whole_forwards_without_a_cache(kind: str, model: Any) -> None:
    model.eval()
    rows = GreedyConfig(max_new_tokens=12).build().generate(model, requests(kind, [0, 1, 2, 3]))
    for i, row in enumerate(rows):
        prefix, source = (PROMPTS[i], None) if kind == "decoder" else ([2], SOURCES[i])
        tokens, log_probability = list(prefix), 0.0
        for token in [*row.token_ids, *([END] if row.ended else [])]:
            logits = last_logits(model, tokens, source)
            assert int(logits.argmax()) == token
            log_probability += float(logits.log_softmax(-1)[token])
            tokens.append(token)
        assert row.log_probability == pytest.approx(log_probability, abs=1e-3)
    assert len({tuple(row.token_ids) for row in rows}) > 1, "what is given matters"


@pytest.mark.parametrize("way", [GreedyConfig(max_new_tokens=12, min_new_tokens=3), SamplingConfig(max_new_tokens=12, temperature=0)])
def test_the_likeliest_alone_are_the_same_tokens(kind: str, way: GenerationConfig, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, unasked = requests(kind, [0, 1, 2, 3]), requests(kind, [0, 1, 2, 3])
    asked.forbidden = unasked.forbidden = (8, 9)
    unasked.probabilities = False
    wanted = way.build().generate(model, asked)
    monkeypatch.setattr(type(model), "step", None)  # nobody asks for all scores
    found = way.build().generate(model, unasked)
    assert [(row.token_ids, row.ended) for row in found] == [(row.token_ids, row.ended) for row in wanted]


@pytest.mark.parametrize("large", [False, True], ids=["small", "screened"])
@pytest.mark.parametrize("n_rows", [1, 5])
def test_a_large_vocabulary_is_screened(n_rows: int, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "_LARGE", 1 if large else 2**40)
    torch.manual_seed(0)
    settings = recipe("gpt2", "model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64", "model.max_length=24")
    model: Any = settings.build(vocab_size=500, heads={"vocabulary": HeadNeed(kind="vocabulary")})
    prompts = [[5 + i, 9] for i in range(n_rows)]
    greedy = GreedyConfig(max_new_tokens=16).build()
    told, untold = (greedy.generate(model, Continuation(prefixes=prompts, pad=0, probabilities=wanted)) for wanted in (True, False))
    assert [row.token_ids for row in untold] == [row.token_ids for row in told]


@pytest.mark.parametrize("way", WAYS, ids=["greedy", "sample", "beam", "beam_never"])
def test_a_batch_gives_each_row_what_it_gets_alone(kind: str, way: GenerationConfig, model: Any) -> None:
    generator = way.build(seed=5)
    together = generator.generate(model, requests(kind, [0, 1, 2, 3]))
    for i, row in enumerate(together):
        [alone] = generator.generate(model, requests(kind, [i]))
        assert (row.token_ids, row.ended) == (alone.token_ids, alone.ended)


def test_a_beam_of_one_is_greedy_and_every_score_is_the_models_own(kind: str, model: Any) -> None:
    asked = requests(kind, [0, 1, 2, 3])
    greedy = GreedyConfig(max_new_tokens=10).build().generate(model, asked)
    beam = BeamConfig(max_new_tokens=10, beam_size=1).build().generate(model, asked)
    assert [r.token_ids for r in beam] == [r.token_ids for r in greedy]
    model.eval()
    for i, hypotheses in enumerate(BeamConfig(max_new_tokens=5, beam_size=3).build().search(model, asked)):
        for row in hypotheses:
            tokens = list(asked.prefixes[i])
            total = 0.0
            for token in [*row.token_ids, *([END] if row.ended else [])]:
                total += float(last_logits(model, tokens, None if kind == "decoder" else SOURCES[i]).log_softmax(-1)[token])
                tokens.append(token)
            assert row.log_probability == pytest.approx(total, abs=1e-3)


def test_a_decoder_goes_on_past_its_longest_input(decoder: Any) -> None:
    rows = GreedyConfig(max_new_tokens=40).build().generate(decoder, Continuation(prefixes=PROMPTS, pad=0))
    assert [len(row.token_ids) for row in rows] == [40] * 4
    alone = [GreedyConfig(max_new_tokens=40).build().generate(decoder, Continuation(prefixes=[p], pad=0))[0] for p in PROMPTS]
    assert [r.token_ids for r in rows] == [r.token_ids for r in alone]

"""Every objective with a model it ships with is one graph, and stays the same graphs when batches change: no breaks, few compilations."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from contracts.objective_batches import batch, built, configured, without_dropout
from transformer_zoo.layers import vocabulary_scores
from transformer_zoo.models.base import Model
from transformer_zoo.objectives.base import Objective
from transformer_zoo.records import Example
from transformer_zoo.training.scored import Scored, weighted_loss

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch

PAIRS = [
    ("mlm", "bert"), ("clm", "gpt2"), ("span_corruption", "t5"), ("translation", "transformer"), ("replaced_token", "electra"),
    ("mlm_nsp", "bert"), ("nsp", "bert"), ("classification", "bert"), ("tagging", "bert"), ("mlm", "roberta"), ("mlm_sop", "albert"),
    ("mlm", "modernbert"), ("mlm", "longformer"), ("mlm", "bigbird"), ("clm", "gpt1"), ("clm", "gpt3"), ("clm", "llama"),
    ("span_corruption", "t5_v1_1"), ("denoising", "bart"), ("translation", "marian"),
    ("prefix_lm", "gpt2"), ("prefix_lm", "t5"), ("fill_in_the_middle", "gpt2"), ("ul2", "t5"),
]  # fmt: skip
QUICK = ("bert", "gpt2")
CASES = [pytest.param(*pair, marks=[] if number < 4 and pair[1] in QUICK else [pytest.mark.slow]) for number, pair in enumerate(PAIRS)]


def built_pair(objective: str, recipe: str) -> tuple[Model, Objective]:
    return built(configured(objective, recipe))


DRAWN = ("prefix_lm", "fill_in_the_middle", "ul2")
"""Where rows of one length become others by chance: how many are read, how many are predicted, which part reads them."""


class Compiled:
    """`Scored.forward` as one graph (a break is an error), counting what is compiled."""

    def __init__(self, model: nn.Module, objective: Objective, backend: str = "eager") -> None:
        self.objective, self.graphs = objective, 0
        self.run = torch.compile(Scored(model, objective), backend=self._counted, fullgraph=True)

    def _counted(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return graph

    def step(self, example: Example) -> None:
        scales = {term: weight / max(1, example.counts.get(term, 0)) for term, weight in self.objective.weights.items()}
        weighted_loss(self.run(example), scales).backward()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(("objective", "recipe"), [case for case in CASES if case.values[0] not in DRAWN])
def test_rows_of_one_length_are_compiled_once(objective: str, recipe: str):
    model, made = built_pair(objective, recipe)
    compiled = Compiled(model, made)
    for number in range(5):
        compiled.step(made.prepare(batch(made, number, ragged=False)))
    assert compiled.graphs <= (2 if recipe == "bart" else 1)  # spans are cut by chance, so that what BART reads is of any width all the same


@pytest.mark.parametrize(("objective", "recipe"), CASES)
def test_rows_of_any_length_are_compiled_a_few_times(objective: str, recipe: str):
    """A first graph, and one more whenever another size varies for the first time: the rows' width, that of targets, how many are predicted."""
    model, made = built_pair(objective, recipe)
    compiled = Compiled(model, made)
    shapes: set[tuple[torch.Size, ...]] = set()
    for number in range(20):
        example = made.prepare(batch(made, number, ragged=True))
        found: list[torch.Size] = []
        example.inputs.map_tensors(lambda x, found=found: found.append(x.shape) or x)
        shapes.add(tuple(found))
        compiled.step(example)
    assert len(shapes) > 4
    assert compiled.graphs <= 4


@pytest.mark.slow
def test_the_vocabulary_may_be_scored_in_pieces(monkeypatch: pytest.MonkeyPatch):
    """One graph for each number of pieces, not for each number of positions."""
    monkeypatch.setattr(vocabulary_scores, "_CHUNK_ELEMENTS", {"cpu": 200 * 64})
    model, made = built_pair("translation", "transformer")
    compiled = Compiled(model, made)
    counts = set()
    for number in range(12):
        example = made.prepare(batch(made, number, ragged=True))
        counts.add(len(example.inputs.predict_at))  # type: ignore[arg-type]
        compiled.step(example)
    assert len(counts) > 1
    assert compiled.graphs <= 3 + max(counts) // 64


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "recipe"), [("mlm", "bert"), ("clm", "gpt2"), ("translation", "transformer")])
def test_compiled_by_inductor_the_numbers_are_the_same(objective: str, recipe: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    """Loss within 1e-5 and every gradient within 1e-4 of its largest entry: products and sums in another order, in float32."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model, made = built_pair(objective, recipe)
    without_dropout(model)  # draws differ
    plain, compiled = Scored(model, made), torch.compile(Scored(model, made), fullgraph=True)
    for number in range(2):
        example = made.prepare(batch(made, number, ragged=number > 0))
        seen = []
        for scored in (plain, compiled):
            model.zero_grad()
            loss = weighted_loss(scored(example), {term: weight / example.counts[term] for term, weight in made.weights.items()})
            loss.backward()
            seen.append((loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}))  # type: ignore[union-attr]
        torch.testing.assert_close(seen[0][0], seen[1][0], atol=1e-5, rtol=1e-5)
        for name, gradient in seen[0][1].items():
            torch.testing.assert_close(gradient, seen[1][1][name], atol=1e-4 * float(gradient.abs().max()) + 1e-8, rtol=0)

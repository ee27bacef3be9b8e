"""Every objective with a model it ships with is one graph, and stays the same graphs when batches change: no breaks, few compilations."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transformer_zoo.experiments import compose
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.layers import vocabulary_scores
from transformer_zoo.models.base import Model
from transformer_zoo.objectives.base import Objective
from transformer_zoo.records import (
    IGNORED,
    Batch,
    Example,
    LabelledBatch,
    PairBatch,
    Rows,
    SpecialTokens,
    TaggedBatch,
    TextBatch,
    TranslationBatch,
    Vocabulary,
)
from transformer_zoo.training.scored import Scored, weighted_loss

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch

B, T, N_CLASSES = 4, 48, 3
VOCABULARY = Vocabulary(
    size=200,
    specials=SpecialTokens(pad=0, unknown=1, begin=2, end=3, cls=4, sep=5, mask=6),
    sentinels=tuple(range(150, 200)),
    full_stops=(20, 21),
)
PAIRS = [
    ("mlm", "bert"), ("clm", "gpt2"), ("span_corruption", "t5"), ("translation", "transformer"), ("replaced_token", "electra"),
    ("mlm_nsp", "bert"), ("nsp", "bert"), ("classification", "bert"), ("tagging", "bert"), ("mlm", "roberta"), ("mlm_sop", "albert"),
    ("mlm", "modernbert"), ("mlm", "longformer"), ("mlm", "bigbird"), ("clm", "gpt1"), ("clm", "gpt3"), ("clm", "llama"),
    ("span_corruption", "t5_v1_1"), ("denoising", "bart"), ("translation", "marian"),
]  # fmt: skip
QUICK = ("bert", "gpt2", "transformer")
CASES = [pytest.param(*pair, marks=[] if number < 4 and pair[1] in QUICK else [pytest.mark.slow]) for number, pair in enumerate(PAIRS)]
MORE: dict[str, list[str]] = {"bigbird": ["model.attention.block_size=4", "model.attention.n_random=1"], "longformer": ["model.attention.window=4"]}
"""Settings by which attention does not see all of so short a row."""


def shorter(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Cut to the longest row, padding as 0."""
    width = int(valid.sum(1).max())
    return x[:, :width].masked_fill(~valid[:, :width], 0), valid[:, :width]


def batch(objective: Objective, number: int, *, ragged: bool) -> Batch:
    """Another one for every number; ragged: rows of other lengths, in batches of other widths."""
    needs, draws = objective.needs(), torch.Generator().manual_seed(number)
    width = T + needs.lookahead
    rows = Rows(seed=0, epoch=torch.zeros(B, dtype=torch.int64), index=torch.arange(B) + number * B)

    def text() -> tuple[Tensor, Tensor]:
        lengths = torch.randint(width // 2, width, (B, 1), generator=draws) if ragged else torch.full((B, 1), width)
        return shorter(torch.randint(7, 150, (B, width), generator=draws), torch.arange(width) < lengths)

    ids, valid = text()
    common: dict[str, Any] = {"rows": rows, "token_ids": ids, "valid": valid}
    if needs.batch is TranslationBatch:
        target, target_valid = text()
        return TranslationBatch(rows=rows, source_ids=ids, source_valid=valid, target_ids=target, target_valid=target_valid)
    if needs.batch is PairBatch:
        segments = (torch.arange(ids.shape[1]) > 20).long().expand(B, -1).contiguous()
        return PairBatch(**common, segment_ids=segments, is_next=torch.randint(0, 2, (B,), generator=draws))
    if needs.batch is LabelledBatch:
        return LabelledBatch(**common, labels=torch.randint(0, N_CLASSES, (B,), generator=draws))
    if needs.batch is TaggedBatch:
        return TaggedBatch(**common, tags=torch.randint(0, N_CLASSES, ids.shape, generator=draws).masked_fill(~valid, IGNORED))
    assert needs.batch is TextBatch
    return TextBatch(**common)


def configured(objective: str, recipe: str) -> ExperimentConfig:
    layers = 2 if recipe in ("modernbert", "gpt3") else 1  # these have two kinds of layers
    overrides = [f"model={recipe}", f"objective={objective}", "model/size=tiny", f"model.n_layers={layers}", *MORE.get(recipe, [])]
    return compose.experiment([*overrides, "data=pocket"])


def built(objective: str, recipe: str) -> tuple[Model, Objective]:
    config = configured(objective, recipe)
    made = config.objective.build(vocabulary=VOCABULARY, n_classes=N_CLASSES)
    heads = {name: replace(need, n_classes=N_CLASSES) if need.waits_for_classes else need for name, need in made.needs().heads.items()}
    return config.model.build(vocab_size=VOCABULARY.size, heads=heads).train(), made


class Compiled:
    """`Scored.forward` as one graph (a break is an error), counting what is compiled."""

    def __init__(self, model: nn.Module, objective: Objective, backend: str = "eager") -> None:
        self.objective, self.graphs = objective, 0
        self.run = torch.compile(Scored(model, objective), backend=self._counted, fullgraph=True)

    def _counted(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return graph

    def step(self, example: Example) -> None:
        scales = {term: weight / max(1, example.counts[term]) for term, weight in self.objective.weights.items()}
        weighted_loss(self.run(example), scales).backward()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(("objective", "recipe"), CASES)
def test_rows_of_one_length_are_compiled_once(objective: str, recipe: str):
    model, made = built(objective, recipe)
    compiled = Compiled(model, made)
    for number in range(5):
        compiled.step(made.prepare(batch(made, number, ragged=False)))
    assert compiled.graphs <= (2 if recipe == "bart" else 1)  # spans are cut by chance, so that what BART reads is of any width all the same


@pytest.mark.parametrize(("objective", "recipe"), CASES)
def test_rows_of_any_length_are_compiled_a_few_times(objective: str, recipe: str):
    """A first graph, and one more whenever another size varies for the first time: the rows' width, that of targets, how many are predicted."""
    model, made = built(objective, recipe)
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


def test_the_vocabulary_may_be_scored_in_pieces(monkeypatch: pytest.MonkeyPatch):
    """One graph for each number of pieces, not for each number of positions."""
    monkeypatch.setattr(vocabulary_scores, "_CHUNK_ELEMENTS", {"cpu": 200 * 64})
    model, made = built("translation", "transformer")
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
    model, made = built(objective, recipe)
    for module in model.modules():  # draws differ
        for name in ("p", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
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

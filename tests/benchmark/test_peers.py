"""Peers are of our size, read the same tokens and predict the same targets."""

import importlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from transformer_zoo.benchmark import peers
from transformer_zoo.benchmark.jobs import CAUSAL, JOBS, MASKED, Job, tokens_of
from transformer_zoo.benchmark.peers import PEERS, parameters_of
from transformer_zoo.benchmark.shapes import Shape
from transformer_zoo.benchmark.sides import our_side
from transformer_zoo.errors import MissingExtraError
from transformer_zoo.records import IGNORED, Example, SequenceInputs

SHAPE = Shape(name="test", n_layers=2, d_model=32, n_heads=2, vocab_size=400, length=16, batch_size=3)
EVERY = [(job, name, variant) for job in JOBS for name, variants in PEERS[job.name].items() for variant in variants]


def logits_of(module: Any, token_ids: torch.Tensor) -> torch.Tensor:
    found = getattr(module, "net", module)(token_ids)  # x-transformers' wrapper gives its loss alone
    logits: torch.Tensor = getattr(found, "logits", found)
    return logits


@pytest.mark.parametrize(("job", "name", "variant"), EVERY, ids=lambda value: getattr(value, "recipe", value))
def test_a_peer_trains_on_the_same(job: Job, name: str, variant: str) -> None:
    peer, tokens = PEERS[job.name][name][variant](SHAPE, 0.1), tokens_of(job.example(SHAPE))
    peer.module.eval()
    expected = F.cross_entropy(logits_of(peer.module, tokens.seen).flatten(0, 1), tokens.targets.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(peer.loss(tokens), expected)
    ours = our_side(job, SHAPE, 0.1, torch.device("cpu"))
    assert parameters_of(peer.module) == pytest.approx(ours.parameters, rel=0.06)


@pytest.mark.parametrize(("job", "name", "variant"), EVERY, ids=lambda value: getattr(value, "recipe", value))
def test_a_peer_drops_where_we_do(job: Job, name: str, variant: str) -> None:
    """Once on the embeddings; in each layer on two branches and on attention weights: all of it, and nothing without."""

    def rates(dropout: float) -> list[float]:
        module = PEERS[job.name][name][variant](SHAPE, dropout).module
        return [one.p for one in module.modules() if isinstance(one, torch.nn.Dropout)]

    assert rates(0.1).count(0.1) == 1 + 3 * SHAPE.n_layers
    assert not any(rates(0.0))
    peer, tokens = PEERS[job.name][name][variant](SHAPE, 0.5), tokens_of(job.example(SHAPE))
    peer.module.train()
    assert float(peer.loss(tokens).detach()) != float(peer.loss(tokens).detach())


def test_only_the_causal_ones_look_back() -> None:
    ids = torch.randint(7, SHAPE.vocab_size, (1, SHAPE.length), generator=torch.Generator().manual_seed(1))
    other = ids.clone()
    other[0, -1] = 7 if ids[0, -1] != 7 else 8
    for job, name, variant in EVERY:
        module = PEERS[job.name][name][variant](SHAPE, 0.0).module.eval()
        same = torch.allclose(logits_of(module, ids)[0, 0], logits_of(module, other)[0, 0], atol=1e-6)
        assert same == (job is CAUSAL), name


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.recipe)
def test_tokens_of_an_example_have_a_target_at_every_position(job: Job) -> None:
    example = job.example(SHAPE)
    tokens = tokens_of(example)
    (targets,), inputs = example.targets.values(), example.inputs
    assert isinstance(inputs, SequenceInputs)
    assert tokens.seen.shape == tokens.targets.shape == (SHAPE.batch_size, SHAPE.length)
    scored = tokens.targets != IGNORED
    assert int(scored.sum()) == next(iter(example.counts.values()))
    if job is MASKED:
        assert torch.equal(tokens.targets[scored], targets[targets != IGNORED])
        assert torch.equal(torch.nonzero(scored.flatten()).squeeze(1), inputs.predict_at[targets != IGNORED])
    else:
        assert torch.equal(tokens.targets[:, :-1], tokens.seen[:, 1:])


def test_filled_up_positions_hide_no_target() -> None:
    """The chosen positions are filled up with position 0, which may be a chosen one itself."""
    inputs = SequenceInputs(token_ids=torch.arange(6).view(2, 3), predict_at=torch.tensor([0, 4, 0, 0]))
    example = Example(inputs=inputs, targets={"mlm": torch.tensor([7, 8, IGNORED, IGNORED])}, counts={"mlm": 2}, tokens=6)
    assert tokens_of(example).targets.tolist() == [[7, IGNORED, IGNORED], [IGNORED, 8, IGNORED]]


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(peers, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"the benchmark needs the package 'x-transformers': pip install 'transformer-zoo\[bench\]'"):
        peers.package("x_transformers")
    monkeypatch.setattr(peers, "import_module", importlib.import_module)
    assert peers.package("json").loads("1") == 1

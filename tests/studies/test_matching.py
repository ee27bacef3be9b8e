"""What was asked to be equal is equal within the tolerance, and what cannot be is told."""

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import compose
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.studies import sizing
from transformer_zoo.studies.cells import Contestant
from transformer_zoo.studies.costs import Costs, Pricer
from transformer_zoo.studies.matching import match
from transformer_zoo.studies.recipe import without

COMMON = ["model/size=mini", "data=pocket", "data.sequence_length=32", "tokenizer=wordpiece", "training.batch_size=8", "training.steps=2000"]
PRICE = Pricer()


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All tests here prepare data once, in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@cache
def experiment(words: tuple[str, ...]) -> ExperimentConfig:
    return compose.experiment(words)


def matched(names: str, *measures: str, common: tuple[str, ...] = (), **options: Any) -> list[Contestant]:
    contestants = [Contestant(name=name, overrides=[f"model={name}"]) for name in names.split()]
    common = (*without(COMMON, common), *common)
    return match(contestants, common, measures, compose=lambda words: experiment(tuple(words)), price=PRICE, **options)


def costs(found: list[Contestant]) -> list[Costs]:
    """Of the overrides themselves, priced anew."""
    for one in found:
        fresh = PRICE(experiment((*one.overrides, *without(COMMON, one.overrides))))
        assert one.costs == fresh
    return [one.costs for one in found if one.costs is not None]


def spread(numbers: list[float]) -> float:
    return max(numbers) / min(numbers) - 1


@pytest.mark.slow
def test_all_shapes_come_to_the_same_parameters_and_operations() -> None:
    found = costs(matched("bert gpt2 t5 bart albert electra", "parameters", "flops"))
    assert spread([one.parameters for one in found]) < 0.02
    assert spread([one.flops or 0 for one in found]) < 0.02


@pytest.mark.slow
def test_embeddings_are_counted_or_not() -> None:
    plain, counted = costs(matched("bert bart", "parameters", count_embeddings=False)), costs(matched("bert bart", "parameters"))
    assert spread([one.parameters - one.parameters_embedding for one in plain]) < 0.02
    assert spread([one.parameters for one in counted]) < 0.02
    assert plain[1].parameters != counted[1].parameters


SLOW = [pytest.param(measure, marks=pytest.mark.slow) for measure in ("predicted_tokens", "steps")]


@pytest.mark.parametrize("measure", ["flops", "tokens", *SLOW])
def test_a_budget_is_made_equal_and_sizes_stay(measure: str) -> None:
    found = matched("bert gpt2 bart", measure)
    assert spread([getattr(one, measure) for one in costs(found)]) < 0.02
    assert not any(word.startswith("model.") for one in found for word in one.overrides)


@pytest.mark.slow
def test_operations_and_another_budget_are_made_equal_by_size() -> None:
    found = matched("bert gpt2", "flops", "tokens")
    first, second = costs(found)
    assert spread([first.flops or 0, second.flops or 0]) < 0.02
    assert spread([first.tokens or 0, second.tokens or 0]) < 0.02
    assert any(word.startswith("model.d_") for word in found[1].overrides)


def test_seconds_give_all_the_same_clock_and_take_the_place_of_another_budget() -> None:
    contestants = [
        Contestant(name="a", overrides=["model=bert", "training.seconds=60"]),
        Contestant(name="b", overrides=["model=gpt2", "training.tokens=5000"]),
    ]
    found = match(contestants, without(COMMON, ["training.steps=1"]), ["seconds"], compose=lambda words: experiment(tuple(words)), price=PRICE)
    assert found[1].overrides[2:] == ["training.seconds=60", "training.tokens=null"]
    assert [one.costs.steps for one in found if one.costs] == [None, None]


@pytest.mark.parametrize(
    ("names", "measures", "common", "message"),
    [
        ("bert gpt2", "tokens steps", (), "match=tokens,steps cannot hold for gpt2: equal tokens"),
        ("bert gpt2", "seconds steps", (), "match=seconds,steps: seconds leaves it to the clock"),
        ("bert gpt2", "seconds", (), "match=seconds needs a budget in seconds, and bert has training.steps=2000: give training.seconds"),
        ("bert gpt2", "flops", ("training.seconds=9",), "match=flops: training.seconds=9 leaves it to the clock"),
        ("bert gpt2", "token", (), "match=token: expected some of parameters, .*did you mean"),
        ("bert gpt2", "predicted_tokens", ("training.steps=4",), "with 1 whole steps, more than tolerance=0.02 allows: give a larger budget"),
        (
            "bert albert",
            "parameters",
            ("model.d_model=256", "model.n_layers=4", "model.d_ff=1024"),
            r"albert comes to [\d,]+ parameters at the closest, bert has [\d,]+ \(−\d\d%, and half of the tolerance .*free model.d_ff or",
        ),
    ],
)
def test_what_cannot_be_made_equal_is_told(names: str, measures: str, common: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        matched(names, *measures.split(), common=common)


def test_what_no_size_can_mend_is_told_of_all_before_any_size_is_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    def seek(*_: Any, **__: Any) -> Any:
        raise AssertionError("a size was sought")

    monkeypatch.setattr(sizing, "size_to", seek)
    with pytest.raises(ConfigError) as caught:
        matched("bert bart gpt2", "parameters", "tokens", common=("training.steps=4",))
    assert [problem.split(":")[1].split()[0] for problem in caught.value.problems] == ["bart", "gpt2"]
    with pytest.raises(ConfigError) as caught:
        matched("bert bart gpt2", "parameters", "predicted_tokens", "tokens")
    assert [problem.split(" for ")[1].split(":")[0] for problem in caught.value.problems] == ["bart", "gpt2"]
    with pytest.raises(ConfigError, match="match=parameters,flops,tokens cannot hold for gpt2: equal flops"):
        matched("bert gpt2", "parameters", "flops", "tokens")  # which have the same size already


def test_any_two_agree_not_only_each_with_the_first() -> None:
    """The second has 1.7% more than the first by its longer table of positions, the third 1.7% less."""
    contestants = [Contestant(name=str(n), overrides=["model=gpt2", f"model.max_length={n}"]) for n in (1024, 1274, 774)]
    given = [PRICE(experiment((*one.overrides, *COMMON))).parameters for one in contestants]
    assert max(spread([given[0], other]) for other in given[1:]) < 0.02 < spread(list(given))
    found = costs(match(contestants, COMMON, ["parameters"], compose=lambda words: experiment(tuple(words)), price=PRICE))
    assert all(spread([a.parameters, b.parameters]) < 0.02 for a, b in itertools.combinations(found, 2))

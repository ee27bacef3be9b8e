"""Which combinations a study runs: pairs, drops, random draws."""

import pytest

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.spans import Span
from transformer_zoo.studies.factors import FULL, Combination, Design, combinations
from transformer_zoo.studies.recipe import Variant

WIDTHS = {"model.d_model": ["64", "128"], "model.n_heads": ["2", "4"]}
RATE = Span(low=1e-4, high=1e-2, logarithmic=True, whole=False)


def labels(found: list[Combination]) -> list[str]:
    return [one.label for one in found]


def test_lists_that_go_together_are_read_row_by_row() -> None:
    found = combinations({**WIDTHS, "seed_of": ["a", "b"]}, {}, Design(zips=[["model.n_heads", "model.d_model"]]))
    assert labels(found) == [
        f"model.n_heads={heads} model.d_model={width} seed_of={other}" for heads, width in (("2", "64"), ("4", "128")) for other in "ab"
    ]
    assert found[0].levels == {"model.n_heads": "2", "model.d_model": "64", "seed_of": "a"}
    assert found[0].words == ["model.n_heads=2", "model.d_model=64", "seed_of=a"]


@pytest.mark.parametrize(
    ("zips", "message"),
    [
        ([["model.d_model"]], "name at least two settings, each once"),
        ([["model.d_model", "model.d_model"]], "name at least two settings, each once"),
        ([["model.d_model", "model.n_head"]], r"model.n_head has no list of values; did you mean model.n_heads\?; give some: model.n_head=A,B"),
        ([["model.d_model", "model.n_heads"], ["model.n_heads", "a"]], "model.n_heads is paired already, by --zip model.d_model,model.n_heads"),
        ([["model.d_model", "a"]], r"model.d_model has 2 values \(64,128\) and a has 3 values \(1,2,3\); lists that go together are equally long"),
    ],
)
def test_lists_that_do_not_go_together_are_refused(zips: list[list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        combinations({**WIDTHS, "a": ["1", "2", "3"]}, {}, Design(zips=zips))


def test_one_part_at_a_time_is_taken_from_the_full_model() -> None:
    found = combinations({}, {}, Design(drops=["model/positions=none", "model/norm_placement=post", "objective.nsp=null"]))
    assert labels(found) == [FULL, "without model/positions", "model/norm_placement=post", "without objective.nsp"]
    assert [one.words for one in found] == [[], ["model/positions=none"], ["model/norm_placement=post"], ["objective.nsp=null"]]
    assert found[1].levels == {"drop": "without model/positions"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=bert"], "--drop model=bert: that is no part of a model; what all runs share stands in front of --drop"),
        (["model/positions"], "--drop model/positions: write what stands in the place of the part"),
        (["a.b=1", "a.b=1"], "--drop a.b=1: is named twice"),
    ],
)
def test_what_is_no_part_cannot_be_dropped(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        combinations({}, {}, Design(drops=words))


def test_random_draws_are_the_same_every_time_and_never_repeat() -> None:
    values = {"a": list("123456"), "b": list("xyz")}
    few, many = combinations(values, {}, Design(samples=5)), combinations(values, {}, Design(samples=18))
    assert labels(few) == labels(many)[:5], "more of them begin with the same ones"
    assert len(set(labels(many))) == 18
    assert labels(many) != labels(combinations(values, {}, Design()))
    with pytest.raises(ConfigError, match="samples=19: there are only 18 combinations"):
        combinations(values, {}, Design(samples=19))


def test_random_draws_from_a_range_stay_inside_and_go_by_orders_of_magnitude() -> None:
    found = combinations({"a": ["1", "2"]}, {}, Design(samples=40, spans={"optimizer.lr": RATE}))
    drawn = [float(one.levels["optimizer.lr"]) for one in found]
    assert len({one.label for one in found}) == 40
    assert all(1e-4 <= value <= 1e-2 for value in drawn)
    assert 8 < sum(value < 1e-3 for value in drawn) < 32, "half of them lie in the lower order of magnitude"
    assert labels(found)[:3] == labels(combinations({"a": ["1", "2"]}, {}, Design(samples=3, spans={"optimizer.lr": RATE})))


def test_a_range_alone_is_no_list() -> None:
    with pytest.raises(ConfigError, match=r"optimizer.lr: a range .* has no list of values; samples=20 draws from it"):
        combinations({}, {}, Design(spans={"optimizer.lr": RATE}))
    whole = Span(low=1, high=3, logarithmic=False, whole=True)
    with pytest.raises(ConfigError, match="samples=4: only 3 different combinations were found"):
        combinations({}, {}, Design(spans={"a": whole}, samples=4))


def test_phases_carry_what_the_other_factors_say() -> None:
    variants = {"recipe": {"mlm": Variant(overrides=["objective=mlm"]), "clm, mlm": Variant(overrides=["objective=mlm"], phases=[["objective=clm"]])}}
    found = combinations({"model.dropout": ["0.1"]}, variants, Design())
    assert [one.phases for one in found] == [[], [["objective=clm", "model.dropout=0.1"]]]
    with pytest.raises(ConfigError, match="two of its variants have phases"):
        combinations({}, variants | {"other": {"b": Variant(phases=[["a=1"]])}}, Design())


def test_nothing_to_vary_is_refused() -> None:
    with pytest.raises(ConfigError, match="name a setting and its values"):
        combinations({}, {}, Design())
    with pytest.raises(ConfigError, match=r"a: has no values; give some: a=A,B"):
        combinations({"a": []}, {}, Design())

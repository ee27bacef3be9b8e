"""The strict converter: every wrong value is found, named and explained; everything right comes back unchanged."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog
from transformer_zoo.experiments.convert import alternatives, field_types, from_dict, to_dict, unwrapped
from transformer_zoo.settings import Config, OneOf, PositiveFloat, PositiveInt, Probability, Range


@dataclass(kw_only=True)
class PlaceConfig(Config):
    slot: ClassVar[str | None] = "test/place"


@dataclass(kw_only=True)
class HereConfig(PlaceConfig):
    depth: PositiveInt = 3


@dataclass(kw_only=True)
class ThereConfig(PlaceConfig):
    far: PositiveFloat
    word: Annotated[str, OneOf("near", "distant")] = "near"


@dataclass(kw_only=True)
class InnerConfig(Config):
    rate: Probability = 0.1


@dataclass(kw_only=True)
class OuterConfig(Config):
    place: PlaceConfig
    other_place: PlaceConfig | None = None
    inner: InnerConfig = field(default_factory=InnerConfig)
    bare: InnerConfig
    steps: PositiveInt | None = None
    share: Annotated[float, Range(0, 1, open_minimum=True)] = 0.5
    on: bool = True
    title: str = ""
    folder: Path | None = None
    paths: str | list[str] = ""
    weights: dict[str, float] = field(default_factory=dict)
    places: dict[str, PlaceConfig] = field(default_factory=dict)

    def problems(self) -> list[str]:
        return ["title and steps exclude each other"] if self.title and self.steps else []


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_registered", {})
    catalog.register("test/place", {"here": HereConfig, "there": ThereConfig})


HERE: dict[str, Any] = {"kind": "here"}


def problems_of(data: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_dict(OuterConfig, data)
    return list(caught.value.problems)


def test_defaults_fill_what_is_not_said() -> None:
    config = from_dict(OuterConfig, {"place": HERE})
    assert config == OuterConfig(place=HereConfig(depth=3), bare=InnerConfig())


def test_to_dict_writes_everything_with_kinds() -> None:
    config = OuterConfig(place=ThereConfig(far=2.0), bare=InnerConfig(), folder=Path("a"), places={"x": HereConfig()})
    data = to_dict(config)
    assert data["place"] == {"kind": "there", "far": 2.0, "word": "near"}
    assert data["folder"] == "a"
    assert data["places"] == {"x": {"kind": "here", "depth": 3}}
    assert "kind" not in data["inner"]
    assert from_dict(OuterConfig, data) == config


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"stpes": 3}, "stpes: the configuration has no setting 'stpes'; did you mean steps?"),
        ({"inner": {"rat": 0.1}}, "inner.rat: inner has no setting 'rat'; did you mean inner.rate?"),
        ({"rate": 0.1}, "rate: the configuration has no setting 'rate'; did you mean bare.rate?"),
        ({"place": {"kind": "here", "depht": 1}}, "place.depht: place (here) has no setting 'depht'; did you mean place.depth?"),
        ({"place": {"kind": "here", "far": 1}}, "place.far: place (here) has no setting 'far'; test/place=there has it"),
        ({"_target_": "os.system"}, "_target_: the configuration has no setting '_target_'; it has place"),
        ({"place": {"kind": "hree"}}, "place.kind: test/place has no 'hree'; did you mean here? (it has here, there)"),
        ({"place": "there"}, "place: expected settings (a mapping), got the text 'there'; choose with +test/place@place=there"),
        ({"place": {}}, "place: nothing is chosen for test/place; choose with +test/place@place=here|there"),
        ({"place": {"kind": "there"}}, "place.far: a value is needed here: set place.far=… (a number greater than 0)"),
        ({"place": {"kind": "there", "far": "???"}}, "place.far: a value is needed here: set place.far=… (a number greater than 0)"),
        ({"steps": "abc"}, "steps: expected a whole number at least 1 or null, got the text 'abc'"),
        ({"steps": 1.5}, "steps: expected a whole number at least 1 or null, got 1.5"),
        ({"steps": 0}, "steps: expected a whole number at least 1 or null, got 0"),
        ({"steps": True}, "steps: expected a whole number at least 1 or null, got true"),
        ({"place": {"kind": "here", "depth": None}}, "place.depth: expected a whole number at least 1, got null"),
        ({"share": 0}, "share: expected a number in (0, 1], got 0"),
        ({"share": float("nan")}, "share: expected a number in (0, 1], got nan"),
        ({"share": "0.5"}, "share: expected a number in (0, 1], got the text '0.5'"),
        ({"bare": {"rate": 1}}, "bare.rate: expected a number in [0, 1), got 1"),
        ({"on": 1}, "on: expected true or false, got 1"),
        ({"title": True}, "title: expected text, got true"),
        (
            {"place": {"kind": "there", "far": 1, "word": "neer"}},
            "place.word: expected one of near, distant, got the text 'neer'; did you mean near?",
        ),
        ({"place": {"kind": "there", "far": float("inf")}}, "place.far: expected a number greater than 0, got inf"),
        ({"paths": {"a": 1}}, "paths: expected text or a list of text, got a mapping with the keys a"),
        ({"weights": {"a": "x"}}, "weights.a: expected a number, got the text 'x'"),
        ({"weights": 3}, "weights: expected named parts (a mapping), got 3"),
        ({"places": {"a": {"kind": "where"}}}, "places.a.kind: test/place has no 'where'; did you mean here? (it has here, there)"),
        ({"inner": 3}, "inner: expected settings (a mapping), got 3"),
        ({"title": "a", "steps": 2}, "title and steps exclude each other"),
    ],
)
def test_each_mistake_is_one_line(data: dict[str, Any], message: str) -> None:
    (problem,) = problems_of({"place": HERE} | data)
    assert problem.startswith(message)
    assert "\n" not in problem


def test_all_mistakes_at_once() -> None:
    found = problems_of({"steps": "x", "inner": {"rate": 2}, "foo": 1, "places": {"a": {"kind": "there"}}})
    assert [problem.split(":")[0] for problem in found] == ["foo", "place", "inner.rate", "steps", "places.a.far"]


def test_cross_field_problems_carry_their_path() -> None:
    @dataclass(kw_only=True)
    class RootConfig(Config):
        outer: OuterConfig

    with pytest.raises(ConfigError, match=r"^outer: title and steps exclude"):
        from_dict(RootConfig, {"outer": {"place": HERE, "title": "a", "steps": 1}})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"steps": 3.0}, 3),
        ({"steps": "2e3"}, 2000),
        ({"steps": 1e4}, 10000),
        ({"steps": None}, None),
        ({"share": 1}, 1.0),
        ({"share": "1e-3"}, 0.001),
        ({"title": 12}, "12"),
        ({"folder": "a/b"}, Path("a/b")),
        ({"paths": ["a", "b"]}, ["a", "b"]),
        ({"paths": "a"}, "a"),
    ],
)
def test_what_is_meant_is_understood(data: dict[str, Any], expected: Any) -> None:
    (name,) = data
    value = getattr(from_dict(OuterConfig, {"place": HERE} | data), name)
    assert value == expected
    assert type(value) is type(expected)


def test_a_class_outside_the_catalog_is_named() -> None:
    @dataclass(kw_only=True)
    class NowhereConfig(PlaceConfig):
        pass

    with pytest.raises(ConfigError, match=r"NowhereConfig stands in no catalog line of test/place"):
        to_dict(NowhereConfig())


# --- every class of the catalog -----------------------------------------------------------------------------------------------------


def values(annotation: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Plain data that fits an annotation."""
    base, ranges = unwrapped(annotation)
    if words := [word for r in ranges if isinstance(r, OneOf) for word in r.words]:
        return st.sampled_from(words)
    options = alternatives(base)
    if len(options) > 1:
        return st.one_of(*(values(option, depth) for option in options))
    if isinstance(base, type) and issubclass(base, Config):
        return nodes(base, depth + 1)
    origin = get_origin(base) or base
    if origin is list:
        return st.lists(values(get_args(base)[0], depth + 1), max_size=2)
    if origin is dict:
        return st.dictionaries(st.sampled_from(["a", "b"]), values(get_args(base)[1], depth + 1), max_size=1 if depth < 3 else 0)
    limits = next((r for r in ranges if isinstance(r, Range)), Range())
    if base is int:
        return st.integers(int(max(limits.minimum, -1000)), int(min(limits.maximum, 1000))).filter(limits.holds)
    if base is float:
        numbers = st.floats(max(limits.minimum, -1e6), min(limits.maximum, 1e6), allow_nan=False).filter(limits.holds)
        return numbers | st.just(int(limits.minimum) + 1).filter(limits.holds) if limits.minimum > float("-inf") else numbers
    return {bool: st.booleans(), str: st.text(max_size=5), Path: st.text("ab/", min_size=1).map(str), type(None): st.none()}[base]


def nodes(cls: type[Config], depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """Plain data of a settings class; of a slot's base class, of any choice."""
    if cls.slot is None:
        return st.fixed_dictionaries({}, optional={name: values(hint, depth) for name, hint in field_types(cls).items()})
    choices = {name: option for name, option in catalog.options(cls.slot).items() if issubclass(option, cls)}
    if depth > 3:  # settings that hold settings of their own kind
        choices = dict(list(choices.items())[:1])

    def of(name: str) -> st.SearchStrategy[dict[str, Any]]:
        hints = field_types(choices[name])
        needed = {f.name: values(hints[f.name], depth) for f in fields(choices[name])}
        return st.fixed_dictionaries({"kind": st.just(name)} | needed)

    return st.sampled_from(sorted(choices)).flatmap(of)


@pytest.mark.parametrize(("slot", "name"), [(slot, name) for slot in catalog.SLOTS for name in catalog.SLOTS[slot]])
@settings(max_examples=8, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_every_choice_survives_the_round_trip(slot: str, name: str, data: st.DataObject) -> None:
    cls = catalog.SLOTS[slot][name]
    plain = data.draw(nodes(cls))
    try:
        config = from_dict(cls, plain)
    except ConfigError as error:
        # Random numbers seldom fit each other; only cross-field checks may object, and they speak in sentences of their own.
        assert not any("expected" in problem or "no setting" in problem or "needed here" in problem for problem in error.problems), error
        return
    assert from_dict(cls, to_dict(config)) == config

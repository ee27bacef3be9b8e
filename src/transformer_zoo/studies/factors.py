"""What varies in a study: factors with their levels, and which of their combinations are run."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.hints import did_you_mean
from transformer_zoo.experiments.spans import Span
from transformer_zoo.studies.recipe import Variant

FULL = "full model"
"""Label of what `--drop` takes parts from."""
AS_GIVEN = "as given"
"""Label where nothing varies but what is tuned."""
DROP = "drop"
"""Name of the factor that `--drop` makes."""
WHOLE = ("model", "data", "tokenizer", "experiment")
"""Groups that are no part of a model, and so cannot be dropped."""
_NOTHING = ("none", "null", "false", "0", "0.0")
_MOST_SHUFFLED = 100_000
"""Combinations that are shuffled as a whole; of more, single ones are drawn."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One choice for one factor (or, in a paired list, for several)."""

    label: str
    """What it adds to the label of a run."""
    levels: Mapping[str, str]
    """Factor → name of the level."""
    words: tuple[str, ...]
    phases: tuple[tuple[str, ...], ...] = ()
    """Overrides of the phases before the last."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One choice for every factor: what the runs of a group share beside what all runs share."""

    chosen: tuple[Level, ...]

    @property
    def label(self) -> str:
        return " ".join(level.label for level in self.chosen) or AS_GIVEN

    @property
    def levels(self) -> dict[str, str]:
        return {factor: name for level in self.chosen for factor, name in level.levels.items()}

    @property
    def words(self) -> list[str]:
        return [word for level in self.chosen for word in level.words]

    @property
    def phases(self) -> list[list[str]]:
        """The overrides of every phase before the last, with what the other factors say."""
        return [
            [*phase, *(word for other in self.chosen if other is not level for word in other.words)]
            for level in self.chosen
            for phase in level.phases
        ]


@dataclass(kw_only=True)
class Design:
    """How factors are combined, where it is not the whole grid."""

    zips: Sequence[Sequence[str]] = ()
    """Settings whose values go together, first with first; each list names at least two."""
    drops: Sequence[str] = ()
    """Words that each take one part from the full model, alone."""
    spans: Mapping[str, Span] = field(default_factory=dict)
    """Settings that are drawn from a range; they need `samples`."""
    samples: int | None = None
    """Random search: how many combinations are drawn, without repeats and the same every time; None: all."""

    @property
    def varies(self) -> bool:
        """Whether it has factors of its own."""
        return bool(self.drops or self.spans)


def combinations(values: Mapping[str, Sequence[str]], variants: Mapping[str, Mapping[str, Variant]], design: Design) -> list[Combination]:
    """The combinations of a study, in order.

    Raises:
        ConfigError: the design does not hold together.
    """
    factors = [*_paired(values, design.zips), *map(_of_variants, variants.items())]
    if design.drops:
        factors.append(_dropped(design.drops))
    if design.spans and design.samples is None:
        key, span = next(iter(design.spans.items()))
        raise ConfigError(f"{key}: a range ({span}) has no list of values; samples=20 draws from it, tune={key} looks for the best value in it")
    for key, own in values.items():
        if not own:
            raise ConfigError(f"{key}: has no values; give some: {key}=A,B")
    if not factors and not design.spans:
        raise ConfigError(
            "ablate: name a setting and its values, for example objective.mask_ratio=0.15,0.3,0.4, or a study, for example study=mask_ratio"
        )
    found = [Combination(chosen=chosen) for chosen in itertools.product(*factors)] if design.samples is None else _sampled(factors, design)
    for one in found:
        if sum(bool(level.phases) for level in one.chosen) > 1:
            raise ConfigError(f"{one.label}: two of its variants have phases; only one of them can say how a run goes")
    return found


def level_of(key: str, value: str) -> Level:
    """A setting's value as a level."""
    return Level(label=f"{key}={value}", levels={key: value}, words=(f"{key}={value}",))


def _of_variants(named: tuple[str, Mapping[str, Variant]]) -> list[Level]:
    name, variants = named
    return [
        Level(
            label=f"{name}={variant}",
            levels={name: variant},
            words=tuple(made.overrides),
            phases=tuple(tuple(phase) for phase in made.phases),
        )
        for variant, made in variants.items()
    ]


def _paired(values: Mapping[str, Sequence[str]], zips: Sequence[Sequence[str]]) -> list[list[Level]]:
    """One factor for every setting, or for every list of settings that go together, in the order of the settings."""
    partners: dict[str, Sequence[str]] = {}
    for keys in zips:
        _check_zip(keys, values, partners)
        partners |= dict.fromkeys(keys, keys)
    factors = []
    for key, own in values.items():
        keys = partners.get(key, ())
        if not keys:
            factors.append([level_of(key, value) for value in own])
        elif key == next(one for one in values if one in keys):
            rows = zip(*(values[one] for one in keys), strict=True)
            factors.append([_joined([level_of(one, value) for one, value in zip(keys, row, strict=True)]) for row in rows])
    return factors


def _joined(levels: Sequence[Level]) -> Level:
    return Level(
        label=" ".join(level.label for level in levels),
        levels={factor: name for level in levels for factor, name in level.levels.items()},
        words=tuple(word for level in levels for word in level.words),
    )


def _check_zip(keys: Sequence[str], values: Mapping[str, Sequence[str]], partners: Mapping[str, Sequence[str]]) -> None:
    said = f"--zip {','.join(keys)}"
    if len(keys) < 2 or len(set(keys)) < len(keys):
        raise ConfigError(f"{said}: name at least two settings, each once: --zip model.d_model,model.n_heads")
    for key in keys:
        if key not in values:
            raise ConfigError(f"{said}: {key} has no list of values{did_you_mean(key, values)}; give some: {key}=A,B")
        if key in partners:
            raise ConfigError(f"{said}: {key} is paired already, by --zip {','.join(partners[key])}")
    lengths = {key: len(values[key]) for key in keys}
    if len(set(lengths.values())) > 1:
        told = " and ".join(f"{key} has {n} values ({','.join(values[key])})" for key, n in lengths.items())
        raise ConfigError(f"{said}: {told}; lists that go together are equally long")


def _dropped(words: Sequence[str]) -> list[Level]:
    """The full model, then it without each part."""
    levels = [Level(label=FULL, levels={DROP: FULL}, words=())]
    for word in words:
        key, equals, value = word.lstrip("+~").partition("=")
        if not equals and not word.startswith("~"):
            raise ConfigError(f"--drop {word}: write what stands in the place of the part: --drop model/positions=none")
        if key in WHOLE or key == "seed":
            raise ConfigError(f"--drop {word}: that is no part of a model; what all runs share stands in front of --drop")
        label = f"without {key}" if not equals or value.lower() in _NOTHING else f"{key}={value}"
        if any(label == level.label for level in levels):
            raise ConfigError(f"--drop {word}: is named twice")
        levels.append(Level(label=label, levels={DROP: label}, words=(word,)))
    if len(levels) == 1:
        raise ConfigError("--drop: name at least one part to take away, for example --drop model/positions=none")
    return levels


def _sampled(factors: Sequence[Sequence[Level]], design: Design) -> list[Combination]:
    """Random combinations, each once; more of them begin with the same ones."""
    wanted = design.samples
    assert wanted is not None
    if wanted < 1:
        raise ConfigError(f"samples={wanted}: expected at least 1, the number of combinations to draw")
    size = 1
    for factor in factors:
        size *= len(factor)
    if not design.spans and wanted > size:
        raise ConfigError(f"samples={wanted}: there are only {size} combinations; leave samples out to run all of them")
    draws = random.Random(0)
    if not design.spans and size <= _MOST_SHUFFLED:
        grid = [Combination(chosen=chosen) for chosen in itertools.product(*factors)]
        draws.shuffle(grid)
        return grid[:wanted]
    found: dict[tuple[str, ...], Combination] = {}
    for _ in range(1000 * wanted):
        drawn = [draws.choice(factor) for factor in factors]
        drawn += [level_of(key, span.at(draws.random())) for key, span in design.spans.items()]
        one = Combination(chosen=tuple(drawn))
        found.setdefault(tuple(one.words), one)
        if len(found) == wanted:
            return list(found.values())
    raise ConfigError(f"samples={wanted}: only {len(found)} different combinations were found in the ranges; ask for fewer or widen them")

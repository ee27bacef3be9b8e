"""Makes the contestants of a comparison equal to the first one: in size, in what training costs, or both.

`parameters` is matched by size (see `studies.sizing`). All else is matched by the budget, `training.steps` of each contestant: `flops` (forward,
backward and optimiser), `tokens` read, `predicted_tokens`, `steps`; `seconds` gives all the same clock. With `parameters` and one of them the size
comes first, then the budget. With `flops` and another budget, without `parameters`, the other one gives the budget and the size is sought at which a
step costs what makes the operations equal too. What cannot hold together is told before anything is sought.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.hints import did_you_mean
from transformer_zoo.models.base import ModelConfig
from transformer_zoo.studies import sizing
from transformer_zoo.studies.cells import Compose, Contestant
from transformer_zoo.studies.costs import Costs, Price, Pricer, pricer
from transformer_zoo.studies.recipe import key_of, without
from transformer_zoo.training.settings import BUDGETS, TrainingConfig

MEASURES = ("parameters", "flops", "tokens", "predicted_tokens", "steps", "seconds")

_RATES: dict[str, Callable[[Costs], float]] = {
    "flops": lambda costs: costs.flops_per_step,
    "tokens": lambda costs: costs.tokens_per_step,
    "predicted_tokens": lambda costs: costs.predicted_per_step,
    "steps": lambda _: 1.0,
}
"""What one step adds, of everything that steps add up to."""


def match(
    contestants: Sequence[Contestant],
    common: Sequence[str],
    measures: Sequence[str],
    *,
    compose: Compose,
    price: Price | None = None,
    count_embeddings: bool = True,
    tolerance: float = 0.02,
) -> list[Contestant]:
    """The contestants with the overrides that make them equal to the first one, and with what each costs. A contestant's own overrides win over
    `common` ones of the same key. Settings of size that somebody typed stay as they are. `count_embeddings` says whether `parameters` are
    compared with those of embeddings.

    Any two contestants agree within the share `tolerance`, since each is brought within half of it to the first.

    Raises:
        ConfigError: measures exclude each other, or a contestant cannot be made equal: how close it came, and what to relax.
    """
    check(measures)
    price = price or pricer()
    first, *others = contestants
    start = compose(_words(first, common))
    known = _Known(price)
    costs = known(start)
    work = _Match(
        first=first.name,
        config=start,
        costs=costs,
        common=list(common),
        measures=tuple(measures),
        price=known,
        count_embeddings=count_embeddings,
        tolerance=tolerance,
    )
    configs = [compose(_words(one, common)) for one in others]
    problems: list[str] = []
    for one, config in zip(others, configs, strict=True):
        try:
            work.check_before(one, config)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    made = [work.equal(one, config) for one, config in zip(others, configs, strict=True)]
    return [replace(first, parameters=costs.parameters, costs=costs), *made]


class _Known:
    """Prices what was priced before from memory: the same size is asked for again and again."""

    def __init__(self, price: Price) -> None:
        self._price = price
        self._costs: dict[str, Costs] = {}
        self._sizes: dict[str, int] = {}

    def __call__(self, config: ExperimentConfig) -> Costs:
        key = repr(config)
        if key not in self._costs:
            self._costs[key] = self._price(config)
        return self._costs[key]

    def parameters(self, config: ExperimentConfig, *, embeddings: bool) -> float:
        """Without counting operations, where that can be."""
        if not isinstance(self._price, Pricer):
            costs = self(config)
            return costs.parameters - (0 if embeddings else costs.parameters_embedding)
        key = repr((config, embeddings))
        if key not in self._sizes:
            self._sizes[key] = self._price.size(config, embeddings=embeddings)
        return self._sizes[key]


@dataclass(frozen=True, kw_only=True)
class _Match:
    """The first contestant, and what the others must share with it."""

    first: str
    config: ExperimentConfig
    costs: Costs
    common: list[str]
    measures: tuple[str, ...]
    price: _Known
    count_embeddings: bool
    tolerance: float

    def __post_init__(self) -> None:
        seconds = self.config.training.seconds
        if "seconds" in self.measures and seconds is None:
            unit, amount = self.config.training.budget
            raise ConfigError(f"match=seconds needs a budget in seconds, and {self.first} has training.{unit}={amount:g}: give training.seconds=…")
        if self.budgets and self.costs.steps is None:
            raise ConfigError(
                f"match={','.join(self.budgets)}: training.seconds={seconds:g} leaves it to the clock how many steps there are: give training.steps, "
                "tokens or epochs, or match=seconds"
            )

    @property
    def budgets(self) -> list[str]:
        """The measures that steps add up to."""
        return [measure for measure in self.measures if measure in _RATES]

    @property
    def sizes(self) -> str | None:
        """What size is to make equal; None: nothing."""
        if "parameters" in self.measures:
            return "parameters"
        return "flops" if "flops" in self.budgets and len(self.budgets) > 1 else None

    @property
    def unsized(self) -> list[str]:
        """The budgets that no size moves."""
        return [measure for measure in self.budgets if measure != "flops" or self.sizes is None]

    def check_before(self, one: Contestant, config: ExperimentConfig) -> None:
        """Refuses what cannot be whatever size is found; takes no seeking."""
        sought = self._is_sought(config)
        if sought and not sizing.has_size(config.model):
            raise ConfigError(f"match={self.sizes}: {one.name} has no d_model, n_layers, n_heads and d_ff to fit: leave {self.sizes} out")
        known = self.unsized if sought else self.budgets
        if known:
            self.check_together(one.name, self.price(config), known)
        if known and known == self.budgets:
            self._check_steps(one.name, self._with_steps(self.price(config)))

    def check_together(self, name: str, costs: Costs, budgets: Sequence[str]) -> None:
        """Refuses budgets of which each asks for another number of steps."""
        steps = {measure: self._steps_for(measure, costs) for measure in budgets}
        if steps and max(steps.values()) / min(steps.values()) - 1 > self.tolerance:
            told = " and ".join(f"equal {measure} {_number(n)} steps" for measure, n in steps.items())
            raise ConfigError(
                f"match={','.join(self.measures)} cannot hold for {name}: {told}, since its steps hold other amounts than those of {self.first}: "
                f"leave out one of {', '.join(steps)}, or raise tolerance={self.tolerance:g}"
            )

    def equal(self, one: Contestant, config: ExperimentConfig) -> Contestant:
        """The contestant with what makes it equal, and what it costs then."""
        values = self._size(one, config)
        costs = self.price(replace(config, model=sizing.apply(config.model, values)))
        self.check_together(one.name, costs, self.budgets)
        words = [f"model.{path}={value}" for path, value in values.items()]
        seconds = self.config.training.seconds
        if "seconds" in self.measures and config.training.seconds != seconds:
            words += _only("seconds", f"{seconds:g}", config.training)
            costs = replace(costs, steps=None)
        if self.budgets:
            made = self._with_steps(costs)
            words += [] if costs.steps == made.steps else _only("steps", f"{made.steps:.0f}", config.training)
            costs = made
            self._check_steps(one.name, costs)
        return replace(one, overrides=[*one.overrides, *words], parameters=costs.parameters, costs=costs)

    def _with_steps(self, costs: Costs) -> Costs:
        """With as many steps as make the budgets equal."""
        wanted = [self._steps_for(measure, costs) for measure in self.budgets]
        return replace(costs, steps=float(max(1, round((max(wanted) + min(wanted)) / 2))))

    def _steps_for(self, measure: str, costs: Costs) -> float:
        """Steps after which a contestant has as much of something as the first one at its end."""
        assert self.costs.steps is not None
        return self.costs.steps * _RATES[measure](self.costs) / _RATES[measure](costs)

    # --- size ------------------------------------------------------------------------------------------------------------------------

    def _size(self, one: Contestant, config: ExperimentConfig) -> sizing.Values:
        """The settings of size that differ from the contestant's own; none where it has the size that is wanted."""
        if not self._is_sought(config):
            return {}
        measured, wanted, near = self._measured(config), self._wanted(config), self.tolerance / 2
        pinned = self._pinned(one)
        found = sizing.size_to(config.model, wanted, measured, pinned=pinned, near=near)
        if abs(found.reached / wanted - 1) > near:
            typed = f", free {' or '.join(f'model.{name}' for name in sorted(pinned))}" if pinned else ""
            what = "parameters" if self.sizes == "parameters" else "operations a step"
            raise ConfigError(
                f"match={','.join(self.measures)}: {one.name} comes to {_number(found.reached)} {what} at the closest, {self.first} has "
                f"{_number(wanted)} ({_percent(found.reached / wanted - 1)}, and half of the tolerance either way is allowed): choose sizes that are "
                f"nearer each other{typed}, or raise tolerance={self.tolerance:g}"
            )
        return found.values

    def _is_sought(self, config: ExperimentConfig) -> bool:
        """Whether a contestant has another size than is wanted."""
        return self.sizes is not None and abs(self._measured(config)(config.model) / self._wanted(config) - 1) > self.tolerance / 2

    def _wanted(self, config: ExperimentConfig) -> float:
        """What the size of a contestant shall come to."""
        if self.sizes == "parameters":
            return self._measured(self.config)(self.config.model)
        return (self.costs.flops or 0.0) / self._steps_for(self.unsized[0], self.price(config))  # the other budget says how many steps there are

    def _measured(self, config: ExperimentConfig) -> Callable[[ModelConfig], float]:
        """What size makes equal, of any model in the place of the one that is set."""
        if self.sizes == "flops":
            return lambda model: self.price(replace(config, model=model)).flops_per_step
        return lambda model: self.price.parameters(replace(config, model=model), embeddings=self.count_embeddings)

    def _pinned(self, one: Contestant) -> set[str]:
        """The settings of size that somebody typed."""
        typed = {key_of(word) for word in [*self.common, *one.overrides]}
        return {name for name in sizing.NAMES if f"model.{name}" in typed}

    def _check_steps(self, name: str, costs: Costs) -> None:
        """Refuses a budget that cannot be cut finely enough."""
        for measure in self.budgets:
            assert costs.steps is not None
            off = costs.steps / self._steps_for(measure, costs) - 1
            if abs(off) > self.tolerance:
                raise ConfigError(
                    f"match={','.join(self.measures)}: {name} comes to {off:+.1%} of the {measure} of {self.first} with {costs.steps:.0f} whole "
                    f"steps, more than tolerance={self.tolerance:g} allows: give a larger budget, or smaller batches"
                )


def check(measures: Sequence[str]) -> None:
    """Raises ConfigError for a measure that there is not, and for such as exclude each other."""
    unknown = [measure for measure in measures if measure not in MEASURES]
    if unknown:
        raise ConfigError(f"match={unknown[0]}: expected some of {', '.join(MEASURES)}{did_you_mean(unknown[0], MEASURES)}")
    others = [measure for measure in measures if measure in _RATES]
    if "seconds" in measures and others:
        raise ConfigError(
            f"match={','.join(measures)}: seconds leaves it to the clock how many steps there are, so that {' and '.join(others)} cannot be equal "
            f"too: leave out seconds, or {' and '.join(others)}"
        )


def _words(one: Contestant, common: Sequence[str]) -> list[str]:
    return [*one.overrides, *without(common, one.overrides)]


def _only(unit: str, amount: str, training: TrainingConfig) -> list[str]:
    """The one budget that holds, in the place of others that are set."""
    others = [name for name in BUDGETS if name != unit and getattr(training, name) is not None]
    return [f"training.{unit}={amount}", *(f"training.{name}=null" for name in others)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value < 1e9 else f"{value:.3g}"


def _percent(share: float) -> str:
    """`+5.3%`, with two digits however small it is."""
    return f"{100 * share:+.2g}%".replace("-", "−")

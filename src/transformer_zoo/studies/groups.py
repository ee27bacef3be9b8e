"""The groups of a study: runs that share everything but the seed. What they may differ in, and what is refused."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.studies.cells import Cell, Compose, Contestant, Study, config_hash, slug
from transformer_zoo.studies.declaring import declared_by, following, undeclared
from transformer_zoo.studies.factors import Combination
from transformer_zoo.studies.recipe import without


@dataclass(kw_only=True)
class Group:
    """The runs that share everything but the seed."""

    one: Combination
    contestant: Contestant
    common: Sequence[str]
    tuned: Sequence[str] = ()
    steps: Sequence[int] = ()
    """Of every phase, the last included, where they were made equal."""

    @property
    def label(self) -> str:
        return self.one.label

    @property
    def words(self) -> list[str]:
        return together([*self.contestant.overrides, *self.tuned], self.common)

    @property
    def phases(self) -> list[list[str]]:
        """Every phase before the last: its own words, what was made equal, what all share."""
        equal = [word for word in self.contestant.overrides if word not in self.one.words]
        found = [together([*phase, *without(equal, phase), *self.tuned], self.common) for phase in self.one.phases]
        return [together([f"training.steps={n}"], words) for n, words in zip(self.steps, found, strict=False)] if self.steps else found

    def take_steps(self, steps: Sequence[int]) -> None:
        """Gives every phase its number of steps, in the place of another budget."""
        last = f"training.steps={steps[-1]}"
        self.steps = steps
        self.contestant = replace(self.contestant, overrides=[*without(self.contestant.overrides, [last]), last])

    def cell(self, seed: int, compose: Compose) -> Cell:
        words, phases = self.words, self.phases
        config, *earlier = (_seeded(compose(one), seed) for one in (words, *phases))
        words, *phases = ([*one, f"seed={seed}"] for one in (words, *phases))
        name = f"{slug(self.label)}-seed{seed}-{config_hash(config, earlier)}"
        return Cell(label=self.label, overrides=words, seed=seed, config=config, run=f"runs/{name}", levels=self.one.levels, phases=phases)


def _seeded(config: ExperimentConfig, seed: int) -> ExperimentConfig:
    """The same settings with a seed, of which no other setting knows."""
    config = copy(config)
    config.seed = seed
    return config


def together(own: Sequence[str], common: Sequence[str]) -> list[str]:
    """What a run sets for itself and, where it does not, what all share."""
    return [*own, *without(common, own)]


def declared_keys(
    groups: Sequence[Group], cells: Sequence[Cell], common: Sequence[str], extra: Sequence[str], config_dirs: Sequence[Path]
) -> list[str]:
    """Everything in which runs may differ: what varies, what was made equal, what `extra` names, and what follows from them."""
    words = [word for group in groups for word in [*group.contestant.overrides, *(word for phase in group.one.phases for word in phase)]]
    keys = declared_by(words, common, config_dirs)
    keys |= {"init_from"} if any(group.one.phases for group in groups) else set()  # the last phase goes on from the one before
    return sorted(keys | set(extra) | following(cell.config for cell in cells))


def refuse(study: Study, compose: Compose) -> None:
    """Refuses runs that differ where nobody said so, and such as are the same under two names."""
    seen: dict[str, str] = {}
    for cell in study.cells:
        identity = cell.run.rpartition("-")[2]
        if identity in seen:
            raise ConfigError(
                f"{cell.label} is the same experiment as {seen[identity]}: what tells them apart changes nothing here, or what is typed beside it "
                "wins over it; leave one of the two out"
            )
        seen[identity] = cell.label
    problems: dict[str, None] = {}
    for seed in dict.fromkeys(cell.seed for cell in study.cells):
        runs: dict[str, ExperimentConfig] = {}
        for cell in study.cells:
            if cell.seed == seed:
                runs |= {cell.label: cell.config}
                runs |= {f"{cell.label}, phase {number}": compose(phase) for number, phase in enumerate(cell.phases, start=1)}
        baseline = study.baseline if study.baseline in runs else next(iter(runs))
        problems |= dict.fromkeys(undeclared(runs, baseline, study.declared))
    if problems:
        raise ConfigError(*problems)

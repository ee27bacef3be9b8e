"""`compare`, `ablate` and `report`."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from transformer_zoo.cli.arguments import Arguments
from transformer_zoo.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

COUNTED = {
    "seeds": "seeds; `seed=` sets the first one",
    "samples": "combinations to draw",
    "trials": "trials of each contestant",
    "jobs": "runs at once",
}
"""Key of a command → what it counts."""
CLUSTER = ("slurm.", "hydra.launcher.")
"""Begins what a launcher is asked for (`studies.launching.SETTINGS`)."""
FLAGS_OF_THE_CALL = ("--plan", "--json", "--status", "--commands", "--retry", "--debug")
"""Flags that ask for another answer to the same command, and so are no part of what repeats a study."""


def compare(arguments: Arguments) -> int:
    """Several architectures under the same settings."""
    from transformer_zoo.studies import study

    if (folder := _asked_of(arguments)) is not None:
        return _say_status(folder)
    asked = _asked(arguments, "compare")
    if not asked["models"] and not asked["factors"] and not asked["variants"]:
        raise ConfigError("compare: name the models, for example model=bert,gpt2, or a study, for example study=architectures")
    return _finished(study.compare(**asked, **_named(arguments, "compare", asked)), arguments)


def ablate(arguments: Arguments) -> int:
    """Settings of one experiment."""
    from transformer_zoo.studies import study

    if (folder := _asked_of(arguments)) is not None:
        return _say_status(folder)
    asked = _asked(arguments, "ablate")
    return _finished(study.ablate(**asked, **_named(arguments, "ablate", asked)), arguments)


def report(arguments: Arguments) -> int:
    """Tables, plots and one HTML file from run folders."""
    from transformer_zoo.reports.publishing import publish
    from transformer_zoo.reports.report import report as write

    if not arguments.words:
        raise ConfigError("report: name run folders, studies, or folders of them, for example: transformer-zoo report runs")
    paths = [Path(word) for word in arguments.words]
    page = write(paths, Path(arguments.value("--output") or "report.html"))
    print(page)
    if (where := arguments.value("--publish")) is not None:
        publish(where, paths, page)
    return 0


def _asked(arguments: Arguments, kind: str) -> dict[str, Any]:
    """What a study is called with: its recipe, if one is named, and what is typed, which wins."""
    from transformer_zoo.experiments.compose import experiment
    from transformer_zoo.studies.factors import Design
    from transformer_zoo.studies.recipe import StudyRecipe, study_recipe
    from transformer_zoo.studies.study import Doors
    from transformer_zoo.studies.tuning import Tuning

    command, folders = _repeating(arguments, kind), arguments.config_dirs
    named = arguments.take("study")
    recipe = study_recipe(named, folders) if named else StudyRecipe()
    given = _Given(arguments)
    terms = _terms(given, recipe)
    tuned, trials, samples = given.names("tune", recipe.tune), given.count("trials", recipe.trials), given.count("samples", recipe.samples)
    seeds, folder, running = given.count("seeds", recipe.seeds) or 1, given.text("study_dir", None), given.running()
    if not tuned and any(word.startswith("trials=") for word in command):
        raise ConfigError(
            f"trials={trials}: tune=KEY says what they try, such as tune=optimizer.lr optimizer.lr=1e-4,1e-3; samples={trials} draws runs"
        )
    models = given.names("model", ()) if kind == "compare" else []
    typed = _Typed.of(arguments, models)
    values, ranges = typed.beside(recipe)
    _check_tuned(tuned, values, ranges)
    asked = {
        "factors": {key: found for key, found in values.items() if key not in tuned},
        "variants": typed.variants(recipe, f"study={named}"),
        "overrides": [*typed.kept(recipe.overrides, f"study={named}", folders), *typed.fixed],
        "design": Design(
            zips=[_names(keys) for keys in arguments.flags.get("--zip", [])] or recipe.zip,
            drops=typed.drops or recipe.drop,
            spans={key: span for key, span in ranges.items() if key not in tuned},
            samples=samples,
        ),
        "terms": terms,
        "tuning": Tuning(
            values={key: found for key, found in values.items() if key in tuned},
            spans={key: span for key, span in ranges.items() if key in tuned},
            trials=trials,
        )
        if tuned
        else None,
        "measurements": recipe.measurements,
        "seeds": seeds,
        "folder": Path(folder) if folder else None,
        "command": command,
        "plan": any(arguments.has(flag) for flag in ("--plan", "--status", "--commands")),
        "doors": Doors(compose=partial(experiment, config_dirs=folders), config_dirs=folders, running=running),
    }
    return asked | ({"models": models} if kind == "compare" else {})


def _named(arguments: Arguments, kind: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The study that is named, and whether other runs are asked for than those that its file describes."""
    from transformer_zoo.studies.study import Named

    name = next((word.partition("=")[2] for word in asked["command"] if word.startswith("study=")), None)
    if name is None:
        return {}
    folders = {flag: values for flag, values in arguments.flags.items() if flag == "--config-dir"}
    plain = _asked(Arguments(words=[f"study={name}"], flags=folders), kind)
    return {"named": Named(name=name, changed=_runs(asked) != _runs(plain))}


def _runs(asked: Mapping[str, Any]) -> list[Any]:
    """What tells which runs a study consists of, but for their seeds."""
    from transformer_zoo.experiments.results import is_identity
    from transformer_zoo.studies.recipe import key_of

    terms = asked["terms"]
    words = [word for word in asked["overrides"] if is_identity(key_of(word)) or key_of(word) == "seed"]
    equal = [terms.match, terms.count_embeddings, terms.tolerance] if terms.match else []
    return [sorted(words), equal, *(asked.get(key) for key in ("models", "factors", "variants", "design", "tuning"))]


def _terms(given: "_Given", recipe: Any) -> Any:
    """What is held equal, by what is typed or else by the study."""
    from transformer_zoo.studies.study import Terms

    return Terms(
        match=given.names("match", recipe.match),
        count_embeddings=given.truth("count_embeddings", recipe.count_embeddings),
        tolerance=given.number("tolerance", recipe.tolerance),
        baseline=given.text("baseline", recipe.baseline),
        declare=given.names("declare", recipe.declare),
    )


@dataclass(frozen=True, kw_only=True)
class _Typed:
    """The overrides that are typed, and what they leave of a study's own."""

    words: list[str]
    """All of them, as typed."""
    fixed: list[str]
    """Those with one value."""
    varied: dict[str, list[str]]
    """Setting → its values."""
    ranges: dict[str, Any]
    """Setting → its range."""
    models: list[str]
    drops: list[str]

    @classmethod
    def of(cls, arguments: Arguments, models: list[str]) -> "_Typed":
        from transformer_zoo.experiments.compose import factors, spans
        from transformer_zoo.studies.recipe import key_of

        own = [word for word in arguments.words if key_of(word) == "run_dir"]
        if own:
            raise ConfigError(f"{own[0]}: every run of a study has a folder of its own; study_dir=… names the folder of all of them")
        ranges, others = spans(arguments.words)
        varied, fixed = factors(others)
        both = [key for key in (*varied, *ranges) if key in map(key_of, fixed)]
        if both:
            raise ConfigError(*(f"{key}: several values are given, and one value as well; leave one of the two out" for key in both))
        return cls(words=arguments.words, fixed=fixed, varied=varied, ranges=ranges, models=models, drops=arguments.flags.get("--drop", []))

    def beside(self, recipe: Any) -> tuple[dict[str, list[str]], dict[str, Any]]:
        """Values and ranges: the study's for settings that nobody typed, and the typed ones."""
        from transformer_zoo.studies.recipe import key_of

        taken = {*self.varied, *self.ranges, *map(key_of, self.fixed), *(["model"] if self.models else [])}
        ranges, values = _ranges({key: values for key, values in recipe.values.items() if key not in taken})
        return values | self.varied, ranges | self.ranges

    def kept(self, overrides: Sequence[str], study: str, folders: Sequence[Path]) -> list[str]:
        """The study's overrides that do not give way to what is typed."""
        from transformer_zoo.studies.declaring import yielding

        chosen = [*self.fixed, *(f"{key}=" for key in (*self.varied, *self.ranges)), *(f"model={name}" for name in self.models[:1])]
        gone = yielding(overrides, chosen, folders)
        for word in gone:
            logger.info("%s: %s gives way to what is typed", study, word)
        return [word for word in overrides if word not in gone]

    def variants(self, recipe: Any, study: str) -> dict[str, dict[str, Any]]:
        """The study's variants without the settings that are typed."""
        from transformer_zoo.studies.recipe import without

        typed = [*self.words, *self.drops]

        def kept(words: Sequence[str], variant: str) -> list[str]:
            left = without(words, typed)
            for word in words:
                if word not in left:
                    logger.info("%s: %s of %s gives way to what is typed", study, word, variant)
            return left

        return {
            name: {
                variant: replace(made, overrides=kept(made.overrides, variant), phases=[kept(phase, variant) for phase in made.phases])
                for variant, made in choices.items()
            }
            for name, choices in recipe.variants.items()
        }


class _Given:
    """The words that belong to the command itself, each with one clear line where it is wrong; what is not typed is the study's."""

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments

    def text(self, key: str, usual: str | None) -> str | None:
        told = self._arguments.take(key)
        return usual if told is None else told.strip("'\"")

    def names(self, key: str, usual: Sequence[str]) -> list[str]:
        told = self._arguments.take(key)
        if told is None:
            return list(usual)
        return [] if told == "none" else _names(told)

    def count(self, key: str, usual: int | None) -> int | None:
        told = self._arguments.take(key)
        if told is None:
            return usual
        if not told.isascii() or not told.isdigit() or int(told) < 1:
            raise ConfigError(f"{key}={told}: expected a whole number at least 1, the number of {COUNTED[key]}")
        return int(told)

    def number(self, key: str, usual: float) -> float:
        told = self._arguments.take(key)
        try:
            return usual if told is None else float(told)
        except ValueError:
            raise ConfigError(f"{key}={told}: expected a number such as {usual:g}") from None

    def truth(self, key: str, usual: bool) -> bool:
        told = self._arguments.take(key)
        if told not in (None, "true", "false"):
            raise ConfigError(f"{key}={told}: expected true or false")
        return usual if told is None else told == "true"

    def running(self) -> dict[str, Any]:
        """How the runs are made, where it is said."""
        words = self._arguments.words
        asked = [word for word in words if word.startswith(CLUSTER) and "=" in word]
        settings = dict(word.removeprefix(CLUSTER[0]).removeprefix(CLUSTER[1]).split("=", 1) for word in asked)
        self._arguments.words = [word for word in words if word not in asked]
        launcher = self._arguments.take("launcher")
        told = {"jobs": self.count("jobs", None), "launcher": launcher, "on_change": self._arguments.take("on_change")}
        by_hydra = launcher is not None and launcher.startswith("hydra/")
        strange = [word for word in asked if word.startswith(CLUSTER[1]) != by_hydra]
        if strange:
            meant = "launcher=slurm" if by_hydra else "launcher=hydra/NAME"
            raise ConfigError(*(f"{word} belongs to {meant}: choose that, or leave the word out" for word in strange))
        found: dict[str, Any] = {key: value for key, value in told.items() if value is not None}
        found |= {"settings": settings} if settings else {}
        found |= {"config_dirs": self._arguments.config_dirs} if self._arguments.config_dirs else {}
        return found | ({"retry": True} if self._arguments.has("--retry") else {})


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.strip("[]").split(",") if name.strip()]


def _ranges(values: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """A study's own values: those that are a range, and lists."""
    from transformer_zoo.experiments.compose import spans

    single = [f"{key}={found[0]}" for key, found in values.items() if len(found) == 1 and "interval(" in found[0]]
    ranges, _ = spans(single)
    return ranges, {key: list(found) for key, found in values.items() if key not in ranges}


def _check_tuned(tuned: Sequence[str], values: Mapping[str, Any], ranges: Mapping[str, Any]) -> None:
    for key in tuned:
        if key not in values and key not in ranges:
            raise ConfigError(f"tune={key}: say which values to try, {key}=1e-4,3e-4,1e-3, or which range to search, {key}='interval(1e-4,1e-2)'")


def _repeating(arguments: Arguments, kind: str) -> list[str]:
    """The words behind `transformer-zoo` that repeat the study."""
    flags = [word for flag, values in arguments.flags.items() if flag not in (*FLAGS_OF_THE_CALL, "--drop") for word in _flag_words(flag, values)]
    drops = arguments.flags.get("--drop", [])
    return [kind, *arguments.words, *flags, *(["--drop", *drops] if drops else [])]


def _flag_words(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)] or [flag]


def _finished(study: Any, arguments: Arguments) -> int:
    """Prints the plan, how far it is, or where the results lie."""
    if arguments.has("--status"):
        return _say_status(study.folder)
    if arguments.has("--commands"):
        from transformer_zoo.studies.running import commands

        print("\n".join(commands(study)))
        return 0
    if arguments.has("--json"):
        told = study.plan() | ({"estimate": _estimate(study, arguments)} if arguments.has("--plan") else {})
        print(json.dumps(told, indent=2, ensure_ascii=False))
    elif arguments.has("--plan"):
        from transformer_zoo.studies.planning import plan_table

        found = _estimate(study, arguments)
        if found is not None:
            print("\n".join(plan_table(found)))
        for one in study.contestants:
            print(f"{one.name}: {' '.join(one.overrides)}")
        for search in study.tuned:
            print(f"tuning {', '.join(f'{key} over {_said(tried)}' for key, tried in search['keys'].items())}: {search['trials']} trials of each")
        for cell in study.cells:
            print(f"{cell.label}, seed {cell.seed}: {study.folder / cell.run}")
    else:
        summary = study.folder / "summary.md"
        print(summary.read_text(encoding="utf-8") if summary.is_file() else study.folder)
        print(study.folder / "report.html")
    return int(study.exit_code)


def _asked_of(arguments: Arguments) -> Path | None:
    """The folder of which nothing but the state is asked for, so that the study need not be described again."""
    alone = arguments.has("--status") and len(arguments.words) == 1
    folder = _Given(arguments).text("study_dir", None) if alone else None
    return None if folder is None else Path(folder)


def _say_status(folder: Path) -> int:
    from transformer_zoo.studies.status import status_lines

    print("\n".join(status_lines(folder)))
    return 0


def _estimate(study: Any, arguments: Arguments) -> dict[str, Any] | None:
    """What a plan would cost; None where its data is not there, which a warning says."""
    from transformer_zoo.experiments.compose import experiment
    from transformer_zoo.studies.planning import estimate

    try:
        return estimate(study, partial(experiment, config_dirs=arguments.config_dirs))
    except DataError as error:
        logger.warning("no estimate of costs and time: %s", error)
        return None


def _said(tried: Any) -> str:
    return tried if isinstance(tried, str) else ", ".join(tried)

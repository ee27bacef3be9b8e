"""`compare`, `ablate` and `report`."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformer_zoo.cli.arguments import Arguments
from transformer_zoo.errors import ConfigError

_LATER = ("tune", "jobs")


def compare(arguments: Arguments) -> int:
    """Several architectures under the same settings."""
    from transformer_zoo.studies import study

    models = arguments.take("model")
    if not models:
        raise ConfigError("compare: name the models, for example model=bert,gpt2")
    match = arguments.take("match") or "none"
    names = [name.strip() for name in models.strip("[]").split(",") if name.strip()]
    return _finished(study.compare(names, **_given(arguments), match=match), arguments)


def ablate(arguments: Arguments) -> int:
    """Settings of one experiment."""
    from transformer_zoo.experiments.compose import factors
    from transformer_zoo.studies import study
    from transformer_zoo.studies.recipe import StudyRecipe, key_of, study_recipe, without

    named = arguments.take("study")
    recipe = study_recipe(named, arguments.config_dirs) if named else StudyRecipe()
    given = _given(arguments, seeds=recipe.seeds)
    varied, fixed = factors(given.pop("overrides"))
    varied = {key: values for key, values in recipe.values.items() if key in varied or key not in map(key_of, fixed)} | varied
    overrides = [*without(recipe.overrides, [*fixed, *varied]), *fixed]
    return _finished(study.ablate(varied, overrides, variants=recipe.variants, measurements=recipe.measurements, **given), arguments)


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


def _given(arguments: Arguments, seeds: int = 1) -> dict[str, Any]:
    """What both kinds of study take."""
    from transformer_zoo.experiments.compose import experiment

    for key in _LATER:
        if arguments.take(key) is not None:
            raise ConfigError(f"{key}= is not available in this version; leave it out")
    wanted, folder = arguments.take("seeds") or str(seeds), arguments.take("study_dir")
    if not wanted.isascii() or not wanted.isdigit() or int(wanted) < 1:
        raise ConfigError(f"seeds={wanted}: expected a whole number at least 1, the number of seeds; `seed=` sets the first one")
    compose: Callable[..., Any] = partial(experiment, config_dirs=arguments.config_dirs)
    return {
        "overrides": arguments.words,
        "seeds": int(wanted),
        "folder": Path(folder) if folder else None,
        "plan": arguments.has("--plan"),
        "compose": compose,
    }


def _finished(study: Any, arguments: Arguments) -> int:
    """Prints the plan, or where the results lie."""
    if arguments.has("--json"):
        print(json.dumps(study.plan(), indent=2, ensure_ascii=False))
    elif arguments.has("--plan"):
        for one in study.contestants:
            print(f"{one.name}: {one.parameters:,} parameters ({' '.join(one.overrides)})")
        for cell in study.cells:
            print(f"{cell.label}, seed {cell.seed}: {study.folder / cell.run}")
    else:
        summary = study.folder / "summary.md"
        print(summary.read_text(encoding="utf-8") if summary.is_file() else study.folder)
        print(study.folder / "report.html")
    return int(study.exit_code)

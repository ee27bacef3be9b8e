"""`benchmark`: measure suites against the peers, or show what was measured."""

import json
import os
import sys
from pathlib import Path

from transformer_zoo.benchmark.suites import ON_REQUEST, SUITES, SuiteSettings
from transformer_zoo.cli.arguments import Arguments
from transformer_zoo.cli.commands import COMMANDS
from transformer_zoo.errors import ConfigError, DataError, ZooError
from transformer_zoo.experiments.hints import did_you_mean

OUTPUT = Path("benchmarks") / "results"
TABLE = "table"
DATA_VARIABLE = "TRANSFORMER_ZOO_DATA"


def benchmark(arguments: Arguments) -> int:
    """Rows as a Markdown table, or as JSON."""
    from transformer_zoo.benchmark import results

    suite, output = arguments.take("suite"), arguments.take("output")
    names, settings = _suites(suite), _settings(arguments)
    path = Path(output or OUTPUT) / results.FILE
    failed: dict[str, ZooError] = {}
    words = list(arguments.words)
    if words == [TABLE]:
        kept = [one for name, one in results.read(path).items() if suite is None or name in names]
        if not kept:
            raise DataError(f"nothing is kept in {path}: run `transformer-zoo benchmark` first, or name its output=DIR")
    elif words:
        raise ConfigError(
            f"benchmark {' '.join(words)}: unknown; it takes {', '.join(f'{key}=' for key in COMMANDS['benchmark'].keys)} or the word {TABLE}"
        )
    else:
        from transformer_zoo.benchmark.running import run

        kept, failed = run(names, settings, path)
    if arguments.has("--json"):
        print(json.dumps({one.suite: one.document() for one in kept}, indent=2, ensure_ascii=False))
    elif kept:
        print(results.table(kept))
        if not words:
            print(f"\n{path}")
    for name, error in failed.items():
        print(f"transformer-zoo: suite {name} was not measured: {error}", file=sys.stderr)
    return next((error.exit_code for error in failed.values()), 0)


def _suites(given: str | None) -> list[str]:
    """The suites named; without any, all but those that run on request only."""
    if given is None:
        return [name for name in SUITES if name not in ON_REQUEST]
    names = [name.strip() for name in given.strip("[]").split(",") if name.strip()]
    problems = [
        f"suite={name}: there is no such suite{did_you_mean(name, SUITES)} (there are {', '.join(SUITES)})" for name in names if name not in SUITES
    ]
    if problems or not names:
        raise ConfigError(*(problems or [f"suite={given}: name at least one of {', '.join(SUITES)}"]))
    return list(dict.fromkeys(names))


def _settings(arguments: Arguments) -> SuiteSettings:
    quick = arguments.has("--quick")
    rounds, threads = _count(arguments, "rounds"), _count(arguments, "threads")
    return SuiteSettings(
        rounds=rounds or (1 if quick else SuiteSettings.rounds),
        quick=quick,
        device=arguments.take("device") or SuiteSettings.device,
        threads=threads,
        data=_data(arguments.take("data")),
    )


def _count(arguments: Arguments, key: str) -> int | None:
    given = arguments.take(key)
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or int(given) < 1:
        raise ConfigError(f"{key}={given}: expected a whole number at least 1")
    return int(given)


def _data(given: str | None) -> Path | None:
    """The folder with real text: as given, or as the environment says."""
    named = given or os.environ.get(DATA_VARIABLE)
    if not named:
        return None
    if not Path(named).is_dir():
        raise DataError(f"{'data' if given else DATA_VARIABLE}={named}: there is no such folder (current folder: {Path.cwd()})")
    return Path(named)

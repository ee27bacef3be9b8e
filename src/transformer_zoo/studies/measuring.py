"""Measurements of finished runs that stay in their folders: `measured/NAME.json`, which reports read beside the run's own metrics."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformer_zoo.data.rows import FileDataConfig
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.experiments.results import MEASURED, read_run
from transformer_zoo.settings import Config
from transformer_zoo.training import io

logger = logging.getLogger(__name__)

Measure = Callable[[Path, Any], dict[str, Any]]
"""A run and the settings of an evaluation → `{"metrics": …, "notes": …}`."""


@dataclass(kw_only=True)
class Measurement(Config):
    """One measurement of every finished run of a study."""

    words: list[str]
    """What `transformer-zoo evaluate` would be given."""
    score: str | None = None
    """Which of its metrics stands for all of them in tables and curves; null: none."""
    only_data: str | None = None
    """Measure only runs on this kind of data (pocket, text …), for evaluations that need what other data lacks; null: all runs."""
    only_objectives: list[str] = field(default_factory=list)
    """Measure only runs with one of these objectives, for evaluations that ask what other models cannot tell; empty: all runs."""


class Measuring:
    """Measures runs, each once: what is there already for the same words is kept."""

    def __init__(self, measurements: Mapping[str, Measurement], measure: Measure | None = None) -> None:
        self._measurements, self._measure = measurements, measure or _evaluated

    @property
    def measurements(self) -> Mapping[str, Measurement]:
        """What is measured, by name."""
        return self._measurements

    def problems(self) -> list[str]:
        """What is wrong with the measurements' words, known before anything is trained."""
        found = []
        for name, measurement in self._measurements.items():
            try:
                data = getattr(_settings(measurement).evaluation, "data", None)
                if isinstance(data, FileDataConfig):
                    data.files()  # so that files which are not there are named before anything is trained
            except ConfigError as error:
                found += [f"measurement {name}: {problem}" for problem in error.problems]
            except DataError as error:
                found.append(f"measurement {name}: {error}")
        return found

    def missing(self, run: Path) -> dict[str, Measurement]:
        """What is still to be measured of a finished run."""
        found = {}
        for name, measurement in self._measurements.items():
            if measurement.only_data not in (None, _kind(run, "data")):
                logger.info("%s: %s is not measured, since it needs data=%s", run.name, name, measurement.only_data)
                continue
            if measurement.only_objectives and _kind(run, "objective") not in measurement.only_objectives:
                logger.info("%s: %s is not measured, since it needs objective=%s", run.name, name, " or ".join(measurement.only_objectives))
                continue
            kept = _kept(run / MEASURED / f"{name}.json")
            if kept.get("words") != measurement.words or kept.get("score") != measurement.score:
                found[name] = measurement
        return found

    def measure(self, run: Path) -> None:
        """Adds what is missing to the folder of a finished run.

        Raises:
            ZooError: as the evaluation says.
        """
        for name, measurement in self.missing(run).items():
            path = run / MEASURED / f"{name}.json"
            logger.info("%s: measuring %s", run.name, name)
            found = self._measure(run, _settings(measurement))
            if measurement.score is not None and measurement.score not in found["metrics"]:
                raise ConfigError(f"measurement {name}: score={measurement.score} is not among {', '.join(found['metrics'])}")
            document = {"words": measurement.words, "score": measurement.score, **found}
            path.parent.mkdir(exist_ok=True)
            io.replace_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _kept(path: Path) -> dict[str, Any]:
    """What a measurement left; nothing where it was not made or is damaged."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _kind(run: Path, section: str) -> str:
    """What a run chose for a section: its kind of data, its objective."""
    return str(read_run(run).config.get(f"{section}.kind"))


def _settings(measurement: Measurement) -> Any:
    from transformer_zoo.experiments.compose import evaluation

    return evaluation(measurement.words)


def _evaluated(run: Path, settings: Any) -> dict[str, Any]:
    from transformer_zoo.experiments.evaluating import evaluate_run

    return evaluate_run(run, settings.evaluation, device=settings.device, checkpoint=settings.checkpoint)

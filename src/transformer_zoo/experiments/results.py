"""Reads finished and unfinished runs back from their folders alone."""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

NOT_IDENTITY = ("name", "recipe", "seed", "run_dir", "resume", "device", "tracker", "training.log_every")
"""Settings (or sections) that do not make another experiment."""

RUN_FILES = ("status.json", "config.yaml", "metrics.jsonl")
STUDY_FILE = "study.yaml"
MEASURED = "measured"
"""Folder of a run with what was measured after its end, one JSON file for each measurement."""
FINAL_EVALUATION = "final_evaluation"
"""Key of `summary.json`: the evaluation that was made at the end; not there before it."""
ATTENTION_KERNELS = "attention_kernels"
"""Key of `environment.json`: which kernels attention ran by in the first step, one entry for layers that ran alike."""
STARTED_FROM = "started_from"
"""Key of `environment.json` of a run that began with other weights: whose, and how many tensors it took, drew anew and had no place for; their names
stand in a file of that name."""
COMPILATION = "compilation"
"""Key of `environment.json`: whether the model was compiled in the first step, and why; null before it."""
PHASES = "phases"
"""Folder of a run with its earlier phases, each a run folder of its own, by number."""
ADDED_UP = ("steps", "tokens", "predicted_tokens", "flops", "seconds")
"""Costs to which the earlier phases of a run add."""
AXES = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}
"""Name of an axis → its key in metrics.jsonl."""


@dataclass(kw_only=True)
class RunRecord:
    """One run as its folder tells it."""

    path: Path
    status: str = "missing"
    """`done`, `running`, `failed`, `preempted`, `missing` (planned, not there) or `unreadable`."""
    reason: str = ""
    label: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    """Flat: dotted key → value."""
    overrides: tuple[str, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""
    """What went wrong with a cell of a study; a finished run may have failed in a measurement."""
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Measurements made after the end, by name: `metrics`, `notes`, and the `score` that stands for them."""
    levels: dict[str, str] = field(default_factory=dict)
    """Factor → level, as the plan of its study says; empty outside of studies."""
    phases: list[dict[str, Any]] = field(default_factory=list)
    """The summaries of its earlier phases."""

    def size(self, name: str) -> float | None:
        """A number of `summary.json` (parameters, flops, tokens_per_second …), costs with those of earlier phases; None where a part is not known."""
        parts = [self.summary, *self.phases] if name in ADDED_UP else [self.summary]
        values: list[Any] = [_predicted_tokens(part) if name == "predicted_tokens" else part.get(name) for part in parts]
        known = [float(value) for value in values if is_number(value)]
        return sum(known) if len(known) == len(parts) else None

    @property
    def costs(self) -> dict[str, float]:
        """What the whole run cost, with its earlier phases: `steps`, `tokens`, `predicted_tokens`, `flops`, `seconds`, each where it is known."""
        return {name: value for name in ADDED_UP if (value := self.size(name)) is not None}

    @property
    def before(self) -> dict[str, float]:
        """What its earlier phases cost, all zero for a run without: where its own curves begin."""
        alone = RunRecord(path=self.path, summary=dict.fromkeys(ADDED_UP, 0), phases=self.phases)
        return alone.costs

    @property
    def kernels(self) -> tuple[str, ...]:
        """What computed attention and matrix products in the first step, each once and without the places; empty where a run did not tell."""
        told_kernels = self.environment.get(ATTENTION_KERNELS)
        attention = [one for one in told_kernels if isinstance(one, Mapping)] if isinstance(told_kernels, list) else []
        told = [str(one["kernel"]) for one in attention if one.get("kernel")]
        products = self.environment.get("matrix_products")
        return tuple(dict.fromkeys([*told, *([f"matrix products: {products}"] if products else [])]))

    @property
    def ledger(self) -> dict[str, float]:
        """What the run tells of its whole training."""
        return _ledger(self.summary)

    @property
    def seed(self) -> Any:
        """As the settings tell it, None where they do not; what cannot be a seed is told as text."""
        seed = self.config.get("seed")
        return seed if seed is None or is_number(seed) else str(seed)

    def curve(self, metric: str, axis: str) -> list[tuple[float, float]]:
        """Points (x, value) of a metric over `steps`, `tokens` or `seconds`."""
        key = AXES[axis]
        return [(float(line[key]), float(line[metric])) for line in self.history if is_number(line.get(metric)) and is_number(line.get(key))]

    def metrics(self) -> list[str]:
        """Names of everything measured, in order of appearance."""
        names = dict.fromkeys(name for line in self.history for name in line if name not in AXES.values() and is_number(line[name]))
        return list(dict.fromkeys([*names, *self.final()]))

    def final(self) -> dict[str, float]:
        """The last value of every metric; what `summary.json` says wins over the history."""
        told = self.summary.get("metrics", {})
        told = told.get("final", told) if isinstance(told, Mapping) else {}
        told = told if isinstance(told, Mapping) else {}
        return self._last | {name: float(value) for name, value in told.items() if is_number(value)} | self.measured_scores()

    @functools.cached_property
    def _last(self) -> dict[str, float]:
        """The last value of every metric in the history, read once: histories are long and asked often."""
        return {name: float(value) for line in self.history for name, value in line.items() if is_number(value) and name not in AXES.values()}

    def measured_scores(self) -> dict[str, float]:
        """The score of every measurement made after the end, as `validation/sst2_accuracy` for the accuracy of the one named sst2."""
        return {name: value for measurement in self.measured for name, value in self.scores_of(measurement).items()}

    def scores_of(self, measurement: str) -> dict[str, float]:
        """The score of one measurement by the name it has among the metrics; empty where it has none."""
        told = self.measured[measurement]
        score, metrics = told.get("score"), told.get("metrics")
        value: Any = metrics.get(score) if isinstance(score, str) and isinstance(metrics, Mapping) else None
        split, _, metric = str(score).partition("/")
        return {f"{split}/{measurement}_{metric.rpartition('/')[2]}": float(value)} if is_number(value) else {}

    def best(self, metric: str) -> float | None:
        """The best value the metric ever had."""
        values = [float(line[metric]) for line in self.history if is_number(line.get(metric)) and math.isfinite(line[metric])]
        values += [value for name, value in self.final().items() if name == metric and math.isfinite(value)]
        return (max if higher_is_better(metric) else min)(values) if values else None


def higher_is_better(metric: str) -> bool:
    """Whether more of it is better: scores are, losses, perplexities and bits per byte are not."""
    return any(word in metric for word in ("accuracy", "bleu", "chrf", "f1", "matthews", "correlation", "score"))


def is_number(value: Any) -> bool:
    """Whether a value counts something; true and false do not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ledger(summary: Mapping[str, Any]) -> dict[str, float]:
    told = summary.get("ledger")
    return {name: float(value) for name, value in told.items() if is_number(value)} if isinstance(told, Mapping) else {}


def _predicted_tokens(summary: Mapping[str, Any]) -> Any:
    """How many tokens a run was trained to predict, where it tells."""
    return summary.get("predicted_tokens", _ledger(summary).get("masking/predicted_tokens"))


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys; an empty section is kept as `{}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{dotted}.")
        else:
            flat[dotted] = value
    return flat


def is_identity(key: str) -> bool:
    """Whether a setting makes a run another experiment, rather than a repetition or another place to keep it."""
    return not any(key == name or key.startswith(f"{name}.") for name in NOT_IDENTITY)


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, whole or not."""
    return any((folder / name).is_file() for name in RUN_FILES)


def read_run(folder: Path) -> RunRecord:
    """What a run folder tells; damage makes the record `unreadable` with the reason, never an exception."""
    record = RunRecord(path=folder, label=folder.name)
    if not is_run(folder):
        record.reason = "no such run folder"
        return record
    try:
        status = _json(folder / "status.json") if (folder / "status.json").is_file() else {}
        record.status, record.reason = str(status.get("status", "unreadable")), str(status.get("reason") or "")
        if record.status == "unreadable":
            record.reason = "status.json is missing"
        record.summary = _json(folder / "summary.json") if (folder / "summary.json").is_file() else {}
        record.environment = _json(folder / "environment.json") if (folder / "environment.json").is_file() else {}
        if (folder / "config.yaml").is_file():
            settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            if not isinstance(settings, dict):
                raise ValueError("config.yaml does not hold settings")
            record.config = {str(key): value for key, value in flatten(settings).items()}
            if (own := _own_phase(record.config.get("init_from"), folder)) is not None:
                record.config["init_from"] = own
        if (folder / "overrides.txt").is_file():
            lines = (folder / "overrides.txt").read_text(encoding="utf-8").splitlines()
            record.overrides = tuple(line.strip() for line in lines if line.strip())
        record.history = _history(folder / "metrics.jsonl")
        record.measured = {path.stem: _json(path) for path in sorted((folder / MEASURED).glob("*.json"))}
        record.phases = [_phase(path, record.status == "done") for path in sorted((folder / PHASES).glob("[0-9]*"), key=_number)]
    except (OSError, ValueError, yaml.YAMLError) as error:
        record.status, record.reason = "unreadable", " ".join(str(error).split())
    return record


def _own_phase(init_from: Any, folder: Path) -> str | None:
    """`phases/1` where a run began with the weights of a phase of its own, so that runs which differ in the place alone do not differ."""
    if not isinstance(init_from, str):
        return None
    path = Path(init_from).resolve()
    place = folder.resolve() / PHASES
    return path.relative_to(place.parent).as_posix() if path.is_relative_to(place) else None


def _phase(folder: Path, finished: bool) -> dict[str, Any]:
    """The summary of an earlier phase; a run that finished has them all."""
    file = folder / "summary.json"
    if not file.is_file() and finished:
        raise ValueError(f"{PHASES}/{folder.name} has no summary.json, so that what the run cost is not known")
    try:
        return _json(file) if file.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{PHASES}/{folder.name}: {error}") from error


def _number(folder: Path) -> tuple[int, str]:
    return (int(folder.name) if folder.name.isdecimal() else 0, folder.name)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} does not hold an object")
    return content


def _history(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl. A last line without its end was cut off by a crash and is left out."""
    if not path.is_file():
        return []
    history = []
    text = path.read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        try:
            entry = json.loads(line) if line.strip() else {}
        except ValueError:
            if not line.endswith("\n"):
                break
            raise ValueError(f"{path.name}, line {number} is not JSON") from None
        if isinstance(entry, dict) and entry:
            history.append(entry)
    return history

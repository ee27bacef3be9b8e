"""What a study would be, told without training: what each contestant became, what its runs cost, and about how long they would take.

Time is estimated from operations: those of a run over the rate of a large matrix product on the device that the runs would use, of which training is
taken to reach a share (`SHARE`). Reading data, evaluations and what runs beside it are not in it, so it tells hours from days and no more. A budget
in seconds is taken at its word.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch

from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.studies.cells import Compose, Study
from transformer_zoo.studies.costs import Costs, Price, pricer
from transformer_zoo.training.parallel import World
from transformer_zoo.training.precision import resolve_device

SHARE = 0.4
"""Of the rate of a large product, what training reaches."""
PRODUCT = 1024
"""Rows and columns of that product."""
PRODUCTS = 8
"""Of which the fastest tells the rate."""
SHAPE = ("d_model", "n_layers", "n_heads", "d_ff")
RATIOS = ("parameters", "flops", "steps", "tokens", "predicted_tokens")
COLUMNS = {
    "name": "contestant",
    "d_model": "width",
    "n_layers": "layers",
    "n_heads": "heads",
    "d_ff": "d_ff",
    "parameters": "parameters",
    "parameters_without_embeddings": "without embeddings",
    "flops": "FLOPs",
    "steps": "steps",
    "tokens": "tokens",
    "predicted_tokens": "predicted",
    "seconds_per_run": "a run",
    "runs": "runs",
}


def product_rate(device: torch.device) -> float:
    """Floating-point operations a second of a large float32 product on a device."""
    matrix = torch.randn(PRODUCT, PRODUCT, device=device, generator=torch.Generator(device).manual_seed(0))
    seconds = []
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - began)
    return 2.0 * PRODUCT**3 / min(seconds)


def estimate(study: Study, compose: Compose, *, price: Price | None = None, rate: float | None = None) -> dict[str, Any]:
    """The plan with costs and times as plain data; `ratio` compares with the first contestant. What phases cost is added up. `rate` (operations a
    second of a large product) is measured where it is not given.

    Raises:
        DataError: the data is not there, so that nothing can be told of its rows.
    """
    price = price or pricer()
    first = {cell.label: cell for cell in reversed(study.cells)}
    known = {one.name: one.costs for one in study.contestants}
    rate = rate or product_rate(resolve_device(study.cells[0].config.device, World.from_environment()))
    rows: list[dict[str, Any]] = []
    for label in dict.fromkeys(cell.label for cell in study.cells):
        cell = first[label]
        phases = [(config, price(config)) for config in map(compose, cell.phases)]
        phases.append((cell.config, known.get(label) or price(cell.config)))
        row = _row(label, phases, SHARE * rate) | {"runs": sum(one.label == label for one in study.cells)}
        row["ratio"] = {key: _ratio(row[key], (rows or [row])[0][key]) for key in RATIOS}
        rows.append(row)
    return {
        "contestants": rows,
        "seconds": sum(row["seconds_per_run"] * row["runs"] for row in rows),
        "runs": len(study.cells),
        "basis": f"operations over {SHARE:.0%} of {rate:.3g} a second, the rate of a large product here; without data and evaluations",
    }


def plan_table(found: dict[str, Any]) -> list[str]:
    """What `estimate` found as lines for a terminal, a contestant's ratio to the first in brackets."""
    lines = [list(COLUMNS.values()), *(_told(row) for row in found["contestants"])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    table = [
        "  ".join(word.ljust(width) if not i else word.rjust(width) for i, (word, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    return [*table, f"about {duration(found['seconds'])} for {found['runs']} runs one after another ({found['basis']})"]


def duration(seconds: float) -> str:
    """In the unit one would say it in."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _row(label: str, phases: Sequence[tuple[ExperimentConfig, Costs]], speed: float) -> dict[str, Any]:
    """One contestant; the last phase says what the model is."""
    config, costs = phases[-1]

    def total(measure: str) -> float | None:
        amounts = [getattr(one, measure) for _, one in phases]
        return None if None in amounts else sum(amounts)

    return {
        "name": label,
        **{name: getattr(config.model, name, None) for name in SHAPE},
        "parameters": costs.parameters,
        "parameters_without_embeddings": costs.parameters - costs.parameters_embedding,
        **{measure: total(measure) for measure in ("flops", "steps", "tokens", "predicted_tokens")},
        "seconds_per_run": sum(one.training.seconds or 0.0 if own.flops is None else own.flops / speed for one, own in phases),
    }


def _ratio(value: float | None, first: float | None) -> float | None:
    return None if value is None or not first else value / first


def _told(row: dict[str, Any]) -> Sequence[str]:
    words = []
    for key in COLUMNS:
        value = row[key]
        if value is None:
            word = "by the clock" if key in RATIOS else "–"
        elif key == "flops":
            word = f"{value:.3g}"
        elif key == "seconds_per_run":
            word = duration(value)
        else:
            word = value if key == "name" else f"{value:,.0f}"
        ratio = row["ratio"].get(key)
        words.append(word if ratio is None else f"{word} ({ratio:.2f})")
    return words

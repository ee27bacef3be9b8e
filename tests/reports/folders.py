"""Run folders made up for tests of reports."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ENVIRONMENT = {
    "versions": {"transformer-zoo": "1.0", "torch": "2.6"},
    "code": {"commit": "a" * 40, "changed": False},
    "device": {"type": "cpu", "name": "A CPU"},
    "threads": 2,
    "world_size": 1,
    "data_fingerprint": "text-1",
    "tokenizer_fingerprint": "words-1",
}


def write_run(
    folder: Path,
    *,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    status: str = "done",
    reason: str = "",
    summary: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> Path:
    """One run; what is not given is the same for all."""
    folder.mkdir(parents=True)
    settings = {"seed": seed, "run_dir": str(folder), "model": {"kind": "bert"}, "objective": {"kind": "mlm"}, "optimizer": {"lr": 0.001}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | dict(config or {})))
    (folder / "status.json").write_text(json.dumps({"status": status, "reason": reason}))
    (folder / "environment.json").write_text(json.dumps(ENVIRONMENT | dict(environment or {})))
    if status == "done":
        sizes = {"parameters": 1000, "steps": 20, "tokens": 2000, "flops": 4e6, "seconds": 2.0, "tokens_per_second": 1000.0, "peak_memory_bytes": 9}
        final = {"validation/loss": 2.0} if metrics is None else dict(metrics)
        (folder / "summary.json").write_text(json.dumps({"status": "done", **sizes, **(summary or {}), "metrics": {"final": final}}))
    return folder


def write_study(folder: Path, losses: Mapping[str, Sequence[float]], *, declared: Sequence[str] | None = ("model",), **more: Any) -> Path:
    """A study of models (label → loss of each seed), with its plan."""
    cells = []
    for model, values in losses.items():
        for seed, loss in enumerate(values):
            run = f"runs/{model}-{seed}"
            write_run(folder / run, seed=seed, config={"model": {"kind": model}}, metrics={"validation/loss": loss})
            cells.append({"label": model, "seed": seed, "run": run, "failure": "", "levels": {"model": model}})
    plan = {"kind": "compare", "cells": cells, **({} if declared is None else {"declared": list(declared)}), **more}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(plan))
    return folder

"""`metrics.jsonl`: one line per log, appended and flushed, never twice for the same step."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer_zoo.training import io
from transformer_zoo.training.rundir import finite


class MetricsFile:
    """Lines of `{"step", "tokens", "seconds", "train/loss" …}`. A value that is not finite is null, and `not_finite` names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, *, step: int, tokens: int, seconds: float, values: Mapping[str, float]) -> None:
        record: dict[str, Any] = {"step": step, "tokens": tokens, "seconds": round(seconds, 3), **values}
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            record["not_finite"] = bad
        io.append_line(self.path, json.dumps(finite(record), allow_nan=False))

    def drop_after(self, step: int) -> None:
        """Cut the lines of later steps, and one left half written, when a run goes on from `step`."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
        io.replace_bytes(self.path, "".join(kept).encode())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file in order; a last line still being written is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records

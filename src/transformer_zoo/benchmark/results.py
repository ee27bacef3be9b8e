"""What was measured, kept in one file: each suite with its rows, its settings and the machine; and the tables made of it."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transformer_zoo.benchmark.records import Comparison
from transformer_zoo.errors import DataError

FILE = "speed.json"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One suite as it was measured last."""

    suite: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    rows: list[Comparison]

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return {"settings": self.settings, "machine": self.machine, "rows": [asdict(row) for row in self.rows]}


def read(path: Path) -> dict[str, Kept]:
    """What a file holds, by suite; nothing where there is no file.

    Raises:
        DataError: it is not such a file.
    """
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))["suites"]
        return {
            suite: Kept(suite=suite, settings=kept["settings"], machine=kept["machine"], rows=[Comparison(**row) for row in kept["rows"]])
            for suite, kept in document.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise DataError(f"{path} holds no results of `transformer-zoo benchmark` ({problem}): move it away or name another output=DIR") from problem


def keep(path: Path, kept: Kept) -> None:
    """Put a suite into a file in the place of what it said before; other suites stay."""
    suites = {name: one.document() for name, one in (read(path) | {kept.suite: kept}).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".tmp-{os.getpid()}")
    temporary.write_text(json.dumps({"suites": suites}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def table(suites: Iterable[Kept]) -> str:
    """Markdown: a heading, the machine and a table of ratios for every suite."""
    return "\n\n".join("\n\n".join([f"## {kept.suite}", _machine(kept), _ratios(kept.rows)]) for kept in suites)


def _machine(kept: Kept) -> str:
    machine, versions = kept.machine.get("machine", {}), kept.machine.get("versions", {})
    device = kept.machine.get("device", {})
    facts = [
        str(device.get("name", "unknown device")),
        f"{machine.get('usable_cores', '?')} usable cores",
        f"{kept.machine.get('threads', '?')} threads",
        f"torch {versions.get('torch', '?')}",
        _rounds(kept),
    ]
    return ", ".join(facts + (["tiny shapes: the figures mean nothing"] if kept.settings.get("quick") else []))


def _rounds(kept: Kept) -> str:
    """How often the rows were measured, by their own account."""
    told = sorted({int(row.numbers["rounds"]) for row in kept.rows if "rounds" in row.numbers})
    if not told:
        return f"{kept.settings.get('rounds', '?')} rounds"
    return "one run each" if told == [1] else f"{' or '.join(map(str, told))} rounds"


def _ratios(rows: Sequence[Comparison]) -> str:
    lines = ["| what | against | ratio | quartiles | target | |", "|---|---|---:|---:|---:|---|"]
    words = {True: "met", False: "**not met**", None: ""}
    for row in rows:
        ours = "" if row.ours == "ours" else f" ({row.ours})"
        target = "" if row.target is None else f"{row.target:.3g}×"
        lines.append(f"| {row.row}{ours} | {row.peer} | {row.ratio:.2f}× | {row.low:.2f}–{row.high:.2f} | {target} | {words[row.met]} |")
    return "\n".join(lines)

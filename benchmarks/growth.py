"""Measures how cost grows: `python benchmarks/growth.py [rounds=N] [threads=N] [axes=width,length,…]`; `page` draws anew what
was kept.

Every axis (width, depth, length, vocabulary, batch, accumulation) is measured as `transformer_zoo.benchmark.growing` says, with the trainer's own
step: medians of interleaved rounds, and the peak of a process of its own. What was measured goes to `benchmarks/results/growth.json` (axes that
are not measured stay as they are), figures to `docs/figures/`, and the tables between the markers of `docs/performance.md`. All axes take five
minutes on two cores.
"""

import sys
from pathlib import Path

sys.path.sort(key=lambda folder: folder == str(Path(__file__).parent))  # last: profile.py here is not the standard library's

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from transformer_zoo.benchmark.growing import BASE, CURVES, UNITS, Curve, exponent, measure
from transformer_zoo.benchmark.running import machine
from transformer_zoo.reports.svg import Series, figure, line_chart

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "growth.json"
PAGE = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "docs" / "figures"
BEGIN, END = "<!-- growth: begin -->", "<!-- growth: end -->"
THREADS, ROUNDS = 2, 7
AXES = tuple(UNITS)


def curves_of(axis: str) -> list[Curve]:
    return [curve for curve in CURVES if curve.axis == axis]


def measured(axes: Sequence[str], rounds: int, words: Sequence[str]) -> dict[str, Any]:
    """Each axis with its curves, and how and where it was measured."""
    facts = machine(torch.device("cpu"))
    told = {
        "command": " ".join(["python benchmarks/growth.py", *words]),
        "rounds": rounds,
        "machine": {**facts["machine"], "threads": facts["threads"], "versions": facts["versions"]},
    }
    found = {}
    for axis in axes:
        curves = {
            growth.curve: {"points": list(curve.points), **{key: value for key, value in asdict(growth).items() if key != "curve"}}
            for curve, growth in zip(curves_of(axis), measure(curves_of(axis), rounds=rounds, told=logging.info), strict=True)
        }
        found[axis] = {**told, "curves": curves}
    return found


def table(kept: dict[str, Any]) -> str:
    """Exponents of every curve, as Markdown."""
    lines = [
        "| what grows | from … to | time: all points, upper half | operations, upper half | time in theory | memory: all points, upper half |"
        " memory in theory | attention ran by |",
        "|---" * 8 + "|",
    ]
    for curve in (curve for curve in CURVES if curve.axis in kept):
        found = kept[curve.axis]["curves"][curve.key]
        points = found["points"]

        def fitted(name: str, *, found: dict[str, Any] = found, points: list[int] = points) -> str:
            return f"{exponent(points, found[name]):.2f}, **{exponent(points, found[name], upper=True):.2f}**"

        operations = exponent(points, found["operations"], upper=True)
        cells = [
            curve.key,
            f"{points[0]} … {points[-1]} {UNITS[curve.axis]}",
            fitted("seconds"),
            f"{operations + 0.0:.2f}",
            curve.seconds,
            fitted("bytes"),
            curve.memory,
            "<br>".join(dict.fromkeys(found["kernels"])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def values(kept: dict[str, Any], axis: str) -> str:
    """Milliseconds and MiB of every point of an axis, as Markdown."""
    curves = kept[axis]["curves"]
    points = next(iter(curves.values()))["points"]
    lines = [f"| {UNITS[axis]} | {' | '.join(curve.name for curve in curves_of(axis))} |", "|---" * (len(curves) + 1) + "|"]
    for number, point in enumerate(points):
        cells = [f"{found['seconds'][number] * 1e3:.0f} ms, {found['bytes'][number] / 2**20:.0f} MiB" for found in curves.values()]
        lines.append(f"| {point} | {' | '.join(cells)} |")
    return "\n".join(lines)


def drawing(kept: dict[str, Any], axis: str) -> str:
    """Time and memory over an axis, both logarithmic."""

    def lines(value: Callable[[dict[str, Any], int], float]) -> list[Series]:
        curves = [kept[axis]["curves"][curve.key] for curve in curves_of(axis)]
        return [
            Series(label=curve.name, colour=colour, points=[(float(point), value(found, i)) for i, point in enumerate(found["points"])])
            for colour, (curve, found) in enumerate(zip(curves_of(axis), curves, strict=True))
        ]

    def titled(title: str, value: Callable[[dict[str, Any], int], float]) -> tuple[str, str]:
        return title, line_chart(lines(value), name=f"{title} over {axis}", x_label=UNITS[axis], logarithmic=True)

    return figure(
        [titled("seconds a step", lambda found, i: found["seconds"][i]), titled("MiB at the peak", lambda found, i: found["bytes"][i] / 2**20)]
    )


def section(kept: dict[str, Any]) -> str:
    """All that stands between the markers."""
    parts = [
        "A step is the trainer's own: forward, loss, backward, clipping, fused AdamW, on a CPU in single precision without dropout. Where an axis "
        f"does not say otherwise, a masked language model of {BASE.n_layers} layers, width {BASE.d_model} and {BASE.vocab_size} tokens of vocabulary "
        f"reads {BASE.batch_size} rows of {BASE.length} tokens; over lengths it reads one row, over vocabularies a causal one scores every position. "
        "Memory is what training adds to a fresh process at its peak, weights and the optimiser's state included.",
        "An exponent is the slope of a line through the points in logarithms: twice the size costs 2^exponent times as much. *Operations* are "
        "counted in the forward at the very same points, so that they show what time would be if nothing but arithmetic counted.",
        table(kept),
    ]
    for axis in kept:
        found, names = kept[axis], [curve.name for curve in curves_of(axis)]
        legend = f"Lines, from the first colour on: {'; '.join(names)}.\n\n" if len(names) > 1 else ""
        where = found["machine"]
        parts.append(
            f"### {axis.capitalize()}\n\n![time and memory over {axis}](figures/growth_{axis}.svg)\n\n{legend}{values(kept, axis)}\n\n"
            f"`{found['command']}`: interleaved rounds: {found['rounds']}; threads: {where['threads']}; cores: {where['usable_cores']} "
            f"({where['processor']}); PyTorch {where['versions']['torch']}."
        )
    return "\n\n".join(parts)


def paged(page: str, kept: dict[str, Any]) -> str:
    """The page with the section put between its markers."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{section(kept)}\n\n{END}{after}"


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    words = sys.argv[1:]
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    if words != ["page"]:
        given = dict(word.split("=") for word in words)
        torch.set_num_threads(int(given.get("threads", THREADS)))
        axes = given.get("axes", ",".join(AXES)).split(",")
        kept |= measured(axes, int(given.get("rounds", ROUNDS)), words)
        kept = {axis: kept[axis] for axis in AXES if axis in kept}
        RESULT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    for axis in kept:
        (FIGURES / f"growth_{axis}.svg").write_text(drawing(kept, axis), encoding="utf-8")
    PAGE.write_text(paged(PAGE.read_text(encoding="utf-8"), kept), encoding="utf-8")
    print(table(kept))


if __name__ == "__main__":
    main()

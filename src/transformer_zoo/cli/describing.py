"""The text of `transformer-zoo describe`."""

from collections.abc import Iterable, Sequence

from transformer_zoo.experiments.describe import Description, Picture
from transformer_zoo.experiments.lineage import Step

DRAWN = 4
"""Masks that are drawn, at most: a model may have another one in every layer (BigBird)."""


def text(found: Description) -> str:
    """A page about one model: sizes, parts, masks, ancestry."""
    return "\n".join([*_head(found), "", *_parts(found), *_masks(found.masks), *_lineage(found.lineage)])


def _head(found: Description) -> list[str]:
    each, count = found.operations_per_token, found.parameters
    layers = [f"{layer.name} ({layer.kind}, {layer.parameters:,} parameters)" for layer in found.training_layers]
    return [
        f"{found.model} ({found.shape}) with objective {found.objective}" + (f", {found.paper}" if found.paper else ""),
        f"which encoder          {found.encoder or 'none'}",
        f"which decoder          {found.decoder or 'none'}",
        f"which training layers  {', '.join(layers)}",
        f"parameters             {count.total:,}: body {count.body:,} (with pooler {count.body_and_pooler:,}), {count.embeddings:,} of them in "
        f"embeddings; vocabulary {found.vocabulary:,}",
        f"operations             {_operations(each)} per token forward, {_operations(found.training_operations_per_token)} in training, at sequence "
        f"length {found.sequence_length}",
    ]


def _parts(found: Description) -> list[str]:
    rows = [("part", "layers", "shapes", "parameters", "share", "operations/token")]
    for part in found.parts:
        parameters, share = (f"{part.parameters:,}", f"{part.parameters / found.parameters.total:.1%}") if part.parameters else ("–", "–")
        rows.append((part.name, str(part.count), ", ".join(part.shapes), parameters, share, _operations(part.operations)))
    return list(_table(rows, right=(1, 3, 4, 5)))


def _masks(pictures: Sequence[Picture]) -> list[str]:
    lines: list[str] = []
    for one in pictures[:DRAWN]:
        lines += ["", f"{one.name} ({one.layers} {'layer' if one.layers == 1 else 'layers'}, {one.tokens} tokens)"]
        everything = all(set(row) == {"█"} for row in one.rows)
        lines += ["  every token sees every token"] if everything else [f"  {row}" for row in one.rows]
    if len(pictures) > DRAWN:
        lines += ["", f"and {len(pictures) - DRAWN} more (--json has all of them)"]
    if any(cell in row for one in pictures for row in one.rows for cell in "·▒"):
        lines += ["  a row is what a token sees, from the first token to the last: █ all, ▒ some, · none"]
    return lines


def _lineage(steps: Sequence[Step]) -> list[str]:
    lines: list[str] = []
    for step in steps:
        if not step.differences:
            lines += ["", f"{step.model} is the same as its ancestor {step.ancestor}"]
            continue
        rows = [("setting", step.ancestor, step.model), *((one.key, _value(one.ancestor), _value(one.here)) for one in step.differences)]
        lines += ["", f"what {step.model} changed in its ancestor {step.ancestor}:", *_table(rows)]
    return lines


def _value(value: object) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _operations(count: float) -> str:
    if count == 0:
        return "–"
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}FLOP"
    return f"{count:.3g} FLOP"


def _table(rows: Sequence[Sequence[str]], right: tuple[int, ...] = ()) -> Iterable[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.rjust(width) if column in right else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True)))
        yield "  " + "  ".join(cells).rstrip()

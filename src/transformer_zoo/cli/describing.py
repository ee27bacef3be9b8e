"""The text of `transformer-zoo describe`."""

from collections.abc import Iterable, Sequence

from transformer_zoo.experiments.describe import TRAINING_PASSES, Description, Picture


def text(found: Description) -> str:
    """A page about one model: sizes, parts, masks, ancestry."""
    return "\n".join([*_head(found), "", *_parts(found), *_masks(found.masks), *_differences(found)])


def _head(found: Description) -> list[str]:
    each = found.operations_per_token
    return [
        f"{found.model} ({found.shape}) with objective {found.objective}" + (f", {found.paper}" if found.paper else ""),
        f"{found.parameters:,} parameters, {found.parameters_embedding:,} of them in embeddings; vocabulary {found.vocabulary:,}; "
        f"heads: {', '.join(found.heads)}",
        f"{_operations(each)} per token forward, about {_operations(TRAINING_PASSES * each)} in training, at sequence length {found.sequence_length}",
    ]


def _parts(found: Description) -> list[str]:
    rows = [("part", "layers", "shapes", "parameters", "share", "operations/token")]
    for part in found.parts:
        parameters, share = (f"{part.parameters:,}", f"{part.parameters / found.parameters:.1%}") if part.parameters else ("–", "–")
        rows.append((part.name, str(part.count), ", ".join(part.shapes), parameters, share, _operations(part.operations)))
    return list(_table(rows, right=(1, 3, 4, 5)))


def _masks(pictures: Sequence[Picture]) -> list[str]:
    lines: list[str] = []
    for one in pictures:
        lines += ["", f"{one.name} ({one.layers} {'layer' if one.layers == 1 else 'layers'}, {one.tokens} tokens)"]
        everything = all(set(row) == {"█"} for row in one.rows)
        lines += ["  every token sees every token"] if everything else [f"  {row}" for row in one.rows]
    if any(cell in row for one in pictures for row in one.rows for cell in "·▒"):
        lines += ["  a row is what a token sees, from the first token to the last: █ all, ▒ some, · none"]
    return lines


def _differences(found: Description) -> list[str]:
    if found.ancestor is None:
        return []
    if not found.differences:
        return ["", f"the same as its ancestor {found.ancestor}"]
    rows = [("setting", found.ancestor, "here"), *((one.key, _value(one.ancestor), _value(one.here)) for one in found.differences)]
    return ["", f"what differs from its ancestor {found.ancestor}:", *_table(rows)]


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

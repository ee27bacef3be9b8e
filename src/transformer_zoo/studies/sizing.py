"""Sizes a model so that it comes to a wanted number of parameters, or of operations, and stays in proportion.

First the width is sought, in steps that leave heads whole and even; `d_ff` follows it. The rest, a few per cent, is made up by `d_ff` in steps of 8.
Where that would make heads more than twice as wide or narrow as the recipe's, the number of heads follows the width instead; where that does not
come close either, or the width is fixed, the depth moves.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from transformer_zoo.models.base import ModelConfig

Measured = Callable[[ModelConfig], float]
"""What is to be made equal: grows with width, depth and d_ff."""
Values = dict[str, int]
"""Path of a setting below `model` → its value."""

WIDTH, DEPTH, HEADS, INNER = "d_model", "n_layers", "n_heads", "d_ff"
NAMES = (WIDTH, DEPTH, HEADS, INNER)
STEP = 8
"""Of d_ff."""
FAR = 16
"""Steps of d_ff over which its weight is measured."""
STRETCH = 2.0
"""Heads become at most so many times wider or narrower."""
SQUEEZE = 1.5
"""d_ff becomes at most so many times larger or smaller than in proportion to the width."""
DEPTHS = 12
"""Other depths that are tried."""


@dataclass(frozen=True, kw_only=True)
class Sized:
    """A size that was found."""

    values: Values
    """Settings that differ from the recipe's."""
    reached: float
    """Of what is measured."""


def has_size(model: ModelConfig) -> bool:
    return all(hasattr(model, name) for name in (WIDTH, DEPTH, HEADS, INNER))


def size_to(model: Any, wanted: float, measured: Measured, *, pinned: Iterable[str] = (), near: float) -> Sized:
    """The first size, in the order above, that comes within the share `near` of what is wanted; the closest where none does. `pinned` are the names
    of settings that must stay."""
    fixed, best = frozenset(pinned), None
    for depth in _depths(model, DEPTH in fixed):
        heads: int | None = None
        while True:
            found = _fit(model, wanted, measured, _Plan(depth=depth, heads=heads), fixed)
            if found is not None and _off(found.reached, wanted) <= near and _stretch(model, found.values) <= STRETCH:
                return found
            if found is not None and (best is None or _badness(model, found, wanted, near) < _badness(model, best, wanted, near)):
                best = found
            if found is None or heads is not None or WIDTH not in found.values or not _heads_may_follow(model, fixed):
                break
            heads = max(1, round(found.values[WIDTH] * model.n_heads / model.d_model))
            if heads == model.n_heads:
                break
    return best or Sized(values={}, reached=measured(model))


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Of what the width is sought."""

    depth: float
    """Times the recipe's."""
    heads: int | None
    """None: the recipe's."""


def _depths(model: Any, fixed: bool) -> list[float]:
    """Factors of the depth, the nearest first."""
    n = model.n_layers
    others = sorted((k for k in range(1, 4 * n + 1) if k != n), key=lambda k: abs(math.log(k / n)))
    return [1.0] if fixed else [1.0, *(k / n for k in others[:DEPTHS]), *(factor for factor in (0.25, 4.0) if n * factor >= 1)]


def _heads_may_follow(model: Any, fixed: frozenset[str]) -> bool:
    """Whether nothing else hangs on the number of heads."""
    ties = getattr(model.attention, "head_width", None) or getattr(model.attention, "n_kv_heads", None)
    return HEADS not in fixed and not ties and len(set(_all(model, HEADS).values())) == 1


def _fit(model: Any, wanted: float, measured: Measured, plan: _Plan, fixed: frozenset[str]) -> Sized | None:
    """The size closest to what is wanted that a plan allows."""
    movable = INNER not in fixed
    base = {path: max(1, round(n * plan.depth)) for path, n in _all(model, DEPTH).items()}
    base |= {} if plan.heads is None else dict.fromkeys(_all(model, HEADS), plan.heads)
    unit = 2 * (plan.heads or math.lcm(*_all(model, HEADS).values()))

    def at(units: int) -> Values:
        if WIDTH in fixed:
            return base
        width = units * unit
        inner = {path: max(STEP, STEP * round(n * width / model.d_model / STEP)) for path, n in _all(model, INNER).items()}
        return base | {WIDTH: width} | (inner if movable else {})

    @cache
    def reach(units: int) -> float:
        return _reach(model, at(units), measured)

    chosen = [1] if WIDTH in fixed else _around(reach, wanted, max(1, round(model.d_model / unit)))
    found = [fitted for units in chosen if (fitted := _with_inner(model, at(units), wanted, measured, movable=movable)) is not None]
    return min(found, key=lambda one: _off(one.reached, wanted), default=None)


def _around(reach: Callable[[int], float], wanted: float, guess: int) -> list[int]:
    """The neighbouring whole numbers between which a growing function passes `wanted`; a few guesses by a power law, then halving."""
    low, high = 0, 0  # reach(low) < wanted <= reach(high), where they are set
    units = guess
    while not high or high - low > 1:
        value = reach(units)
        low, high = (units, high) if value < wanted else (low, units)
        guessed = round(units * math.sqrt(wanted / max(value, 1.0)))
        if not high:
            units = max(units + 1, guessed)
        else:
            units = guessed if low < guessed < high else (low + high) // 2
    return [units for units in (low, high) if units]


def _with_inner(model: Any, values: Values, wanted: float, measured: Measured, *, movable: bool) -> Sized | None:
    """These sizes with d_ff moved in steps of 8, all sides in proportion, to where what is measured, which is linear in it, comes closest."""
    if _problems(model, values):
        return None
    reached = _reach(model, values, measured)
    best = Sized(values=_changed(model, values), reached=reached)
    if not movable:
        return best
    inner = {path: values.get(path, n) for path, n in _all(model, INNER).items()}

    def moved(steps: int) -> Values:
        return values | {path: n + STEP * round(steps * n / inner[INNER]) for path, n in inner.items()}

    slope = (_reach(model, moved(FAR), measured) - reached) / FAR
    least, most = -math.floor(inner[INNER] * (1 - 1 / SQUEEZE) / STEP), math.floor(inner[INNER] * (SQUEEZE - 1) / STEP)
    steps = max(least, min(most, round((wanted - reached) / slope))) if slope else 0
    if not steps:
        return best
    other = Sized(values=_changed(model, moved(steps)), reached=_reach(model, moved(steps), measured))
    return min(best, other, key=lambda one: _off(one.reached, wanted))


def _badness(model: Any, found: Sized, wanted: float, near: float) -> tuple[bool, float]:
    """Too far from what is wanted; then how far from it, or, where it is near, out of proportion."""
    off = _off(found.reached, wanted)
    return (True, off) if off > near else (False, _stretch(model, found.values))


def _off(reached: float, wanted: float) -> float:
    return abs(reached / wanted - 1)


def _stretch(model: Any, values: Values) -> float:
    """How many times wider, or narrower, heads are than the recipe's."""
    ratio = values.get(WIDTH, model.d_model) / values.get(HEADS, model.n_heads) / (model.d_model / model.n_heads)
    return max(ratio, 1 / ratio)


def _problems(model: Any, values: Values) -> list[str]:
    found: list[str] = apply(model, values).problems()
    return found


def _reach(model: Any, values: Values, measured: Measured) -> float:
    return measured(apply(model, values))


def _changed(model: Any, values: Values) -> Values:
    return {path: value for path, value in values.items() if _at(model, path) != value}


def _all(model: Any, name: str) -> Values:
    """A setting wherever it stands: on the model, and on a side that has its own."""
    sides = {f"{side}.{name}": getattr(getattr(model, side, None), name, None) for side in ("encoder", "decoder")}
    return {name: getattr(model, name)} | {path: value for path, value in sides.items() if value is not None}


def _at(model: Any, path: str) -> Any:
    for name in path.split("."):
        model = getattr(model, name)
    return model


def apply(model: Any, values: Mapping[str, int]) -> Any:
    """The model's settings with these in their place."""
    for path, value in values.items():
        side, dot, name = path.rpartition(".")
        model = replace(model, **({side: replace(getattr(model, side), **{name: value})} if dot else {path: value}))
    return model

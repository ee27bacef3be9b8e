"""Two more kinds of drawing: points in a plane with a front through some of them, and bars of stacked parts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from transformer_zoo.reports.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    N_COLOURS,
    RIGHT,
    TOP,
    WIDTH,
    drawing,
    frame,
    linear_scale,
    log_scale,
    log_ticks,
    nice_ticks,
    padded,
    short_number,
)

LONGEST = 48
"""Letters of a bar's label."""
WIDE = 8.0
"""From this ratio of largest to smallest on, an axis of costs is logarithmic."""


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One point; `spread` is half the length of its vertical bar. `number`: what is written beside it, 0 for nothing."""

    label: str
    x: float
    y: float
    colour: int
    spread: float | None = None
    number: int = 0


def scatter_chart(dots: Sequence[Dot], *, name: str, x_label: str) -> str:
    """Points with their spread; those with a number are joined by a stepped line in the order of x, and the others are pale."""
    edges = [dot.y + side * (dot.spread or 0.0) for dot in dots for side in (-1, 1)]
    y_low, y_high = padded(edges)
    low, high = min(dot.x for dot in dots), max(dot.x for dot in dots)
    logarithmic = low > 0 and high / low >= WIDE
    x_low, x_high = (low / 1.25, high * 1.25) if logarithmic else padded([low, high])
    x = (log_scale if logarithmic else linear_scale)(x_low, x_high, LEFT, WIDTH - RIGHT)
    y = linear_scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    x_ticks = [(x(tick), short_number(tick)) for tick in (log_ticks(x_low, x_high) if logarithmic else nice_ticks(x_low, x_high, 5))]
    body = frame(x_ticks, [(y(tick), short_number(tick)) for tick in nice_ticks(y_low, y_high)], f"{x_label}{' (log)' if logarithmic else ''}")
    front = sorted((dot for dot in dots if dot.number), key=lambda dot: dot.x)
    if len(front) > 1:
        path = f"M{x(front[0].x):.1f} {y(front[0].y):.1f}" + "".join(f"H{x(dot.x):.1f}V{y(dot.y):.1f}" for dot in front[1:])
        body.append(f'<path class="front" d="{path}"/>')
    for dot in sorted(dots, key=lambda dot: dot.number):
        at, high_up, colour = x(dot.x), y(dot.y), f"c{dot.colour % N_COLOURS}"
        if dot.spread:
            ends = y(dot.y - dot.spread), y(dot.y + dot.spread)
            body.append(f'<line class="whisker thin {colour}" x1="{at:.1f}" x2="{at:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"/>')
        spread = f" ± {dot.spread:.2g}" if dot.spread is not None else ""
        tip = escape(f"{dot.label}: {dot.y:.4g}{spread} at {short_number(dot.x)} {x_label}")
        pale = "" if dot.number else " off"
        body.append(f'<circle class="dot{pale} {colour}" cx="{at:.1f}" cy="{high_up:.1f}" r="4.5"><title>{tip}</title></circle>')
        if dot.number:
            side, anchor = (-7, "end") if at > WIDTH - RIGHT - 20 else (7, "start")
            body.append(f'<text class="name" x="{at + side:.1f}" y="{high_up - 6:.1f}" text-anchor="{anchor}">{dot.number}</text>')
    return drawing(body, name)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: its label and (name of the part, amount) from left to right."""

    label: str
    parts: Sequence[tuple[str, float]]

    @property
    def total(self) -> float:
        return sum(amount for _, amount in self.parts)


def bar_chart(bars: Sequence[Bar], *, name: str, x_label: str) -> str:
    """Stacked bars, one below the other, on a common scale from zero; parts have the colours of their place in the list of all parts."""
    names = part_names(bars)
    gap, head = 40, 14
    floor = TOP + len(bars) * gap
    largest = max((bar.total for bar in bars), default=0.0) or 1.0
    x = linear_scale(0.0, largest * 1.02, 12, WIDTH - 12)
    body = []
    for tick in nice_ticks(0.0, largest * 1.02, 5):
        body.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{floor}"/>')
        body.append(f'<text class="tick" x="{x(tick):.1f}" y="{floor + 15}" text-anchor="middle">{short_number(tick)}</text>')
    body.append(f'<text class="tick" x="{WIDTH / 2}" y="{floor + 33}" text-anchor="middle">{escape(x_label)}</text>')
    for number, bar in enumerate(bars):
        top, start = TOP + number * gap + head, 0.0
        label = bar.label if len(bar.label) <= LONGEST else f"{bar.label[: LONGEST - 1]}…"
        body.append(f'<text class="name" x="12" y="{top - 2}">{escape(label)}</text>')
        for part, amount in bar.parts:
            left, right = x(start), x(start + amount)
            start += amount
            if right - left < 0.05 or not math.isfinite(right):
                continue
            place = names.index(part)
            tip = escape(f"{bar.label}: {part} {short_number(amount)} {x_label} ({100 * amount / bar.total:.1f}%)")
            shape = f"bar c{place % N_COLOURS}{' pale' if place >= N_COLOURS else ''}"
            box = f'x="{left:.1f}" y="{top + 3}" width="{right - left:.1f}" height="16"'
            body.append(f'<rect class="{shape}" {box}><title>{tip}</title></rect>')
    return drawing(body, name, floor + 38)


def part_names(bars: Sequence[Bar]) -> list[str]:
    """Every part once, in order of appearance."""
    return list(dict.fromkeys(name for bar in bars for name, _ in bar.parts))

"""Charts as SVG: text in, text out, no plotting library. Colours are classes (`.c0` … `.c7`) that follow the reader's light or dark mode."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

N_COLOURS = 8
WIDTH, HEIGHT = 380, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 38
MOST_MARKED_POINTS = 60
"""A longer line has a mark at its end only, and so have all lines of a chart with more than four times as many points in all."""

Point = tuple[float, float]
_VIEW_BOX = re.compile(rf'viewBox="0 0 {WIDTH} (\d+)"')

PALETTE = """:root{color-scheme:light dark;--page:#fff;--card:#f6f7f9;--ink:#16191d;--soft:#5b6470;--rule:#dfe3e8;
--s0:#0b6bcb;--s1:#d1600a;--s2:#0a8a63;--s3:#b3399a;--s4:#8a6d00;--s5:#5b5bd6;--s6:#c0303b;--s7:#4b7a8c}
@media(prefers-color-scheme:dark){:root{--page:#14171a;--card:#1c2024;--ink:#e8eaed;--soft:#a0a9b4;--rule:#343a41;
--s0:#5aa9f5;--s1:#f59a4c;--s2:#46c79b;--s3:#e37fcd;--s4:#d6b73b;--s5:#9b9bf7;--s6:#f4808a;--s7:#86b9cc}}
"""
SHAPES = """svg text{font:12px system-ui,sans-serif;fill:var(--soft)}svg .name{fill:var(--ink);font-size:12.5px}
.grid{stroke:var(--rule);stroke-width:1}.axis{stroke:var(--soft)}.reference{stroke:var(--soft);stroke-dasharray:2 4;stroke-width:1.5}
.line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}.dash1{stroke-dasharray:7 4}.dash2{stroke-dasharray:2 3}
.dash3{stroke-dasharray:9 3 2 3}.band{fill:var(--c);opacity:.16}
.hit{fill:var(--c);opacity:0}.hit:hover,.end{opacity:1}.dot{fill:var(--c)}.ring{fill:none;stroke:var(--c)}
.whisker{stroke:var(--c);stroke-width:2.5}.thin{stroke-width:1.2;opacity:.6}.front{fill:none;stroke:var(--ink);stroke-width:1.5;opacity:.7}
.dot.off{opacity:.45}.bar{fill:var(--c)}.bar.pale{opacity:.55}
.c0{--c:var(--s0)}.c1{--c:var(--s1)}.c2{--c:var(--s2)}.c3{--c:var(--s3)}.c4{--c:var(--s4)}.c5{--c:var(--s5)}.c6{--c:var(--s6)}.c7{--c:var(--s7)}
"""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart. `spread` holds one half-width per point (a standard deviation), drawn as a band; NaN values break the line."""

    label: str
    points: Sequence[Point]
    colour: int
    spread: Sequence[float] | None = None
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Interval:
    """One row of a dot chart: single values, their mean and standard deviation (None: a single value has no spread)."""

    label: str
    values: Sequence[float]
    mean: float
    deviation: float | None
    colour: int


def short_number(value: float) -> str:
    """A tick label: `0.25`, `1200` as `1.2k`, `3500000` as `3.5M`."""
    if value == 0:
        return "0"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def nice_ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten apart) inside [low, high]."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 2.5, 5) if factor * power >= rough * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    return [0.0 if (first + i) == 0 else (first + i) * step for i in range(int((high - first * step) / step + 1e-9) + 1)]


def padded(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that holds all values and a little air."""
    low, high = min(values), max(values)
    pad = (high - low) * 0.05 or abs(high) * 0.05 or 0.5
    return low - pad, high + pad


def dash(one: Series) -> str:
    """The class that tells apart lines of one colour."""
    turn = one.colour // N_COLOURS % 4 or int(one.dashed)
    return f" dash{turn}" if turn else ""


def linear_scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    """[low, high] onto [start, stop]."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (stop - start)


def _path(points: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    parts, pen_up = [], True
    for px, py in points:
        if not (math.isfinite(px) and math.isfinite(py)):
            pen_up = True
            continue
        parts.append(f"{'M' if pen_up else 'L'}{x(px):.1f} {y(py):.1f}")
        pen_up = False
    return "".join(parts)


def log_scale(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    """The same with equal steps for equal factors."""
    inner = linear_scale(math.log(low), math.log(high), start, stop)
    return lambda value: inner(math.log(value))


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten inside [low, high]; the powers alone where these are many."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    ticks = [factor * power for power in powers for factor in ((1,) if len(powers) > 4 else (1, 2, 5))]
    return [tick for tick in ticks if low <= tick * (1 + 1e-9) and tick <= high * (1 + 1e-9)]


def frame(x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]], x_label: str) -> list[str]:
    """Grid, ticks and axis of a chart of the usual size; ticks are (place, text)."""
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    lines = [f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>' for at, _ in y_ticks]
    lines += [f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(text)}</text>' for at, text in y_ticks]
    lines += [f'<text class="tick" x="{at:.1f}" y="{floor + 16}" text-anchor="middle">{escape(text)}</text>' for at, text in x_ticks]
    lines.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}"/>')
    lines.append(f'<text class="tick" x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    return lines


def drawing(body: Sequence[str], name: str, height: float = HEIGHT) -> str:
    """The whole picture; `name` is read to those who do not see it."""
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(name, quote=True)}">{"".join(body)}</svg>'


def line_chart(
    series: Sequence[Series],
    *,
    name: str,
    x_label: str,
    reference: tuple[str, float] | None = None,
    logarithmic: bool = False,
    x_names: Sequence[str] | None = None,
) -> str:
    """Lines over a common axis, each with its band; `reference` is a named horizontal line (a best possible value). `logarithmic`: both axes
    are; every value must then be positive. `x_names`: words that stand at 0, 1, 2 … of the axis, instead of numbers."""
    finite = [(px, py) for one in series for px, py in one.points if math.isfinite(px) and math.isfinite(py)]
    if not finite:
        return drawing([f'<text class="tick" x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">no finite values</text>'], name)
    edges = [py for _, py in finite] + ([reference[1]] if reference else [])
    for one in series:
        edges += [py + side * sd for (_, py), sd in zip(one.points, one.spread or (), strict=False) if math.isfinite(py + sd) for side in (-1, 1)]
    x_low, x_high = min(px for px, _ in finite), max(px for px, _ in finite)
    y_low, y_high = (min(edges) / 1.1, max(edges) * 1.1) if logarithmic else padded(edges)
    scale, ticks = (log_scale, log_ticks) if logarithmic else (linear_scale, nice_ticks)
    x = scale(x_low, x_high, LEFT, WIDTH - RIGHT)
    y = scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    x_ticks = [(float(at), word) for at, word in enumerate(x_names)] if x_names else [(t, short_number(t)) for t in ticks(x_low, x_high)]
    body = frame([(x(t), text) for t, text in x_ticks if x_low <= t <= x_high], [(y(t), short_number(t)) for t in ticks(y_low, y_high)], x_label)
    if reference:
        at = y(reference[1])
        body.append(f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        body.append(f'<text class="tick" x="{LEFT + 4}" y="{at - 4:.1f}">{escape(reference[0])}</text>')
    for one in series:
        if one.spread is not None:
            upper = [(px, py + sd) for (px, py), sd in zip(one.points, one.spread, strict=True) if math.isfinite(py + sd)]
            lower = [(px, py - sd) for (px, py), sd in zip(one.points, one.spread, strict=True) if math.isfinite(py - sd)]
            ring = _path([*upper, *reversed(lower)], x, y)
            body.append(f'<path class="band c{one.colour % N_COLOURS}" d="{ring}Z"/>' if ring else "")
    crowded = sum(len(one.points) for one in series) > 4 * MOST_MARKED_POINTS
    for one in series:
        body.append(f'<path class="line{dash(one)} c{one.colour % N_COLOURS}" d="{_path(one.points, x, y)}"/>')
        marked = [point for point in one.points if math.isfinite(point[1])]
        if len(marked) > MOST_MARKED_POINTS or crowded:
            marked = marked[-1:]
        for number, (px, py) in enumerate(marked, start=1):
            tip = escape(f"{one.label}: {py:.4g} at {x_names[round(px)] if x_names else short_number(px)} {x_label}")
            shape = f"hit{' end' if number == len(marked) else ''} c{one.colour % N_COLOURS}"
            body.append(f'<circle class="{shape}" cx="{x(px):.1f}" cy="{y(py):.1f}" r="3.5"><title>{tip}</title></circle>')
    return drawing(body, name)


def dot_chart(rows: Sequence[Interval], *, name: str, x_label: str, reference: tuple[str, float] | None = None) -> str:
    """One row per group: every run as a ring, the mean as a dot, a bar of one standard deviation to each side; `reference` is a named vertical line
    (a best possible value)."""
    edges = [reference[1]] if reference else []
    edges += [value for row in rows for value in (*row.values, row.mean - (row.deviation or 0), row.mean + (row.deviation or 0))]
    edges = [value for value in edges if math.isfinite(value)]
    if not edges:
        return ""
    low, high = padded(edges)
    height, gap = 26, 34
    total = TOP + len(rows) * gap + 40
    x = linear_scale(low, high, 12, WIDTH - 12)
    body, floor = [], TOP + len(rows) * gap + 6
    for tick in nice_ticks(low, high):
        body.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{floor}"/>')
        body.append(f'<text class="tick" x="{x(tick):.1f}" y="{floor + 15}" text-anchor="middle">{short_number(tick)}</text>')
    body.append(f'<text class="tick" x="{WIDTH / 2}" y="{total - 3:.0f}" text-anchor="middle">{escape(x_label)}</text>')
    if reference:
        body.append(f'<line class="reference" x1="{x(reference[1]):.1f}" x2="{x(reference[1]):.1f}" y1="{TOP}" y2="{floor}"/>')
        body.append(f'<text class="tick" x="{x(reference[1]) + 5:.1f}" y="{floor - 4}">{escape(reference[0])}</text>')
    for number, row in enumerate(rows):
        at, colour = TOP + number * gap + height, f"c{row.colour % N_COLOURS}"
        body.append(f'<text class="name" x="12" y="{at - 10}">{escape(row.label)}</text>')
        if not math.isfinite(row.mean):
            continue
        if row.deviation is not None:
            ends = x(row.mean - row.deviation), x(row.mean + row.deviation)
            body.append(f'<line class="whisker {colour}" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{at}" y2="{at}"/>')
            body += [f'<circle class="ring {colour}" cx="{x(v):.1f}" cy="{at}" r="3.5"/>' for v in row.values if math.isfinite(v)]
        spread = "n=1, no spread" if row.deviation is None else f"± {row.deviation:.2g}, n={len(row.values)}"
        tip = escape(f"{row.label}: {row.mean:.4g} ({spread})")
        body.append(f'<circle class="dot {colour}" cx="{x(row.mean):.1f}" cy="{at}" r="4.5"><title>{tip}</title></circle>')
    return drawing(body, name, total)


def _height(drawing: str) -> int:
    """Of a drawing, as its view box says."""
    found = _VIEW_BOX.search(drawing)
    return int(found[1]) if found else HEIGHT


def figure(panels: Sequence[tuple[str, str]], legend: Sequence[str] = ()) -> str:
    """One SVG file from several (title, drawing), side by side, with its style inside: for a README. `legend`: labels in the order of colours,
    listed below."""
    head, gap, row = 30, 12, 18
    width = len(panels) * (WIDTH + gap)
    body, tallest = "", 0
    for number, (title, drawing) in enumerate(panels):
        left, height = number * (WIDTH + gap), _height(drawing)
        tallest = max(tallest, height)
        body += f'<text class="name" x="{left + LEFT}" y="20">{escape(title)}</text>'
        body += drawing.replace("<svg ", f'<svg x="{left}" y="{head}" width="{WIDTH}" height="{height}" overflow="visible" ', 1)
    columns = max(1, width // 380)
    for number, label in enumerate(legend):
        left, top = LEFT + number % columns * 380, tallest + head + 20 + number // columns * row
        place = f'x1="{left}" x2="{left + 20}" y1="{top - 4}" y2="{top - 4}"'
        turn = Series(label=label, points=(), colour=number)
        body += f'<line class="line{dash(turn)} c{number % N_COLOURS}" {place}/><text x="{left + 28}" y="{top}">{escape(label)}</text>'
    height = tallest + head + (math.ceil(len(legend) / columns) * row + 16 if legend else 0)
    style = PALETTE.replace("color-scheme:light dark;", "") + SHAPES
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{body}</svg>\n'

"""Where parameters and FLOPs of each contestant are: stacked bars and tables, by the plan's costs or else by what the runs' summaries tell."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from transformer_zoo.experiments.results import is_number
from transformer_zoo.reports.finding import StudyRecord
from transformer_zoo.reports.groups import Group, mean_and_deviation
from transformer_zoo.reports.page import table
from transformer_zoo.reports.scatter import Bar, bar_chart, part_names
from transformer_zoo.reports.svg import N_COLOURS, short_number

MEASURES = {"parameters": "parameters", "flops": "FLOPs of one step, forward and backward"}
"""Measure → what it is called."""
AMOUNTS = ("parameters", "forward", "backward")
"""What a plan tells of every part."""
MOST_BARS = 24


def part_bars(groups: Sequence[Group], studies: Sequence[StudyRecord]) -> dict[str, list[Bar]]:
    """Measure → a bar for every contestant (where the plan tells its costs) or group; measures that nobody tells are left out."""
    priced = [one for study in studies for one in study.contestants if _tells_parts(one)]
    if priced:
        bars = {
            "parameters": [_priced(one, lambda part: part["parameters"]) for one in priced],
            "flops": [_priced(one, lambda part: part["forward"] + part["backward"]) for one in priced],
        }
        return {measure: found for measure, found in bars.items() if any(bar.total for bar in found)}
    summaries = [bar for group in groups if (bar := _summed(group)) is not None]
    return {"parameters": summaries} if summaries else {}


def _tells_parts(contestant: Mapping[str, Any]) -> bool:
    """Whether the plan says what each part of a contestant costs."""
    costs = contestant.get("costs")
    parts = costs.get("parts") if isinstance(costs, Mapping) else None
    told = isinstance(parts, list) and all(isinstance(part, Mapping) and all(is_number(part.get(name)) for name in AMOUNTS) for part in parts)
    return bool(parts) and told


def _priced(contestant: Mapping[str, Any], amount: Any) -> Bar:
    parts = [(str(part.get("name")), float(amount(part))) for part in contestant["costs"]["parts"]]
    return Bar(label=str(contestant.get("name")), parts=[(name, value) for name, value in parts if value > 0])


def _summed(group: Group) -> Bar | None:
    """Embeddings and the rest, all that a summary tells of parts; None where no run of the group finished."""
    whole, embedding = mean_and_deviation(group.sizes("parameters"))[0], group.sizes("parameters_embedding")
    if not group.sizes("parameters"):
        return None
    if not embedding:
        return Bar(label=group.label, parts=[("all", whole)])
    inner = mean_and_deviation(embedding)[0]
    return Bar(label=group.label, parts=[("embeddings", inner), ("all others", whole - inner)])


def parts_section(groups: Sequence[Group], studies: Sequence[StudyRecord]) -> str:
    """HTML; empty where nothing is known."""
    shown = ""
    for measure, bars in part_bars(groups, studies).items():
        names = part_names(bars)
        keys = "".join(
            f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><rect class="bar c{place % N_COLOURS}{" pale" if place >= N_COLOURS else ""}" '
            f'width="24" height="8"/></svg><span>{escape(name)}</span></li>'
            for place, name in enumerate(names)
        )
        lines = [[bar.label, *(_amount(dict(bar.parts).get(name)) for name in names), short_number(bar.total)] for bar in bars]
        title = MEASURES[measure]
        drawing = bar_chart(bars[:MOST_BARS], name=f"{title} by part", x_label=title)
        left_out = f'<p class="soft">The first {MOST_BARS} of {len(bars)} are drawn.</p>' if len(bars) > MOST_BARS else ""
        shown += (
            f'<h3>{escape(title[0].upper() + title[1:])}</h3><figure class="broad">{drawing}<ul class="legend">{keys}</ul>{left_out}</figure>'
            f"{table(['', *names, 'all'], lines)}"
        )
    return f'<section id="parts"><h2>Parts</h2>{shown}</section>' if shown else ""


def _amount(value: float | None) -> str:
    return "–" if value is None else short_number(value)

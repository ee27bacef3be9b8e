"""Differences of groups to a baseline: run for run, with interval, p-value, adjustment for all that is compared, and effect size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.results import higher_is_better
from transformer_zoo.reports.finding import StudyRecord
from transformer_zoo.reports.groups import Group
from transformer_zoo.reports.rows import comparable, scores, summarise
from transformer_zoo.reports.statistics import ALPHA, NONE, holm, paired
from transformer_zoo.reports.tables import booktabs, csv_text, heading, md, tex

PARTS = ("metric", "group", "baseline", "n", "unpaired", "difference", "sd", "low", "high", "p", "p adjusted", "effect", "method", "beyond chance")
"""Columns of the CSV file."""
HEADINGS = ("metric", "group", "pairs", "difference", "95% interval", "p", "p (Holm)", "g")
EFFECT = "g: Hedges' g of paired differences (their mean over their sample standard deviation, corrected for small n)"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A group against the baseline in one metric, over the seeds that both have."""

    label: str
    baseline: str
    metric: str
    n: int
    """Pairs."""
    unpaired: int
    """Seeds that only one of the two has; they are left out."""
    mean: float
    """The group minus the baseline; NaN without a pair."""
    deviation: float | None
    """Sample standard deviation of the differences."""
    low: float | None
    high: float | None
    """95% interval of this difference on its own; None without spread."""
    p: float | None
    p_adjusted: float | None
    """For all comparisons of the table together (Holm 1979)."""
    effect: float | None
    """Hedges' g of paired differences: their mean over their sample standard deviation, corrected for small n."""
    method: str
    """`t` below 20 pairs, `bootstrap` from 20 on (bootstrap-t intervals, p by sign flips), `signs` where all differences are equal, `none` where
    there is no spread."""
    beyond_chance: bool
    """Whether the adjusted p-value is at most 5%, with zero outside the interval."""

    @property
    def better(self) -> bool:
        """Whether the group's mean is better than the baseline's, beyond chance or not."""
        return self.mean > 0 if higher_is_better(self.metric) else self.mean < 0


def comparisons(groups: Sequence[Group], metric: str, baseline: str | None = None) -> list[Comparison]:
    """Every group with a finished run against the baseline (a label; None: the first such group) in one metric.

    Raises:
        ConfigError: no group has the baseline's label.
    """
    return compare(groups, [metric], baseline)


def compare(groups: Sequence[Group], metrics: Sequence[str] | None = None, baseline: str | None = None) -> list[Comparison]:
    """The same in several metrics (None: those of the summary that mean the same in all groups), adjusted for all of them together."""
    finished = [group for group in groups if group.finished]
    if baseline is not None and baseline not in [group.label for group in groups]:
        raise ConfigError(f"baseline={baseline}: no group is called so; there are {'; '.join(group.label for group in groups)}")
    base = next((group for group in finished if baseline in (None, group.label)), None)
    if base is None or len(finished) < 2:
        return []
    found = []
    for metric in meaningful(finished) if metrics is None else metrics:
        of_base = base.by_seed(metric)
        for group in finished:
            of_group = group.by_seed(metric)
            if group is base or not of_group or not of_base:
                continue
            difference = paired(of_base, of_group)
            unpaired = len(of_base.keys() ^ of_group.keys())
            found.append((group.label, metric, difference, unpaired))
    adjusted = holm([None if difference is None else difference.p for _, _, difference, _ in found])
    return [
        Comparison(
            label=label,
            baseline=base.label,
            metric=metric,
            n=difference.n if difference else 0,
            unpaired=unpaired,
            mean=difference.mean if difference else math.nan,
            deviation=difference.deviation if difference else None,
            low=difference.low if difference else None,
            high=difference.high if difference else None,
            p=difference.p if difference else None,
            p_adjusted=p_adjusted,
            effect=difference.effect if difference else None,
            method=difference.method if difference else NONE,
            beyond_chance=difference is not None and difference.told_apart(p_adjusted),
        )
        for (label, metric, difference, unpaired), p_adjusted in zip(found, adjusted, strict=True)
    ]


def baseline_of(groups: Sequence[Group], study: StudyRecord | None) -> str | None:
    """The label of the study's baseline where one of the groups has it; None: the first group that finished."""
    return study.baseline if study is not None and study.baseline in [group.label for group in groups] else None


def meaningful(groups: Sequence[Group]) -> list[str]:
    """The metrics of the summary that mean the same in all groups that have them."""
    rows = summarise(groups)
    return [name for name in scores(groups) if comparable(name, [row for row in rows if row.by_seed[name]])]


# --- tables -------------------------------------------------------------------------------------------------------------------------------


def comparisons_csv(found: Sequence[Comparison]) -> str:
    """One row per comparison, with all digits."""
    lines = []
    for one in found:
        numbers = [one.mean, one.deviation, one.low, one.high, one.p, one.p_adjusted, one.effect]
        lines.append([one.metric, one.label, one.baseline, one.n, one.unpaired, *numbers, one.method, "yes" if one.beyond_chance else "no"])
    return csv_text([list(PARTS), *lines])


def comparisons_md(found: Sequence[Comparison], groups: Sequence[Group] = ()) -> str:
    """A Markdown table, differences beyond chance in bold, and what it says in one sentence per metric; empty where nothing is compared."""
    if not found:
        return ""
    lines = [f"## Differences to {found[0].baseline}", "", f"| {' | '.join(HEADINGS)} |", "|---|---|---:|" + "---:|" * (len(HEADINGS) - 3)]
    for one in found:
        metric, label, pairs, difference, *rest = comparison_cells(one)
        difference = f"**{difference}**" if one.beyond_chance else difference
        lines.append(f"| {' | '.join([metric, md(label), pairs, difference, *rest])} |")
    lines += ["", explained(found), "", *(f"- {sentence}" for sentence in sentences(found, groups))]
    return "\n" + "\n".join(lines) + "\n"


def comparisons_tex(found: Sequence[Comparison]) -> str:
    """The table for LaTeX with booktabs."""
    lines = []
    for one in found:
        metric, label, pairs, difference, *rest = [tex(cell) for cell in comparison_cells(one)]
        lines.append([metric, label, pairs, rf"\textbf{{{difference}}}" if one.beyond_chance else difference, *rest])
    return booktabs([tex(name) for name in HEADINGS], lines, explained(found))


def comparison_cells(one: Comparison) -> list[str]:
    """A line of the table as text, for the columns `HEADINGS`."""
    pairs = str(one.n) + (f" ({one.unpaired} unpaired)" if one.unpaired else "")
    interval = "–" if one.low is None or one.high is None else f"{signed(one.low, one)} to {signed(one.high, one)}"
    difference = "–" if math.isnan(one.mean) else signed(one.mean, one)
    return [heading(one.metric), one.label, pairs, difference, interval, p_text(one.p), p_text(one.p_adjusted), number(one.effect)]


def explained(found: Sequence[Comparison]) -> str:
    """How to read the table."""
    n_judged = sum(one.p is not None for one in found)
    base = f" minus {found[0].baseline}" if found else ""
    return (
        f"Group{base}, over runs with the same seed; intervals and p of each comparison on its own (paired t below 20 pairs; bootstrap-t and sign "
        f"flips from 20 on); p (Holm) for the {n_judged} comparison{'' if n_judged == 1 else 's'} of this table together; "
        f"bold: beyond chance (p (Holm) ≤ {ALPHA:.2f}). {EFFECT}."
    )


# --- in words -----------------------------------------------------------------------------------------------------------------------------


def sentences(found: Sequence[Comparison], groups: Sequence[Group] = ()) -> list[str]:
    """One honest sentence for every metric; with `groups` also for those that some groups lack."""
    told = []
    for metric in dict.fromkeys(one.metric for one in found):
        of_metric = [one for one in found if one.metric == metric]
        verdicts = "; ".join(_verdict(one) for one in of_metric)
        told.append(f"{heading(metric)}, against {of_metric[0].baseline}: {verdicts}.")
    finished = [group for group in groups if group.finished]
    if len(finished) > 1:
        left_out = [name for name in scores(finished) if name not in meaningful(finished)]
        if left_out:
            told.append(f"Not compared, since they do not mean the same in all groups: {', '.join(left_out)}.")
    return told


def _verdict(one: Comparison) -> str:
    """What may be said of one group."""
    if one.n == 0:
        return f"{one.label} shares no seed with it, so that nothing can be paired"
    left_out = f", {one.unpaired} unpaired left out" if one.unpaired else ""
    if one.n == 1:
        return f"{one.label} {signed(one.mean, one)} (n=1, no spread: an observation, no more{left_out})"
    if one.p is None:
        return f"{one.label} {number(one.mean)} (not all values are finite: no interval)"
    if one.mean == 0 and one.deviation == 0:
        return f"{one.label} is identical in all {one.n} pairs"
    side, chance = "better" if one.better else "worse", f"p (Holm) {p_text(one.p_adjusted)}"
    if one.low is None or one.high is None:
        verdict = f"{side} beyond chance" if one.beyond_chance else "no difference beyond chance"
        told = f"{one.label} {signed(one.mean, one)} in each of {one.n} pairs"
        return f"{told}: {verdict} by the signs alone ({chance}; equal differences have no interval)"
    interval = f"95% interval {signed(one.low, one)} to {signed(one.high, one)}, {chance}"
    if one.beyond_chance:
        amount = signed(one.mean, one).lstrip("+−")
        return f"{one.label} is {side} beyond chance by {amount} ({interval}, g {number(one.effect)}, {one.n} pairs{left_out})"
    bound = number(max(abs(one.low), abs(one.high)))
    alone = "" if one.low <= 0 <= one.high else "; its own interval leaves out 0, the adjusted p does not allow to say so"
    return (
        f"no difference beyond chance to {one.label} ({signed(one.mean, one)}, {interval}, {one.n} pairs{left_out}; "
        f"a difference above {bound} is ruled out{alone})"
    )


def signed(value: float, one: Comparison) -> str:
    """`+0.012` with the digits that the spread of the comparison supports."""
    if not math.isfinite(value):
        return number(value)
    scale = one.deviation or abs(one.mean)
    digits = max(0, min(8, 1 - math.floor(math.log10(scale)))) if scale else 1
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if any(digit in "123456789" for digit in text) else text.lstrip("+−")


def p_text(p: float | None) -> str:
    """`0.031`, `< 0.001`; a dash where there is none."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def number(value: float | None) -> str:
    """Three significant digits; a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.3g}".replace("-", "−")
